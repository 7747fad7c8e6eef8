"""Tables in text: CSV, TSV, and RecBole's files with their typed headers. Nothing is guessed but the delimiter."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from duckdb import DuckDBPyConnection

from llmemb_bench.base.errors import DataError
from llmemb_bench.data.faults import FIX_LINE
from llmemb_bench.data.raw import UTF8, RowError, lines, packing, rows
from llmemb_plugins.datasets._files import Source, in_utf8, named, refuse_other_content

DELIMITERS = {".csv": ",;|\t", ".tsv": "\t", ".txt": "\t,;|", ".inter": "\t", ".item": "\t"}
"""What may stand between values; where several may, the one that makes most columns of the first line."""
_TYPED = re.compile(r"(?P<name>[^:]+):(token|float|token_seq|float_seq)")


@dataclass(frozen=True)
class Form:
    """How the values of a table are told apart."""

    delimiters: Sequence[str]
    quote: str = '"'
    encoding: str = UTF8


@dataclass(frozen=True)
class Header:
    """The first line of a table that is not blank."""

    names: list[str]
    line: int
    delimiter: str
    typed: bool


def header(db: DuckDBPyConnection, files: Sequence[Path | str], form: Form) -> Header:
    """The first line of all these tables: the same columns, delimiter and place, as DuckDB reads them with one setting.

    DuckDB's own detection takes the line that looks most like a header and drops what stands before it.
    """
    found: Header | None = None
    for file in files:
        here = _header(db, file, form)
        found = found or here
        if difference := _difference(found, here, files[0]):
            finding, fix = difference
            raise DataError(finding, where=f"{file}:{here.line}", fix=fix)
    assert found is not None
    return found


def _difference(first: Header, here: Header, file: Path | str) -> tuple[str, str] | None:
    """What keeps a part from being read like the first one, which is `file`, and the way out."""
    if here.delimiter != first.delimiter:
        finding = f"has {here.delimiter!r} between its values, the first part ({file}) {first.delimiter!r}"
        return finding, "write all parts with the same delimiter"
    if here.names != first.names:
        finding = f"has the columns {', '.join(here.names)}, the first part ({file}) {', '.join(first.names)}"
        return finding, "give all parts the same columns in the same order"
    if here.line != first.line:
        finding = f"has its header in line {here.line}, the first part ({file}) in line {first.line}"
        return finding, "remove the blank lines before the header"
    return None


def _header(db: DuckDBPyConnection, file: Path | str, form: Form) -> Header:
    if isinstance(file, Path) and packing(file) != "zstd":
        return _local_header(file, form)
    text = (_first_line(db, named([file])[0]) or "").lstrip("\ufeff")
    return _chosen(file, [next(rows([text], delimiter, form.quote), (1, [])) for delimiter in form.delimiters], form)


def _local_header(path: Path, form: Form) -> Header:
    refuse_other_content(path, form.encoding)
    return _chosen(path, [next(_rows(path, form, delimiter), (1, [])) for delimiter in form.delimiters], form)


def _chosen(file: Path | str, first: Sequence[tuple[int, list[str]]], form: Form) -> Header:
    """The header by the delimiter that makes most columns of it; `first` holds the first row by each of them."""
    delimiter, (line, names) = max(zip(form.delimiters, first, strict=True), key=lambda tried: len(tried[1][1]))
    if not names:
        raise DataError("is empty", where=str(file), fix="is it the right file? its first line names the columns")
    typed = [match for match in map(_TYPED.fullmatch, names) if match]
    is_typed = len(typed) == len(names)
    names = [match["name"] for match in typed] if is_typed else names
    _refuse_names(names, f"{file}:{line}")
    return Header(names, line, delimiter, is_typed)


def _refuse_names(names: Sequence[str], where: str) -> None:
    for column, name in enumerate(names, start=1):
        if not name.strip():
            raise DataError(
                f"column {column} has no name{' (pandas index?)' if column == 1 else ''}",
                where=where,
                fix="name it; pandas leaves its index out with to_csv(..., index=False)",
            )
        if names.count(name) > 1:
            raise DataError(f"has two columns called '{name}'", where=where, fix="rename one of them")


def _first_line(db: DuckDBPyConnection, file: str) -> str | None:
    found = db.execute(
        "select line from read_csv(?, columns = {'line': 'VARCHAR'}, delim = '\x1f', header = false, quote = '', "
        "escape = '', auto_detect = false, strict_mode = false) limit 1",
        [[file]],
    ).fetchall()
    return found[0][0] if found else None


def _rows(path: Path, form: Form, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """The rows of a file that are not blank, each with the number of the line that it begins on."""
    try:
        yield from rows((text for _, text in lines(path, form.encoding)), delimiter, form.quote)
    except RowError as broken:
        raise DataError(f"cannot be read as a table: {broken}", where=f"{path}:{broken.line}", fix=FIX_LINE) from broken


def read_delimited(db: DuckDBPyConnection, files: Sequence[Path | str], form: Form) -> Source:
    """Every value as the text it is; a row of another width is an error with its line."""
    found = header(db, files, form)
    plain = [in_utf8(db, file, form.encoding, keep_mark=True) if isinstance(file, Path) else file for file in files]
    columns = {f"c{column}": "VARCHAR" for column in range(len(found.names))}
    read = db.sql(
        "select * from read_csv(?, columns = ?, delim = ?, skip = ?, header = true, quote = ?, escape = ?, "
        "auto_detect = false, strict_mode = true, null_padding = false)",
        params=[
            named(plain),
            columns,
            found.delimiter,
            found.line - 1,
            form.quote,
            form.quote,
        ],
    )
    return Source(read, dict(zip(found.names, columns, strict=True)), found.typed)


def records(path: Path, form: Form) -> Iterator[tuple[str, dict[str, object]]]:
    """`file:line` and values by column of every row after the header."""
    found = _local_header(path, form)
    for line, row in islice(_rows(path, form, found.delimiter), 1, None):
        yield f"{path}:{line}", dict(zip(found.names, row, strict=False))
