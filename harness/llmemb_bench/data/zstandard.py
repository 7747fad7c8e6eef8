"""Whether a zstd file is whole: its frames name the size of each block, so nothing has to be unpacked.

DuckDB reads a file that is cut off as far as it goes and says nothing. The form is that of RFC 8878, section 3.1.
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

MAGIC, SKIPPABLE, SKIPPABLE_MASK = 0xFD2FB528, 0x184D2A50, 0xFFFFFFF0
DICTIONARY_BYTES = (0, 1, 2, 4)
CHECKSUM_BYTES = 4
RAW, RUN, COMPRESSED = range(3)


def is_whole(path: Path) -> bool:
    """Whether the file holds complete frames and nothing else; their content is not looked at."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(0)
        while file.tell() < size:
            if not _frame(file) or file.tell() > size:
                return False
    return size > 0


def _frame(file: BinaryIO) -> bool:
    """Skip the next frame; False where there is none."""
    magic = _number(file, 4)
    if magic & SKIPPABLE_MASK == SKIPPABLE:
        file.seek(_number(file, 4), 1)
        return True
    if magic != MAGIC:
        return False
    descriptor = _number(file, 1)
    single, has_checksum = bool(descriptor & 0x20), bool(descriptor & 0x04)
    content_bytes = (1 if single else 0, 2, 4, 8)[descriptor >> 6]
    file.seek((not single) + DICTIONARY_BYTES[descriptor & 0x03] + content_bytes, 1)
    is_last = False
    while not is_last:
        block = file.read(3)
        if len(block) < 3:
            return False
        about = int.from_bytes(block, "little")
        is_last, kind = bool(about & 1), (about >> 1) & 3
        if kind not in (RAW, RUN, COMPRESSED):
            return False
        file.seek(1 if kind == RUN else about >> 3, 1)
    file.seek(CHECKSUM_BYTES if has_checksum else 0, 1)
    return True


def _number(file: BinaryIO, length: int) -> int:
    return int.from_bytes(file.read(length), "little")
