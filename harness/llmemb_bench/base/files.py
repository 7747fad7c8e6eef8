"""A file that a user named with --output: whole or absent."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from llmemb_bench.base.disk import refusals
from llmemb_bench.base.errors import MissingError, SpecError
from llmemb_bench.base.folders import remove

OPTION = "--output"


def refuse_no_file(path: Path) -> None:
    """Before any work: the name of a folder is a SpecError, a folder that is not there a MissingError."""
    if path.is_dir():
        raise SpecError(f"'{path}' is a folder", where=OPTION, fix="name a file")
    if not path.parent.is_dir():
        raise MissingError(f"no folder {path.parent}", where=OPTION, fix=f"mkdir -p {path.parent}")


def refuse_occupied(path: Path) -> None:
    """The same, and a SpecError for a file that is there already."""
    refuse_no_file(path)
    if os.path.lexists(path):
        raise SpecError(f"'{path}' already exists", where=OPTION, fix="name a new file, or remove it")


def write_text(path: Path, text: str) -> None:
    """Write a file that is complete when it gets its name; a MissingError for what the disk refuses."""
    with refusals(path):
        number, name = tempfile.mkstemp(prefix=f".{path.name}.part-", dir=path.parent)
        part = Path(name)
        try:
            with os.fdopen(number, "w", encoding="utf-8", newline="") as file:
                file.write(text)
            part.chmod(0o666 & ~_umask())
            part.replace(path)
        finally:
            remove(part)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
