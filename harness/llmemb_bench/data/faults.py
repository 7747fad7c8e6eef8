"""What DuckDB says of a broken file, as file, line, finding and way out."""

from __future__ import annotations

import csv
import gzip
import json
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import duckdb

from llmemb_bench.contracts import Dataset
from llmemb_bench.data.raw import UTF8, opened, packing, rows, undecodable
from llmemb_bench.errors import BenchError, DataError, MissingError

_PLACE = re.compile(
    r'(?P<kind>Malformed JSON|JSON transform error) in file "(?P<file>[^"]+)".*?in line (?P<line>\d+): (?P<finding>.*)',
    re.DOTALL,
)
_CSV = re.compile(r"CSV Error on Line: (?P<line>\d+)\n(?P<rest>.*)", re.DOTALL)
_CSV_SETTING = re.compile(r"^\s*(?P<name>file|delimiter|quote) = ?(?P<value>.*?)(?: \(Set By User\))?$", re.MULTILINE)
_CSV_WIDTH = re.compile(r"Expected Number of Columns: (\d+)")
_LARGE = re.compile(r'"maximum_object_size" of (?P<limit>\d+) bytes exceeded while reading file "(?P<file>[^"]+)"')
_GZIP = re.compile(
    r"(?P<finding>Unexpected end of GZIP stream|Failed to decode gzip stream|not a GZIP stream)(: (?P<file>.+))?"
)
MEND = "mend the line, or set dataset.delimiter or dataset.quote to what the file has"
MIXED = "some lines end in CRLF and some in LF"
AGAIN = "download it again, or mend the line; 'llmemb-bench data verify' checks a file as a whole"


def explained(error: duckdb.Error, dataset: Dataset) -> BenchError:
    """The error a user can act on."""
    text = _with_raw_names(str(error), dataset)
    files = " ".join(map(str, dataset.files())) or "dataset"
    if isinstance(error, duckdb.OutOfMemoryException):
        limit = dataset.config.memory_limit
        return DataError(f"{limit} of memory are not enough", where=files, fix="raise dataset.memory_limit")
    if isinstance(error, duckdb.HTTPException) or "httpfs" in text.lower():
        return MissingError(_first_line(text), where=files, fix="is the network reachable? or download the file")
    if found := _PLACE.search(text):
        path = Path(found["file"])
        return DataError(_finding(found["finding"]), where=f"{path}:{_line(path, found)}", fix=AGAIN)
    if found := _LARGE.search(text):
        return DataError(f"a line is longer than {int(found['limit']):,} bytes", where=found["file"], fix=AGAIN)
    if found := _CSV.search(text):
        return _csv_error(found, files)
    if found := _GZIP.search(text):
        where = found["file"] or files
        return DataError(f"cannot be read: {found['finding']}; it is cut off or broken", where=where, fix=AGAIN)
    return DataError(f"cannot be read: {_first_line(text)}", where=files, fix="is it the file the documentation names?")


def _first_line(text: str) -> str:
    return text.splitlines()[0] if text else "no reason given"


def _finding(text: str) -> str:
    return f"is no JSON object of the expected form: {_first_line(text)[:120].strip()}"


def _with_raw_names(text: str, dataset: Dataset) -> str:
    """What DuckDB says of a copy in UTF-8 is true of the file that was copied, line by line."""
    spilled = re.search(r"[^\n\"]*/spill/[0-9a-f]{8}/(?P<name>[^\n\":]+)", text)
    if spilled is None:
        return text
    raw = next((path for path in dataset.files() if path.name.startswith(spilled["name"])), spilled[0])
    return text.replace(spilled[0], str(raw))


def _csv_error(found: re.Match[str], files: str) -> DataError:
    """DuckDB counts rows; the line is where the row begins, as an editor counts."""
    said = dict(_CSV_SETTING.findall(found["rest"]))
    path, line = Path(said.get("file", files)), int(found["line"])
    if "unicode" in found["rest"]:
        return undecodable(path, UTF8, line)
    finding = next((row for row in found["rest"].splitlines() if row and not row.startswith("Original Line")), "")
    fix = MEND
    if width := _CSV_WIDTH.search(finding):
        line = next((at for at, row in _rows(path, said) if row and len(row) != int(width[1])), line)
    elif "quote" in finding:
        line, finding = next(((at, finding) for at, row in _rows(path, said) if row is None), (_other_end(path), MIXED))
        fix = fix if finding != MIXED else f"write it with one kind of line end: dos2unix {path.name}"
    return DataError(f"cannot be read as a table: {finding.strip()}", where=f"{path}:{line}", fix=fix)


def _rows(path: Path, said: dict[str, str]) -> Iterator[tuple[int, list[str] | None]]:
    """Each row of a table, by the settings that DuckDB had, with the line that it begins on; None: a broken quote."""
    line, delimiter = 0, said.get("delimiter", ",")
    if len(delimiter) != 1 or packing(path) == "zstd":
        return
    try:
        with opened(path, errors="replace", newline="") as file:
            for line, row in rows(file, delimiter, said.get("quote", "").replace("(empty)", ""), strict=True):
                yield line, row
    except csv.Error:
        yield line + 1, None
    except (OSError, EOFError):
        pass


def _other_end(path: Path) -> int:
    """The first line whose end is not that of the first one."""
    try:
        with opened(path, errors="replace", newline="") as file:
            ends = ((number, line[len(line.rstrip("\r\n")) :]) for number, line in enumerate(file, start=1))
            _, usual = next(ends, (1, ""))
            return next((number for number, end in ends if end != usual), 1)
    except (OSError, EOFError):
        return 1


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
    except (OSError, EOFError):
        pass  # a cut-off archive as well: the reported line is as near as one can tell
    return reported


def _is_object(line: bytes) -> bool:
    try:
        return not line.strip() or isinstance(json.loads(line), dict)
    except ValueError:
        return False
