"""Writes a Parquet file block by block: a table that does not fit into memory still fits on disk."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
from numpy.typing import NDArray

from llmemb_bench.base import sql

MEMORY = "200MB"
"""Memory that DuckDB may use for a file by default; the rest is on disk beside it."""
VALUES_PER_GROUP = 1 << 22
"""Numbers in a row group, which has to fit into memory."""


class ParquetRows:
    """Takes rows; the first block determines the columns."""

    def __init__(self, db: duckdb.DuckDBPyConnection) -> None:
        self._db, self._is_new, self.values_per_row = db, True, 1

    def append(
        self, columns: Mapping[str, NDArray[Any]], vectors: Mapping[str, NDArray[np.float32]] | None = None
    ) -> None:
        """Add rows: columns of one length, and after them columns [rows, dim] with a vector a row."""
        if not len(next(iter(columns.values()))):
            return  # a table of no rows would have columns of no type
        rows, selected, tables = dict(columns), list(columns), vectors or {}
        for name, table in tables.items():
            parts = {f"{name}_{index}": part for index, part in enumerate(np.ascontiguousarray(table.T))}
            rows |= parts
            selected.append(f"[{', '.join(parts)}]::float[] as {name}")
        self.values_per_row = max(1, sum(table.shape[1] for table in tables.values()))
        target = "create table written as" if self._is_new else "insert into written"
        self._db.execute(f"{target} select {', '.join(selected)} from rows")
        self._is_new = False


@contextmanager
def parquet(path: Path, about: Mapping[str, str], memory: str = MEMORY) -> Iterator[ParquetRows]:
    """A Parquet file that is complete when the block ends; rows stay in the order they come in. `about` is its
    metadata, `memory` what DuckDB may hold: a row group for each core at least. Raises duckdb.Error or OSError where it
    cannot be written."""
    spill = path.with_name(f"{path.name}.spill")
    try:
        with duckdb.connect(str(spill), config={"memory_limit": memory}) as db:
            rows = ParquetRows(db)
            yield rows
            group = max(2048, min(122_880, VALUES_PER_GROUP // rows.values_per_row))
            pairs = ", ".join(f"{sql.literal(name)}: {sql.literal(text)}" for name, text in about.items())
            options = f"format parquet, row_group_size {group}, kv_metadata {{{pairs}}}"
            db.execute(f"copy written to {sql.literal(path)} ({options})")
    finally:
        for left in path.parent.glob(f"{spill.name}*"):
            left.unlink()
