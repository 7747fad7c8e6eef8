"""Whether raw and prepared files are unchanged."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from pathlib import Path

from llmemb_bench.base.hashing import hash_of
from llmemb_bench.base.seal import fault, sealed
from llmemb_bench.contracts import Dataset
from llmemb_bench.data.fetch import read_sums
from llmemb_bench.data.raw import UNREADABLE
from llmemb_bench.data.zstandard import is_whole

BLOCK = 1 << 20


@dataclass(frozen=True)
class Verdict:
    """What is known of one file."""

    path: Path
    fine: bool
    finding: str


def verify_raw(dataset: Dataset) -> list[Verdict]:
    """Each raw file: whole (a gzip file is read to its checksum), and the hash that was recorded for it, if any."""
    return [_raw(path) for path in dataset.files()]


def _raw(path: Path) -> Verdict:
    if path.suffix == ".gz":
        try:
            with gzip.open(path) as file:
                while file.read(BLOCK):
                    pass
        except UNREADABLE as error:
            return Verdict(path, False, f"is broken: {error}")
    if path.suffix == ".zst" and not is_whole(path):
        return Verdict(path, False, "is broken: the zstd stream is cut off")
    found = hash_of(path)
    recorded = next((sums[name] for sums, name in _sums_above(path) if name in sums), None)
    if recorded is None:
        return Verdict(path, True, f"sha256 {found}, whole, nothing recorded to compare it with")
    if recorded != found:
        return Verdict(path, False, f"has changed: recorded sha256 {recorded}, found {found}")
    return Verdict(path, True, f"sha256 {found}, as recorded")


def _sums_above(path: Path) -> list[tuple[dict[str, str], str]]:
    """Sums recorded in the file's folder and in the one above (archives unpack into a folder)."""
    return [(read_sums(folder), path.relative_to(folder).as_posix()) for folder in path.parents[:2]]


def verify_prepared(folder: Path) -> list[Verdict]:
    """Each prepared file against the seal that was written with it."""
    if not (names := sealed(folder)):
        return [Verdict(folder, False, fault(folder))]
    return [_prepared(folder / name, fault(folder, [name])) for name in names]


def _prepared(path: Path, wrong: str) -> Verdict:
    return Verdict(path, not wrong, wrong.removeprefix(f"{path.name} ") or "as prepared")
