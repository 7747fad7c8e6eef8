"""Stage results on disk, addressed by what they were made from.

A key hashes the stage's name and schema version, its resolved settings, the source of the plugins it used and
the keys of what it was fed. A result is written under a temporary name, sealed and renamed, so it is whole or absent;
one that was damaged since is said and made again.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from llmemb_bench import progress
from llmemb_bench.config import Choice
from llmemb_bench.disk import refusals
from llmemb_bench.hashing import digest, hash_of
from llmemb_bench.registry import find
from llmemb_bench.seal import fault, seal
from llmemb_bench.spec.resolve import choices_in, resolve


def stage_key(stage: str, version: int, settings: object, upstream: Sequence[str]) -> str:
    """The address of a stage's result; raise `version` when the stage's code changes what it writes."""
    sources = {f"{choice.kind}/{choice.use}": _source(choice) for choice in choices_in(settings)}
    return digest([stage, version, resolve(settings, machine=False), sources, list(upstream)])


def _source(choice: Choice[Any, Any]) -> str:
    return find(choice.kind, choice.use).source_hash


def fingerprint(path: Path) -> str:
    """Hash of a file's content, or of names, sizes and times in a folder; absent files have one too."""
    if path.is_file():
        return hash_of(path)
    inside = sorted(inner for inner in path.rglob("*") if inner.is_file())
    return digest([[str(i.relative_to(path)), i.stat().st_size, i.stat().st_mtime_ns] for i in inside])


@dataclass(frozen=True)
class Shelf:
    """The folder that stage results lie in."""

    root: Path

    def has(self, stage: str, key: str) -> bool:
        """Whether a result is there already, and whole."""
        return not fault(self.place(stage, key))

    def place(self, stage: str, key: str) -> Path:
        """Where a result lies, or will."""
        return self.root / stage / key[:24]

    def get(self, stage: str, key: str, make: Callable[[Path], object]) -> Path:
        """The folder of a result; `make` fills an empty folder when it is not there yet."""
        place = self.place(stage, key)
        if fault(place):
            _clear(self.root)
            _clear(place.parent)
            write_sealed(place, make, lambda: True)
            shutil.rmtree(self._kept(stage, key), ignore_errors=True)
        return place

    def kept(self, stage: str, key: str) -> Path:
        """A folder for what long work wants to find again after a kill; it goes when the result is there."""
        folder = self._kept(stage, key)
        _clear(folder)
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _kept(self, stage: str, key: str) -> Path:
        return self.root / stage / f".{key[:24]}.kept"

    def fingerprint(self, path: Path) -> str:
        """Hash of a file's content; a large file is read once and then known by its inode, its size and its times."""
        if not path.is_file():
            return fingerprint(path)
        about = path.stat()
        # The time of the last change as well: `cp -p`, `rsync -t` and `touch -r` set the other one back.
        key = digest([str(path), about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns])

        def make(folder: Path) -> None:
            (folder / "sha256").write_text(fingerprint(path))

        return (self.get("fingerprint", key, make) / "sha256").read_text()


def _clear(folder: Path) -> None:
    """Make way for a folder of the shelf where something else has its name."""
    if os.path.lexists(folder) and not folder.is_dir():
        progress.alert(f"{folder}: is a file and should be a folder; removed")
        remove(folder)


def write_sealed(place: Path, make: Callable[[Path], object], is_done: Callable[[], bool]) -> None:
    """`write_folder` for results that are read again: with a seal. A damaged one is said and made again; `is_done` is
    asked about a whole one."""

    def make_sealed(folder: Path) -> None:
        make(folder)
        seal(folder)

    def is_whole() -> bool:
        wrong = fault(place)
        if wrong and os.path.lexists(place):
            progress.alert(f"{place}: {wrong}; made again")
        return not wrong and is_done()

    write_folder(place, make_sealed, is_whole)


def write_folder(place: Path, make: Callable[[Path], object], is_done: Callable[[], bool]) -> None:
    """Fill a folder under a temporary name, then give it its name; an existing one is replaced.

    One process at a time makes a folder; another waits and finds it done. What a killed one left half-made is
    removed by the next. What the disk refuses is a MissingError.
    """
    with refusals(place):
        place.parent.mkdir(parents=True, exist_ok=True)
        lock = place.parent / f".{place.name}.lock"
        with FileLock(lock):
            if not is_done():
                for left in place.parent.glob(f".{place.name}.part-*"):
                    remove(left)
                _make(place, make)
            lock.unlink(missing_ok=True)  # whoever still waits for it will find the folder done


def _make(place: Path, make: Callable[[Path], object]) -> None:
    temporary = Path(tempfile.mkdtemp(prefix=f".{place.name}.part-", dir=place.parent))
    old = temporary.with_name(f"{temporary.name}-old")
    try:
        make(temporary)
        if os.path.lexists(place):
            place.rename(old)
        temporary.rename(place)
    finally:
        remove(temporary)
        remove(old)


def remove(path: Path) -> None:
    """A file, link or folder and all in it, whatever its permissions; what cannot be removed is left."""
    with suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o700)
            shutil.rmtree(path)
        else:
            path.unlink()
