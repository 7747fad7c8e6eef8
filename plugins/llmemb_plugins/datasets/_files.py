"""Reading raw files, as several datasets do."""

from __future__ import annotations

import csv
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
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[0-7]{1,3}|.)", re.DOTALL)
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


def first_line(db: DuckDBPyConnection, file: str) -> str | None:
    """The first line of a text file, here or remote, plain or compressed; None of an empty one."""
    found = db.execute(
        "select line from read_csv(?, columns = {'line': 'VARCHAR'}, delim = '\x1f', header = false, quote = '', "
        "escape = '', auto_detect = false) limit 1",
        [[file]],
    ).fetchall()
    return found[0][0] if found else None


def header(db: DuckDBPyConnection, files: Sequence[str], delimiter: str) -> list[str]:
    """The column names that all these tables have in their first line; nothing is guessed.

    DuckDB's own detection takes the line that looks most like a header and drops what stands before it.
    """
    found: list[str] | None = None
    for file in files:
        line = first_line(db, file)
        if line is None:
            raise DataError("is empty", where=file, fix="is it the right file? its first line names the columns")
        names = next(csv.reader([line.lstrip("\ufeff")], delimiter=delimiter), [])
        if len(set(names)) < len(names):
            double = next(name for name in names if names.count(name) > 1)
            raise DataError(f"has two columns called '{double}'", where=f"{file}:1", fix="rename one of them")
        if found not in (None, names):
            raise DataError(
                f"has the columns {', '.join(names)}, the part before it {', '.join(found or [])}",
                where=f"{file}:1",
                fix="give all parts the same columns in the same order",
            )
        found = names
    return found or []


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
    numbered = ((number, line) for number, line in lines(path) if line.strip())
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
    text = ""
    try:
        text = _TOKEN.sub(_token, literal)
        found = json.loads(text)
    except (ValueError, OverflowError, RecursionError):
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
    if code[0] in "01234567":
        return chr(int(code, 8))
    if len(code) > 1:
        return chr(int(code[1:], 16))
    return _ESCAPED.get(code, match[0])


def example_lines(folder: Path, name: str, rows: Sequence[dict[str, object]]) -> None:
    """Write a miniature `.gz` file of JSON lines."""
    with gzip.open(folder / name, "wt", encoding="utf-8") as file:
        file.writelines(chain.from_iterable((json.dumps(row), "\n") for row in rows))
