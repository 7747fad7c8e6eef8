"""What a reader must know of a table, in sentences: its title, its buckets, how a line was chosen, its warnings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from llmemb_bench.evaluation.cut import HeadCut
from llmemb_bench.report.choice import searches_of, undecided
from llmemb_bench.report.layout import SHOWN_BUCKETS, constants
from llmemb_bench.report.row import Row

CHOSEN = "*"
NAMED = 4
"""Lines that a warning names; of more it says how many."""


def title(rows: Sequence[Row], buckets: Sequence[str] = SHOWN_BUCKETS) -> str:
    """Data, protocol, the names that all lines share, and the users of each bucket."""
    users = {row.bucket: row.n_users for row in rows}
    counts = ", ".join(f"{users[bucket]:,} {bucket}" for bucket in buckets if bucket in users)
    shared = [f"{name} {value}" for name, value in constants(rows).items()]
    return f"{' · '.join(filter(None, [rows[0].dataset, rows[0].protocol, rows[0].split, *shared]))}   ({counts} users)"


def searches(rows: Sequence[Row]) -> Iterator[str]:
    """One line for each method of which several settings were tried."""
    for settings in searches_of(rows).values():
        if len(settings) == 1:
            continue
        of = f"{len(settings)} settings of {' x '.join(settings[0].plugins[1:])} in {settings[0].experiment}"
        if reason := undecided(settings):
            yield f"none of {of} is chosen, and none in bold: {reason}"
        else:
            yield f"{CHOSEN} chosen by validation {settings[0].monitor} among {of}; the others are never in bold"


def buckets_in_words(rows: Sequence[Row]) -> Iterator[str]:
    """Which items are head, and how much of the tail training never saw."""
    row, users = rows[0], {row.bucket: row.n_users for row in rows}
    yield f"head: {HeadCut(row.n_items, row.head_items, row.head_least_events, row.head_tied)}"
    if "tail" in users and "tail cold" in users:
        yield f"tail: {users['tail']:,} users, {users['tail cold']:,} of them with targets never seen in training"


def warnings(rows: Sequence[Row]) -> Iterator[str]:
    """Each warning once, with the lines that it is about; a dataset alone where it is about all of its lines."""
    about: dict[str, dict[str, set[str]]] = {}
    lines: dict[str, set[str]] = {}
    for row in rows:
        name = " x ".join(part for part in (row.method, row.backbone, row.encoder) if part != "none")
        lines.setdefault(row.dataset, set()).add(name)
        for warning in row.warnings:
            about.setdefault(warning, {}).setdefault(row.dataset, set()).add(name)
    for warning, affected in about.items():
        whom = [
            f"{_some(names)} on {dataset}" if names < lines[dataset] else dataset for dataset, names in affected.items()
        ]
        yield f"{'; '.join(whom)}: {warning}"


def _some(names: set[str]) -> str:
    """All of a few names, the first of many."""
    named = sorted(names)
    return ", ".join(named[:NAMED]) + (f" and {len(named) - NAMED} more" if len(named) > NAMED else "")
