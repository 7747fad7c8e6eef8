"""JSON lines, JSON arrays and lines of Python literals."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from pathlib import Path

import numpy as np
from duckdb import DuckDBPyConnection, DuckDBPyRelation

from llmemb_bench.base import sql
from llmemb_bench.base.errors import DataError
from llmemb_bench.data.literals import rewritten
from llmemb_bench.data.raw import lines, packing
from llmemb_plugins.datasets._files import Source, in_utf8, named

LARGEST_LINE = 1 << 24  # bytes; DuckDB takes two buffers of it a thread
LINES_PER_BLOCK = 20_000


def json_lines(db: DuckDBPyConnection, paths: Sequence[Path], columns: dict[str, str]) -> DuckDBPyRelation:
    """The named columns (name to DuckDB type) of files of JSON lines, plain, gzip or zstd; absent keys are null.

    DuckDB keeps the order of the files and of their lines, which decides between events of equal time.
    """
    plain = [in_utf8(db, path) for path in paths]
    return db.sql(
        f"select {', '.join(columns)} from read_json(?, format = 'newline_delimited', columns = ?, "
        f"compression = ?, maximum_object_size = {LARGEST_LINE})",
        params=[named(plain), columns, packing(plain[0])],
    )


def read_json(db: DuckDBPyConnection, files: Sequence[str], form: str, sample: int) -> Source:
    """Every value as the text it is: an id that looks like a date or a number must not be rewritten as one. The keys
    are those of the first `sample` lines, -1: of all, in the order in which they appear."""
    found = db.sql("select * from read_json(?, format = ?, sample_size = ?)", params=[list(files), form, sample])
    if found.columns == ["json"] or _may_differ_in_case(found.columns):
        return _by_path(db, files, form, sample)
    types = zip(found.columns, map(str, found.types), strict=True)
    columns = {name: "VARCHAR[]" if kind.endswith("[]") else "VARCHAR" for name, kind in types}
    read = db.sql("select * from read_json(?, format = ?, columns = ?)", params=[list(files), form, columns])
    return Source(read, {name: sql.identifier(name) for name in columns})


def _by_path(db: DuckDBPyConnection, files: Sequence[str], form: str, sample: int) -> Source:
    """Like `read_json`, of objects whose keys SQL cannot tell apart."""
    found = db.sql("select json from read_json_objects(?, format = ?)", params=[list(files), form])
    keys = _keys(found, sample)
    if not all(keys):
        raise DataError("has a key without a name", where=files[0], fix="name it, or leave it out")
    return Source(found, {key: f"(json ->> {sql.json_path(key)})" for key in keys})


def _may_differ_in_case(columns: Sequence[str]) -> bool:
    """Of `Title` and `title` DuckDB makes `Title` and `title_1`, which finds nothing when it is read by this name."""
    folded = {column.casefold() for column in columns}
    return any(re.sub(r"_\d+$", "", column) in folded - {column} for column in folded)


def _keys(objects: DuckDBPyRelation, sample: int) -> list[str]:
    """The keys of the first objects, as they are written, in the order in which they appear."""
    first = objects if sample < 0 else objects.limit(sample)
    keys = first.select("row_number() over () as line, json_keys(json) as keys")
    named_keys = keys.select("line, unnest(keys) as name, generate_subscripts(keys, 1) as place")
    return [name for name, _ in named_keys.aggregate("name, min((line, place)) as first").order("first").fetchall()]


def objects(path: Path) -> Iterator[tuple[str, dict[str, object]]]:
    """`file:line` and content of every line that is not blank; what is no object is an empty one."""
    for number, line in lines(path):
        if line.strip():
            try:
                found = json.loads(line)
            except ValueError:
                found = None
            yield f"{path}:{number}", found if isinstance(found, dict) else {}


def locate_json(path: Path, event: int, key: str) -> tuple[str, str]:
    """Where the event of this number (from 0) stands, and what it holds for a key, in words."""
    if packing(path) == "zstd":
        return str(path), f"key '{key}'"
    where, found = next(islice(objects(path), event, None), (str(path), {}))
    return where, f"'{key}' is {str(found[key])[:40]!r}" if key in found else f"no '{key}'"


def is_json(path: Path) -> bool:
    """Whether the first line is JSON; several official files hold Python literals instead."""
    _, first = next(lines(path), (1, "{}"))
    try:
        json.loads(first)
    except ValueError:
        return False
    return True


def loose_json_lines(db: DuckDBPyConnection, path: Path, columns: dict[str, str]) -> DuckDBPyRelation:
    """Like `json_lines`, of a file whose lines are JSON or Python literals; nothing is ever evaluated."""
    if is_json(path):
        return json_lines(db, [path], columns)
    table = "literal_" + re.sub(r"\W", "_", path.name)
    typed = ", ".join(f"{name} {kind}" for name, kind in columns.items())
    db.execute(f"create table {table} ({typed})")
    structure = json.dumps({name: _in_json(kind) for name, kind in columns.items()})
    numbered = ((number, line) for number, line in lines(path) if line.strip())
    while block := list(islice(numbered, LINES_PER_BLOCK)):
        as_lines = np.array([as_json(line, f"{path}:{number}") for number, line in block], dtype=object)
        rows = {"line": as_lines}  # noqa: F841  # DuckDB reads the name out of the query
        db.execute(
            f"insert into {table} select unnest(from_json(line::json, ?)) from rows",
            [structure],
        )
    return db.table(table)


def _in_json(kind: str) -> object:
    return [_in_json(kind.removesuffix("[]"))] if kind.endswith("[]") else kind


def as_json(literal: str, where: str) -> str:
    """A line with a Python dict as the JSON of it."""
    text = ""
    try:
        text = rewritten(literal)
        found = json.loads(text)
    except (ValueError, OverflowError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise DataError("is neither JSON nor a Python literal", where=where, fix="download it again, or fix the line")
    return text


def example_lines(folder: Path, name: str, rows: Sequence[dict[str, object]]) -> None:
    """Write a miniature `.gz` file of JSON lines."""
    with gzip.open(folder / name, "wt", encoding="utf-8") as file:
        file.writelines(chain.from_iterable((json.dumps(row), "\n") for row in rows))
