"""Archives from the network, unpacked as if they were malicious."""

from __future__ import annotations

import shutil
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from llmemb_bench.base.errors import DataError
from llmemb_bench.data.raw import UNREADABLE

MOST_BYTES = 1 << 40
MOST_FILES = 100_000
HIGHEST_RATIO = 200
"""Unpacked bytes a packed byte, of a whole archive; text shrinks to a twentieth at best, a bomb to a thousandth."""
SMALL = 1 << 24
"""An archive that unpacks to less than this is no bomb, whatever its ratio."""
BLOCK = 1 << 20

Read = Callable[[int], bytes]


def unpack(archive: Path, folder: Path) -> list[Path]:
    """Put every file of a .zip or .tar(.gz) into a folder; all of it or nothing.

    A DataError refuses names that lead outside the folder, links and devices, and more bytes than any such data set
    has. Bytes are counted as they come out, because what an archive says of itself may be wrong.
    """
    budget = min(MOST_BYTES, max(SMALL, HIGHEST_RATIO * archive.stat().st_size))
    with tempfile.TemporaryDirectory(prefix=".unpacking-", dir=folder) as room:
        names: list[str] = []
        try:
            with _members(archive) as members:
                for name, read in members:
                    if len(names) == MOST_FILES:
                        raise _refused(archive, f"holds more than {MOST_FILES:,} files")
                    budget = _copy(archive, read, Path(room) / _inside(archive, name), budget)
                    names.append(name)
        except (*UNREADABLE, zipfile.BadZipFile, tarfile.TarError, NotImplementedError, RuntimeError) as error:
            raise DataError(
                f"cannot be unpacked: {error}", where=str(archive), fix="delete it and fetch again"
            ) from error
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.move(Path(room) / name, folder / name)
    return [folder / name for name in names]


@contextmanager
def _members(archive: Path) -> Iterator[Iterator[tuple[str, Read]]]:
    """Name and content of each regular file."""
    if archive.name.endswith(".zip"):
        with zipfile.ZipFile(archive) as zipped:
            yield _zipped(archive, zipped)
    else:
        with tarfile.open(archive) as tarred:
            yield _tarred(archive, tarred)


def _zipped(archive: Path, zipped: zipfile.ZipFile) -> Iterator[tuple[str, Read]]:
    for about in zipped.infolist():
        if (about.external_attr >> 16) & 0o170000 == 0o120000:
            raise _refused(archive, f"holds a link, '{about.filename}'")
        if not about.is_dir():
            with zipped.open(about) as member:
                yield about.filename, member.read


def _tarred(archive: Path, tarred: tarfile.TarFile) -> Iterator[tuple[str, Read]]:
    for about in tarred:
        if about.isdir():
            continue
        member = tarred.extractfile(about) if about.isreg() else None
        if member is None:
            raise _refused(archive, f"holds a link or a device, '{about.name}'")
        yield about.name, member.read


def _inside(archive: Path, name: str) -> Path:
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in name or not path.parts:
        raise _refused(archive, f"holds a name that leads outside its folder, '{name}'")
    return Path(*path.parts)


def _copy(archive: Path, read: Read, target: Path, budget: int) -> int:
    """Write one file; returns what is left of the budget."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as file:
        while block := read(BLOCK):
            budget -= len(block)
            if budget < 0:
                raise _refused(archive, f"unpacks to more than {HIGHEST_RATIO} times its size")
            file.write(block)
    return budget


def _refused(archive: Path, finding: str) -> DataError:
    return DataError(finding, where=str(archive), fix="this is not the official archive: nothing was unpacked")
