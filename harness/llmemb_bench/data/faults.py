"""DuckDB's errors about broken files, as file, line, finding and fix."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import duckdb

from llmemb_bench.base.disk import refusal
from llmemb_bench.base.errors import BenchError, DataError, MissingError
from llmemb_bench.contracts import Dataset
from llmemb_bench.data.raw import UNREADABLE, UTF8, RowError, opened, packing, rows, undecodable

_POSITION = re.compile(
    r'(?P<kind>Malformed JSON|JSON transform error) in file "(?P<file>[^"]+)".*?in line (?P<line>\d+): (?P<finding>.*)',
    re.DOTALL,
)
_CSV = re.compile(r"CSV Error on Line: (?P<line>\d+)\n|CSV Parser")
_CSV_FINDING = re.compile(
    r"^(Expected Number of Columns: (?P<width>\d+) Found: \d+|Value with unterminated quote found|Maximum line size.*)",
    re.MULTILINE,
)
_CSV_SETTING = re.compile(r"^\s*(?P<name>file|delimiter|quote) = ?(?P<value>.*?)(?: \(Set By User\))?$", re.MULTILINE)
_LARGE = re.compile(r'"maximum_object_size" of (?P<limit>\d+) bytes exceeded while reading file "(?P<file>[^"]+)"')
_GZIP = re.compile(
    r"(?P<finding>Unexpected end of GZIP stream|Failed to decode gzip stream|not a GZIP stream)(: (?P<file>.+))?"
)
FIX_LINE = "fix the line, or set dataset.delimiter or dataset.quote to what the file has"
MIXED = "some lines end in CRLF and some in LF"
AGAIN = "download it again, or fix the line; 'llmemb-bench data verify' checks a file as a whole"


def explained(error: duckdb.Error, dataset: Dataset) -> BenchError:
    """The error a user can act on."""
    text = str(error)
    files = " ".join(map(str, dataset.files())) or "dataset"
    if isinstance(error, duckdb.OutOfMemoryException):
        limit = dataset.config.memory_limit
        return DataError(f"{limit} of memory are not enough", where=files, fix="raise dataset.memory_limit")
    if refused := refusal(error):
        return refused
    if isinstance(error, duckdb.HTTPException) or "httpfs" in text.lower():
        return MissingError(_first_line(text), where=files, fix="is the network reachable? or download the file")
    if found := _POSITION.search(text):
        path = Path(found["file"])
        where = f"{_raw_name(path, dataset)}:{_line(path, found)}"
        return DataError(_finding(found["finding"]), where=where, fix=AGAIN)
    if found := _LARGE.search(text):
        return DataError(f"a line is longer than {int(found['limit']):,} bytes", where=found["file"], fix=AGAIN)
    if found := _CSV.search(text):
        return _csv_error(found["line"], text, files, dataset)
    if found := _GZIP.search(text):
        where = found["file"] or files
        return DataError(f"cannot be read: {found['finding']}; it is cut off or broken", where=where, fix=AGAIN)
    return DataError(
        f"cannot be read: {_first_line(text)}",
        where=files,
        fix="is it the right file, whole, and of the format that its name says?",
    )


def _first_line(text: str) -> str:
    return text.splitlines()[0] if text else "no reason given"


def _finding(text: str) -> str:
    return f"is not a JSON object of the expected form: {_first_line(text)[:120].strip()}"


def _raw_name(file: Path, dataset: Dataset) -> Path:
    """The file that the user knows: what DuckDB read may be a copy in UTF-8, which is the same line by line."""
    if "spill" not in file.parts:
        return file
    return next((path for path in dataset.files() if path.name.startswith(file.name)), file)


def _csv_error(reported: str | None, text: str, files: str, dataset: Dataset) -> DataError:
    """DuckDB counts rows; the line is where the row begins, as an editor counts."""
    said = dict(_CSV_SETTING.findall(text))
    path, line = Path(said.get("file", files)), int(reported or 1)
    if "This file is not utf-8 encoded" in text:
        return undecodable(path, UTF8, line)
    found = _CSV_FINDING.search(text)
    finding, fix = found[0] if found else "is not a row of a table", FIX_LINE
    if found and found["width"]:
        line = next((at for at, row in _rows(path, said) if row and len(row) != int(found["width"])), line)
    elif broken := next((at for at, row in _rows(path, said) if row is None), None):
        line = broken
    elif other := _other_end(path):
        line, finding, fix = other, MIXED, f"write it with one kind of line end: dos2unix {path.name}"
    return DataError(f"cannot be read as a table: {finding}", where=f"{_raw_name(path, dataset)}:{line}", fix=fix)


def _rows(path: Path, said: dict[str, str]) -> Iterator[tuple[int, list[str] | None]]:
    """Each row of a table, by the settings that DuckDB had, with the line that it begins on; None: a broken quote."""
    delimiter = said.get("delimiter", ",")
    if len(delimiter) != 1 or packing(path) == "zstd":
        return
    try:
        with opened(path, errors="replace", newline="") as file:
            yield from rows(file, delimiter, said.get("quote", "").replace("(empty)", ""), strict=True)
    except RowError as broken:
        yield broken.line, None
    except UNREADABLE:
        pass


def _other_end(path: Path) -> int | None:
    """The first line whose end is not that of the first one."""
    usual = None
    try:
        with opened(path, errors="replace", newline="") as file:
            for number, line in enumerate(file, start=1):
                end = line[len(line.rstrip("\r\n")) :]
                usual = usual or end
                if end and end != usual:
                    return number
    except UNREADABLE:
        pass
    return None


def _line(path: Path, found: re.Match[str]) -> int:
    """The line itself: DuckDB counts a malformed line from two, another fault from one."""
    reported = max(int(found["line"]) - (found["kind"] == "Malformed JSON"), 1)
    opened = gzip.open if path.suffix == ".gz" else open
    first = max(reported - 2, 0)
    try:
        with opened(path, "rb") as file:
            for number, line in enumerate(islice(file, first, reported + 1), start=first + 1):
                if not _is_object(line):
                    return number
    except UNREADABLE:
        pass  # a cut-off archive as well: the reported line is as near as one can tell
    return reported


def _is_object(line: bytes) -> bool:
    try:
        return not line.strip() or isinstance(json.loads(line), dict)
    except ValueError:
        return False
