"""Many strings on disk: their UTF-8 bytes one after another, and where each one ends.

Ten million user ids are two flat files that open in a millisecond, not ten million Python objects.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import SupportsIndex, overload

import numpy as np
from numpy.typing import NDArray

STRINGS_PER_BLOCK = 1 << 16


class Strings(Sequence[str]):
    """An immutable sequence of strings over two arrays, in memory or memory-mapped."""

    def __init__(self, utf8: NDArray[np.uint8], ends: NDArray[np.int64]) -> None:
        self._utf8, self._ends = utf8, ends

    @classmethod
    def of(cls, texts: Iterable[str]) -> Strings:
        """From Python strings."""
        encoded = [text.encode() for text in texts]
        ends = np.cumsum([len(one) for one in encoded], dtype=np.int64)
        return cls(np.frombuffer(b"".join(encoded), dtype=np.uint8), ends)

    @classmethod
    def load(cls, folder: Path, name: str) -> Strings:
        """What a `StringsWriter` wrote; the bytes stay on disk (memory map)."""
        utf8, ends = (np.load(folder / f"{name}.{part}.npy", mmap_mode="r") for part in ("utf8", "ends"))
        return cls(utf8, ends)

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, index: SupportsIndex) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: SupportsIndex | slice) -> str | list[str]:
        if isinstance(index, slice):
            return self._block(*index.indices(len(self))[:2])[:: index.step or 1]
        at = range(len(self))[index]
        start = int(self._ends[at - 1]) if at else 0
        return self._utf8[start : int(self._ends[at])].tobytes().decode()

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), STRINGS_PER_BLOCK):
            yield from self._block(start, min(start + STRINGS_PER_BLOCK, len(self)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Strings):
            return NotImplemented
        return np.array_equal(self._ends, other._ends) and np.array_equal(self._utf8, other._utf8)

    def __hash__(self) -> int:
        return hash(self.digest)

    def __repr__(self) -> str:
        shown = ", ".join(map(repr, self[: min(3, len(self))]))
        return f"Strings({shown}{', ...' if len(self) > 3 else ''}; {len(self)})"

    @property
    def digest(self) -> str:
        """SHA-256 of the content."""
        found = hashlib.sha256(np.ascontiguousarray(self._ends).data)
        found.update(np.ascontiguousarray(self._utf8).data)
        return found.hexdigest()

    def lengths(self) -> NDArray[np.int64]:
        """Bytes of each string."""
        return np.diff(self._ends, prepend=np.int64(0))

    def _block(self, start: int, stop: int) -> list[str]:
        if stop <= start:
            return []
        first = int(self._ends[start - 1]) if start else 0
        held = self._utf8[first : int(self._ends[stop - 1])].tobytes()
        ends = (self._ends[start:stop] - first).tolist()
        return [held[low:high].decode() for low, high in zip([0, *ends[:-1]], ends, strict=True)]


class StringsWriter:
    """Writes `name.utf8.npy` and `name.ends.npy` block by block."""

    def __init__(self, folder: Path, name: str) -> None:
        self._utf8 = ArrayWriter(folder / f"{name}.utf8.npy", np.uint8)
        self._ends = ArrayWriter(folder / f"{name}.ends.npy", np.int64)
        self._end = 0

    def append(self, texts: Sequence[str]) -> None:
        """Add a block of strings."""
        block = Strings.of(texts)
        self._utf8.append(block._utf8)
        self._ends.append(block._ends + self._end)
        self._end += len(block._utf8)

    def close(self) -> None:
        """Finish both files."""
        self._utf8.close()
        self._ends.close()


class ArrayWriter:
    """Writes a one-dimensional .npy file whose length is known only at the end."""

    def __init__(self, path: Path, dtype: type[np.generic]) -> None:
        self._file, self._dtype, self._length = path.open("wb"), np.dtype(dtype), 0
        self._write_header()

    def append(self, values: NDArray[np.generic]) -> None:
        """Add a block of values."""
        self._file.write(np.ascontiguousarray(values, dtype=self._dtype).data)
        self._length += len(values)

    def close(self) -> None:
        """Write the header again, which holds the length."""
        self._file.seek(0)
        self._write_header()
        self._file.close()

    def _write_header(self) -> None:
        """NumPy leaves room in it for any length, so that it is as long in the end as it was in the beginning."""
        about = {"descr": self._dtype.str, "fortran_order": False, "shape": (self._length,)}
        np.lib.format.write_array_header_1_0(self._file, about)
