"""Reading raw files, as several datasets do."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from pathlib import Path

import numpy as np
from duckdb import DuckDBPyConnection, DuckDBPyRelation

from llmemb_bench.errors import DataError

LARGEST_LINE = 1 << 24  # bytes; DuckDB takes two buffers of it a thread
LINES_A_BLOCK = 20_000
COMPRESSION = {".gz": "gzip", ".zst": "zstd"}

_STRING = r"""[uU]?(?:'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)")"""
_TOKEN = re.compile(rf"{_STRING}|\b(True|False|None)\b", re.DOTALL)
_WORDS = {"True": "true", "False": "false", "None": "null"}
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|.)", re.DOTALL)
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r", "'": "'", '"': '"', "\\": "\\", "b": "\b", "f": "\f", "/": "/"}


def named(paths: Sequence[Path]) -> list[str]:
    """Paths for DuckDB, which reads `*`, `?` and `[` in a name as a pattern."""
    return [re.sub(r"([*?\[])", r"[\1]", str(path)) for path in paths]


def json_lines(db: DuckDBPyConnection, paths: Sequence[Path], columns: dict[str, str]) -> DuckDBPyRelation:
    """The named columns (name to DuckDB type) of files of JSON lines, plain, gzip or zstd; absent keys are null.

    DuckDB keeps the order of the files and of their lines, which decides between events of equal time.
    """
    return db.sql(
        f"select {', '.join(columns)} from read_json(?, format = 'newline_delimited', columns = ?, "
        f"compression = ?, maximum_object_size = {LARGEST_LINE})",
        params=[named(paths), columns, COMPRESSION.get(paths[0].suffix, "none")],
    )


def lines(path: Path, encoding: str = "utf-8") -> Iterator[tuple[int, str]]:
    """Number and text of every line of a file, plain or gzip; a broken file is a DataError."""
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rt", encoding=encoding) as file:
            yield from enumerate(file, start=1)
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise DataError(f"cannot be read: {error}", where=str(path), fix="download it again") from error


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
    numbered = lines(path)
    while block := list(islice(numbered, LINES_A_BLOCK)):
        rewritten = np.array([as_json(line, f"{path}:{number}") for number, line in block], dtype=object)
        rows = {"line": rewritten}  # noqa: F841  # DuckDB reads the name out of the query
        db.execute(
            f"insert into {table} select unnest(from_json(line::json, ?)) from rows",
            [structure],
        )
    return db.table(table)


def _in_json(kind: str) -> object:
    return [_in_json(kind.removesuffix("[]"))] if kind.endswith("[]") else kind


def as_json(literal: str, where: str) -> str:
    """A line with a Python dict as the JSON of it: strings are rewritten one by one, the rest must be JSON."""
    text = _TOKEN.sub(_token, literal)
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise DataError("is neither JSON nor a Python literal", where=where, fix="download it again, or mend the line")
    return text


def _token(match: re.Match[str]) -> str:
    single, double, word = match.groups()
    if word:
        return _WORDS[word]
    text = single if single is not None else double
    if "\\" in text:
        text = _ESCAPE.sub(_unescaped, text)
    return json.dumps(text)


def _unescaped(match: re.Match[str]) -> str:
    code = match[1]
    if len(code) > 1:
        return chr(int(code[1:], 16))
    return _ESCAPED.get(code, match[0])


def example_lines(folder: Path, name: str, rows: Sequence[dict[str, object]]) -> None:
    """Write a miniature `.gz` file of JSON lines."""
    with gzip.open(folder / name, "wt", encoding="utf-8") as file:
        file.writelines(chain.from_iterable((json.dumps(row), "\n") for row in rows))
