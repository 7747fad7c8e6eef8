"""Reading raw files that several datasets share."""

from __future__ import annotations

from pathlib import Path

from duckdb import DuckDBPyConnection, DuckDBPyRelation

LARGEST_LINE = 1 << 26  # bytes; a review of 64 MiB is no review


def json_lines(db: DuckDBPyConnection, path: Path, columns: dict[str, str]) -> DuckDBPyRelation:
    """The named columns (name to DuckDB type) of a file of JSON lines, plain or gzip; absent keys are null."""
    # One thread keeps the file's order, which decides between events of equal time.
    return db.sql(
        f"select {', '.join(columns)} from read_json(?, format = 'newline_delimited', columns = ?, "
        f"maximum_object_size = {LARGEST_LINE})",
        params=[str(path), columns],
    )
