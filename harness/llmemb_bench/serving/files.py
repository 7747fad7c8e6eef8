"""Files of an export, written block by block: a table that does not fit into memory still fits on disk."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
from numpy.typing import NDArray

from llmemb_bench import sql

VECTORS = "vectors"
"""Name of the one tensor of a .safetensors file."""
MEMORY = "200MB"
"""What DuckDB may hold for a file; the rest is on disk beside it."""
VALUES_A_GROUP = 1 << 22
"""Numbers in a row group of Parquet, which has to fit into memory."""


class ParquetRows:
    """Blocks of rows on their way into a Parquet file."""

    def __init__(self, db: duckdb.DuckDBPyConnection) -> None:
        self._db, self._is_new, self.values_a_row = db, True, 1

    def append(self, columns: Mapping[str, NDArray[Any]], vectors: NDArray[np.float32] | None = None) -> None:
        """Add rows: columns of one length, and a vector a row as the last column `vector`."""
        if not len(next(iter(columns.values()))):
            return  # a table of no rows would have columns of no type
        rows: dict[str, Any] = dict(columns)
        names = list(columns)
        if vectors is not None:
            parts = {f"_{place}": part for place, part in enumerate(np.ascontiguousarray(vectors.T))}
            rows |= parts
            names.append(f"[{', '.join(parts)}]::float[] as vector")
            self.values_a_row = vectors.shape[1]
        target = "create table written as" if self._is_new else "insert into written"
        self._db.execute(f"{target} select {', '.join(names)} from rows")
        self._is_new = False


@contextmanager
def parquet(path: Path, about: Mapping[str, str]) -> Iterator[ParquetRows]:
    """A Parquet file that is complete when the block ends; rows stay in the order they come in."""
    spill = path.with_suffix(".spill")
    with duckdb.connect(str(spill), config={"memory_limit": MEMORY}) as db:
        rows = ParquetRows(db)
        yield rows
        group = max(2048, min(122_880, VALUES_A_GROUP // rows.values_a_row))
        pairs = ", ".join(f"{sql.literal(name)}: {sql.literal(text)}" for name, text in about.items())
        options = f"format parquet, row_group_size {group}, kv_metadata {{{pairs}}}"
        db.execute(f"copy written to {sql.literal(path)} ({options})")
    for left in path.parent.glob(f"{spill.name}*"):
        left.unlink()


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
