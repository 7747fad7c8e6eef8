"""Stage results on disk, addressed by what they were made from.

A key hashes the stage's name and schema version, its resolved settings, the source of the plugins it used and
the keys of what it was fed. A result is written under a temporary name and renamed, so it is whole or absent.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from llmemb_bench.config import Choice
from llmemb_bench.errors import MissingError
from llmemb_bench.registry import find
from llmemb_bench.spec.resolve import choices_in, digest, resolve


def stage_key(stage: str, version: int, settings: object, upstream: Sequence[str]) -> str:
    """The address of a stage's result; raise `version` when the stage's code changes what it writes."""
    sources = {f"{choice.kind}/{choice.use}": _source(choice) for choice in choices_in(settings)}
    return digest([stage, version, resolve(settings), sources, list(upstream)])


def _source(choice: Choice) -> str:
    return find(choice.kind, choice.use).source_hash


def fingerprint(path: Path) -> str:
    """Hash of a file's content, or of names, sizes and times in a folder; absent files have one too."""
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    inside = sorted(inner for inner in path.rglob("*") if inner.is_file())
    return digest([[str(i.relative_to(path)), i.stat().st_size, i.stat().st_mtime_ns] for i in inside])


@dataclass(frozen=True)
class Shelf:
    """The folder that stage results lie in."""

    root: Path

    def has(self, stage: str, key: str) -> bool:
        """Whether a result is there already."""
        return self._place(stage, key).exists()

    def _place(self, stage: str, key: str) -> Path:
        return self.root / stage / key[:24]

    def get(self, stage: str, key: str, make: Callable[[Path], None]) -> Path:
        """The folder of a result; `make` fills an empty folder when it is not there yet."""
        place = self._place(stage, key)
        if not place.exists():
            write_folder(place, make)
        return place


def write_folder(place: Path, make: Callable[[Path], None]) -> None:
    """Fill a folder under a temporary name, then give it its name; an existing one is replaced."""
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{place.name}.", dir=place.parent))
    except OSError as error:
        raise MissingError(
            f"cannot write to {place.parent}: {error.strerror}",
            fix="choose another folder with --results DIR",
        ) from error
    try:
        make(temporary)
        if place.exists():
            shutil.rmtree(place)
        temporary.replace(place)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
