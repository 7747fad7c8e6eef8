"""Item vectors as one Parquet file for other systems: `item`, `text`, `vector`, and `untuned` beside it after SCFT."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
from numpy.typing import NDArray

from llmemb_bench.base.errors import DataError, MissingError, SpecError
from llmemb_bench.base.files import refuse_no_file
from llmemb_bench.base.memory import require
from llmemb_bench.base.parquet import parquet

SUFFIX = ".parquet"
ROWS_PER_BLOCK = 20_000
MEMORY = "50%"
"""What DuckDB may hold to write vectors of an encoder, thousands of numbers each."""

Table = NDArray[np.float32]
"""[items, dim]"""


def refuse_unwritable(path: Path) -> None:
    """Before any work: a name that is no Parquet file is a SpecError, a folder that is not there a MissingError."""
    if path.suffix != SUFFIX:
        raise SpecError(f"'{path}' should end in {SUFFIX}", where="--output", fix=f"--output {path.stem}{SUFFIX}")
    refuse_no_file(path)


def write_vectors(
    path: Path, ids: Sequence[str], texts: Sequence[str], vectors: Mapping[str, Table], made: dict[str, Any]
) -> None:
    """One row an item and one column a table; `made` says how, in the file's metadata. Whole or absent; a
    MissingError where it cannot be written."""
    part = path.with_suffix(".part")
    try:
        _write(part, ids, texts, vectors, made)
        part.replace(path)
    except (OSError, duckdb.Error) as error:
        raise MissingError(f"cannot be written: {str(error).splitlines()[0]}", where=str(path)) from error
    finally:
        part.unlink(missing_ok=True)


def _write(
    part: Path, ids: Sequence[str], texts: Sequence[str], vectors: Mapping[str, Table], made: dict[str, Any]
) -> None:
    with parquet(part, {"made": json.dumps(made, ensure_ascii=False)}, MEMORY) as rows:
        for start in range(0, len(ids), ROWS_PER_BLOCK):
            block = slice(start, start + ROWS_PER_BLOCK)
            columns = {"item": np.array(ids[block], dtype=object), "text": np.array(texts[block], dtype=object)}
            rows.append(columns, {name: table[block] for name, table in vectors.items()})


def read_vectors(path: Path, column: str = "vector") -> tuple[list[str], Table]:
    """Item ids and the vectors of a column, row by row; a broken file is a DataError."""
    with duckdb.connect() as db:
        try:
            width = _width(db, path, column)
            ids = db.execute("select item::varchar from read_parquet(?)", [str(path)]).fetchall()
            flat = db.execute(f"select unnest({column}::float[]) as x from read_parquet(?)", [str(path)]).fetchnumpy()
        except duckdb.Error as error:
            raise DataError(f"cannot be read: {str(error).splitlines()[0]}", where=str(path)) from error
    return [item for (item,) in ids], np.ma.filled(flat["x"], np.nan).astype(np.float32).reshape(len(ids), width)


def _width(db: duckdb.DuckDBPyConnection, path: Path, column: str) -> int:
    """The one length of all vectors of a file that fits into memory; DataError where there is none."""
    length = f"len({column}::float[])"
    query = f"select count(*), min({length}), max({length}), count({column}) from read_parquet(?)"
    rows, shortest, longest, filled = db.execute(query, [str(path)]).fetchall()[0]
    if rows == 0:
        raise DataError("holds no vectors", where=str(path))
    if filled < rows:
        raise DataError(f"lacks the vectors of {rows - filled:,} of {rows:,} rows", where=str(path))
    if shortest != longest:
        raise DataError(f"has vectors of {shortest} and of {longest} numbers", where=str(path))
    if longest == 0:
        raise DataError("has vectors of no numbers", where=str(path))
    require(rows * (100 + 12 * longest), f"{rows:,} vectors of {longest:,} numbers", str(path))
    return int(longest)


def read_texts(path: Path) -> tuple[list[str], list[str], bool]:
    """Items and texts of a file that `embed` wrote, and whether it holds untuned vectors too; a MissingError
    where there is no file, a DataError for another one."""
    if not path.is_file():
        raise MissingError(f"no file {path}", fix="llmemb-bench embed SPEC --output " + path.name)
    with duckdb.connect() as db:
        try:
            relation = db.read_parquet(str(path))
            if "text" not in relation.columns:
                raise DataError("has no column 'text'", where=str(path), fix="write it with: llmemb-bench embed")
            rows, columns = relation.select("item::varchar, text").fetchall(), relation.columns
        except duckdb.Error as error:
            raise DataError(f"cannot be read: {str(error).splitlines()[0]}", where=str(path)) from error
    return [item for item, _ in rows], [text for _, text in rows], "untuned" in columns
