"""What DuckDB says of a broken file, as file, line, finding and way out."""

from __future__ import annotations

import gzip
import json
import re
from itertools import islice
from pathlib import Path

import duckdb

from llmemb_bench.contracts import Dataset
from llmemb_bench.disk import refusal
from llmemb_bench.errors import BenchError, DataError, MissingError

_PLACE = re.compile(
    r'(?P<kind>Malformed JSON|JSON transform error) in file "(?P<file>[^"]+)".*?in line (?P<line>\d+): (?P<finding>.*)',
    re.DOTALL,
)
_CSV = re.compile(r"CSV Error on Line: (?P<line>\d+)\n(?P<rest>.*)", re.DOTALL)
_CSV_FILE = re.compile(r"^\s*file\s*=\s*(?P<file>.+)$", re.MULTILINE)
_LARGE = re.compile(r'"maximum_object_size" of (?P<limit>\d+) bytes exceeded while reading file "(?P<file>[^"]+)"')
_GZIP = re.compile(
    r"(?P<finding>Unexpected end of GZIP stream|Failed to decode gzip stream|not a GZIP stream)(: (?P<file>.+))?"
)
AGAIN = "download it again, or mend the line; 'llmemb-bench data verify' checks a file as a whole"


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
    if found := _PLACE.search(text):
        path = Path(found["file"])
        return DataError(_finding(found["finding"]), where=f"{path}:{_line(path, found)}", fix=AGAIN)
    if found := _LARGE.search(text):
        return DataError(f"a line is longer than {int(found['limit']):,} bytes", where=found["file"], fix=AGAIN)
    if found := _CSV.search(text):
        named = _CSV_FILE.search(text)
        where = f"{named['file'].strip() if named else files}:{found['line']}"
        return DataError(_csv_finding(found["rest"]), where=where, fix=AGAIN)
    if found := _GZIP.search(text):
        where = found["file"] or files
        return DataError(f"cannot be read: {found['finding']}; it is cut off or broken", where=where, fix=AGAIN)
    return DataError(f"cannot be read: {_first_line(text)}", where=files, fix="is it the file the documentation names?")


def _first_line(text: str) -> str:
    return text.splitlines()[0] if text else "no reason given"


def _finding(text: str) -> str:
    return f"is no JSON object of the expected form: {_first_line(text)[:120].strip()}"


def _csv_finding(text: str) -> str:
    lines = [line for line in text.splitlines() if line and not line.startswith("Original Line")]
    return f"cannot be read as a table: {lines[0].strip() if lines else 'wrong number of columns'}"


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
