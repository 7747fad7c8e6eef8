"""Raw text files, plain or packed, line by line as an editor counts."""

from __future__ import annotations

import csv
import gzip
import lzma
import zlib
from collections.abc import Iterable, Iterator
from io import TextIOWrapper
from pathlib import Path

from llmemb_bench.base.errors import DataError

UTF8 = "utf-8"
PACKED = {".gz": "gzip", ".zst": "zstd"}
UNREADABLE = (OSError, EOFError, zlib.error, lzma.LZMAError)
"""What Python raises for a file that the disk refuses, and for a packed one that is cut off or damaged."""


class RowError(Exception):
    """A row that is none: the line that it begins on, and why."""

    def __init__(self, line: int, why: str) -> None:
        super().__init__(why)
        self.line = line


def packing(path: Path) -> str:
    """How a file is compressed, as DuckDB calls it."""
    return PACKED.get(path.suffix.lower(), "none")


def opened(path: Path, encoding: str = UTF8, newline: str | None = None, errors: str = "strict") -> TextIOWrapper:
    """A text file, plain or gzip, without its byte-order mark."""
    encoding = "utf-8-sig" if encoding == UTF8 else encoding
    if packing(path) == "gzip":
        return gzip.open(path, "rt", encoding=encoding, newline=newline, errors=errors)
    return path.open(encoding=encoding, newline=newline, errors=errors)


def lines(path: Path, encoding: str = UTF8) -> Iterator[tuple[int, str]]:
    """Number and text of every line of a file, plain or gzip; a broken file is a DataError."""
    try:
        with opened(path, encoding) as file:
            yield from enumerate(file, start=1)
    except UnicodeError as error:
        raise undecodable(path, encoding) from error
    except UNREADABLE as error:
        raise DataError(f"cannot be read: {error}", where=str(path), fix="download it again") from error


def rows(texts: Iterable[str], delimiter: str, quote: str, *, strict: bool = False) -> Iterator[tuple[int, list[str]]]:
    """Each row of a table that is not blank, with the number of the line that it begins on; raises RowError."""
    if quote:
        reader = csv.reader(texts, delimiter=delimiter, quotechar=quote, strict=strict)
    else:
        reader = csv.reader(texts, delimiter=delimiter, quoting=csv.QUOTE_NONE, strict=strict)
    line = 1
    try:
        for row in reader:
            if row:
                yield line, row
            line = reader.line_num + 1
    except csv.Error as error:
        raise RowError(line, str(error)) from error


def undecodable(path: Path, encoding: str, line: int = 1) -> DataError:
    """The error of a file that is not in this encoding, with the first line that shows it; `line` where none does."""
    try:
        with opened(path, encoding, errors="replace") as file:
            line = next((number for number, text in enumerate(file, start=1) if "\ufffd" in text), line)
    except (*UNREADABLE, UnicodeError):
        pass  # a cut-off archive as well: the line given is as near as one can tell
    return DataError(
        f"is not in {encoding.upper()}",
        where=f"{path}:{line}",
        fix="save it in UTF-8; for a table dataset.encoding may say what it is in, for example cp1252 or utf-16",
    )
