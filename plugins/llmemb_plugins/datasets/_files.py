"""Reading raw files, as several datasets do."""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from duckdb import DuckDBPyConnection, DuckDBPyRelation

from llmemb_bench.errors import DataError

LARGEST_LINE = 1 << 26  # bytes; a review of 64 MiB is no review


def json_lines(db: DuckDBPyConnection, path: Path, columns: dict[str, str]) -> DuckDBPyRelation:
    """The named columns (name to DuckDB type) of a file of JSON lines, plain or gzip; absent keys are null.

    DuckDB keeps the file's order, which decides between events of equal time.
    """
    return db.sql(
        f"select {', '.join(columns)} from read_json(?, format = 'newline_delimited', columns = ?, "
        f"maximum_object_size = {LARGEST_LINE})",
        params=[str(path), columns],
    )


def lines(path: Path, encoding: str) -> Iterator[tuple[int, str]]:
    """Number and text of every line of a file, plain or gzip; a broken file is a DataError."""
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rt", encoding=encoding) as file:
            yield from enumerate(file, start=1)
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise DataError(f"cannot be read: {error}", where=str(path), fix="download it again") from error


def text_table(db: DuckDBPyConnection, name: str, columns: Mapping[str, Sequence[str | None]]) -> DuckDBPyRelation:
    """A table of text columns, in the given order; it may have no rows."""
    typed = ", ".join(f'"{column}" varchar' for column in columns)
    db.execute(f"create table {name} ({typed})")
    found = {column: np.array(texts, dtype=object) for column, texts in columns.items()}
    if all(map(len, found.values())):
        db.execute(f"insert into {name} select * from found")
    return db.table(name)
