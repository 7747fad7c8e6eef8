"""Folders that are complete or absent: filled under a temporary name, then renamed; and hashes of what is on disk."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock

from llmemb_bench.base import progress
from llmemb_bench.base.disk import refusals
from llmemb_bench.base.hashing import digest, hash_of
from llmemb_bench.base.seal import fault, seal


def fingerprint(path: Path) -> str:
    """Hash of a file's content, or of names, sizes and times in a folder; absent files have one too."""
    if path.is_file():
        return hash_of(path)
    inside = sorted(inner for inner in path.rglob("*") if inner.is_file())
    return digest([[str(i.relative_to(path)), i.stat().st_size, i.stat().st_mtime_ns] for i in inside])


@contextmanager
def sealed_folder(path: Path, is_done: Callable[[], bool]) -> Iterator[Path | None]:
    """`new_folder` for results that are read again: with a seal. A damaged one is reported and made again; `is_done`
    is asked about an undamaged one. Raises RuntimeError where nothing was written: an empty folder is not a result."""

    def is_whole() -> bool:
        wrong = fault(path)
        if wrong and os.path.lexists(path):
            progress.alert(f"{path}: {wrong}; made again")
        return not wrong and is_done()

    with new_folder(path, is_whole) as folder:
        yield folder
        if folder is not None:
            if not any(folder.iterdir()):
                raise RuntimeError(f"nothing was written for {path}")
            seal(folder)


@contextmanager
def new_folder(path: Path, is_done: Callable[[], bool]) -> Iterator[Path | None]:
    """An empty folder to fill, which then gets its name and replaces an existing one; None where `is_done`.

    One process at a time makes a folder; another waits and finds it done. What a killed one left half-made is
    removed by the next. Raises MissingError for what the disk refuses.
    """
    with refusals(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = path.parent / f".{path.name}.lock"
        with FileLock(lock):
            if is_done():
                yield None
            else:
                for left in path.parent.glob(f".{path.name}.part-*"):
                    remove(left)
                with _temporary(path) as folder:
                    yield folder
            lock.unlink(missing_ok=True)  # whoever still waits for it will find the folder done


@contextmanager
def _temporary(path: Path) -> Iterator[Path]:
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.part-", dir=path.parent))
    old = temporary.with_name(f"{temporary.name}-old")
    try:
        yield temporary
        if os.path.lexists(path):
            path.rename(old)
        temporary.rename(path)
    finally:
        remove(temporary)
        remove(old)


def clear_path(folder: Path) -> None:
    """Remove a file that has the name of a folder, and say so."""
    if os.path.lexists(folder) and not folder.is_dir():
        progress.alert(f"{folder}: is a file and should be a folder; removed")
        remove(folder)


def remove(path: Path) -> None:
    """A file, link or folder and all in it, whatever its permissions; what cannot be removed is left."""
    with suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o700)
            shutil.rmtree(path)
        else:
            path.unlink()
