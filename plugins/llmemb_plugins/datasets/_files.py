"""Raw files of any form: how they are packed and encoded, and what they hold in spite of their name."""

from __future__ import annotations

import gzip
import hashlib
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from duckdb import DuckDBPyConnection, DuckDBPyRelation

from llmemb_bench.base.errors import DataError, SpecError
from llmemb_bench.data.raw import PACKED, UNREADABLE, UTF8, opened, packing, undecodable

MAGIC = {
    b"PK\x03\x04": "a zip archive (an Excel workbook is one)",
    b"\x1f\x8b": "a gzip file: give it a name that ends in .gz",
    b"\x28\xb5\x2f\xfd": "a zstd file: give it a name that ends in .zst",
    b"PAR1": "a Parquet file: give it a name that ends in .parquet",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook",
}
BYTE_ORDER_MARKS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
CHARACTERS_PER_BLOCK = 1 << 20


@dataclass(frozen=True)
class Source:
    """A table as it was read."""

    relation: DuckDBPyRelation
    columns: dict[str, str]
    """SQL of each column, by the name that the file gives it; SQL itself cannot tell `Title` from `title`."""
    typed: bool = False
    """Whether its header says `name:type`, as RecBole's do."""


def named(files: Sequence[Path | str]) -> list[str]:
    """Paths for DuckDB, which reads `*`, `?` and `[` in a name as a pattern; URLs as they are."""
    return [re.sub(r"([*?\[])", r"[\1]", str(file)) if isinstance(file, Path) else file for file in files]


def unpacked_name(name: str) -> str:
    """A file's name without the ending that says how it is compressed."""
    return re.sub(rf"({'|'.join(map(re.escape, PACKED))})$", "", name, flags=re.IGNORECASE)


def refuse_other_content(path: Path, encoding: str) -> None:
    """A file that is not the text that its name and `encoding` promise."""
    if packing(path) == "zstd":
        return
    start = _first_bytes(path)
    found = next((what for magic, what in MAGIC.items() if start.startswith(magic)), None)
    if found:
        raise DataError(f"is {found}", where=str(path), fix="name or save it as the text file that it should be")
    wide = next((name for mark, name in BYTE_ORDER_MARKS.items() if start.startswith(mark)), None)
    wide = wide or ("utf-16" if b"\0" in start[:4] else None)
    if wide and encoding == UTF8:
        raise DataError(f"is in {wide.upper()}, should be in UTF-8", where=f"{path}:1", fix=f"dataset.encoding: {wide}")


def _first_bytes(path: Path) -> bytes:
    try:
        with gzip.open(path) if packing(path) == "gzip" else path.open("rb") as file:
            return file.read(8)
    except UNREADABLE:
        return b""  # whoever reads the file says what is wrong with it


def in_utf8(db: DuckDBPyConnection, path: Path, encoding: str = UTF8, *, keep_mark: bool = False) -> Path:
    """The file itself; where it is in another encoding (or begins with a byte-order mark, unless that may stay), a copy
    in UTF-8 beside DuckDB's spilled data, which goes when they go."""
    marked = not keep_mark and _first_bytes(path).startswith(BYTE_ORDER_MARK)
    if encoding == UTF8 and not marked:
        return path
    if packing(path) == "zstd":
        raise SpecError(f"'{path.name}' can be read in UTF-8 only", where="dataset.encoding", fix="unpack it: unzstd")
    [(folder,)] = db.execute("select current_setting('temp_directory')").fetchall()
    copy = Path(folder) / hashlib.sha256(str(path).encode()).hexdigest()[:8] / unpacked_name(path.name)
    copy.parent.mkdir(parents=True, exist_ok=True)
    try:
        with opened(path, encoding, newline="") as file, copy.open("w", encoding=UTF8, newline="") as into:
            shutil.copyfileobj(file, into, CHARACTERS_PER_BLOCK)
    except UnicodeError as error:
        raise undecodable(path, encoding) from error
    except UNREADABLE as error:
        raise DataError(f"cannot be read: {error}", where=str(path), fix="download it again") from error
    return copy
