"""A refusal by the disk is one line and exit code 4: no space, a read-only or foreign folder, a broken disk."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from errno import EDQUOT, EFBIG, EIO, ENOSPC, EROFS
from pathlib import Path

from llmemb_bench.base.errors import BenchError, MissingError

ROOM = "free some space there, or choose another disk with --results DIR; then run the same command again"
OTHER = "choose another folder with --results DIR"
_FULL = (ENOSPC, EDQUOT)
_REASONS = {os.strerror(number): number for number in (*_FULL, EFBIG, EROFS, EIO)}
"""Libraries say what the system told them in an error of their own: DuckDB, safetensors."""
_NO_DISK = (BrokenPipeError, ConnectionError, TimeoutError, ChildProcessError)


@contextmanager
def refusals(path: Path) -> Iterator[None]:
    """Turn what the disk refuses inside the block into a MissingError that names the file, or `path`."""
    try:
        yield
    except BenchError:
        raise
    except Exception as error:
        found = refusal(error, path)
        if found is None:
            raise
        raise found from error


def require_writable(folder: Path) -> None:
    """A MissingError where nothing can be written into a folder; one that is not there is made by whoever writes."""
    if not folder.is_dir():
        return
    with refusals(folder):
        try:
            tempfile.TemporaryFile(dir=folder).close()
        except OSError as error:
            error.filename = str(folder)  # in place of a name that nobody knows
            raise


def refusal(error: Exception, path: Path | None = None) -> MissingError | None:
    """The line for an error of the disk; None for any other error."""
    found = _reason(error)
    if found is None:
        return None
    reason, is_full = found
    where = getattr(error, "filename", None) or path or ""
    return MissingError(f"cannot be used: {reason}", where=str(where), fix=ROOM if is_full else OTHER)


def _reason(error: Exception) -> tuple[str, bool] | None:
    """What the system said, and whether there was no room."""
    if isinstance(error, OSError) and error.errno is not None and not isinstance(error, _NO_DISK):
        return error.strerror or os.strerror(error.errno), error.errno in _FULL
    if isinstance(error, OSError) and " requested and " in str(error):  # numpy, which lost the number
        return os.strerror(ENOSPC), True
    for reason, number in _REASONS.items():
        if reason in str(error):
            return reason, number in _FULL
    return None
