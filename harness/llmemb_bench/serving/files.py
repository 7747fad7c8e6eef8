"""Files of an export, written block by block: a table that does not fit into memory still fits on disk."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

VECTORS = "vectors"
"""Name of the one tensor of a .safetensors file."""


class TensorRows:
    """Blocks of rows on their way into a .safetensors file."""

    def __init__(self, path: Path, rows: int, dim: int, about: Mapping[str, str]) -> None:
        header = {
            "__metadata__": dict(about),
            VECTORS: {"dtype": "F32", "shape": [rows, dim], "data_offsets": [0, 4 * rows * dim]},
        }
        text = json.dumps(header, ensure_ascii=False).encode()
        text += b" " * (-len(text) % 8)  # numbers start at a multiple of 8
        self._file, self._left = path.open("wb"), rows
        self._file.write(len(text).to_bytes(8, "little") + text)

    def append(self, vectors: NDArray[np.float32]) -> None:
        """Add rows."""
        self._file.write(np.ascontiguousarray(vectors, dtype="<f4").data)
        self._left -= len(vectors)

    def close(self) -> None:
        """All announced rows are there."""
        self._file.close()
        if self._left:
            raise RuntimeError(f"{self._left} rows are missing")
