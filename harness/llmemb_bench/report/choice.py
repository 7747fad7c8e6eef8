"""Which of several settings of one method stands for it: validation chooses, and a test score never does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from llmemb_bench.report.row import Labels, Row


def with_choice(rows: Sequence[Row]) -> list[Row]:
    """The rows, each with the number of settings that it is one of and whether it was chosen among them."""
    searches = searches_of(rows)
    chosen = {label: _chosen(settings) for label, settings in searches.items()}
    return [
        replace(
            row,
            n_settings=len(searches[row.table, row.plugins]),
            chosen=row.labels == chosen[row.table, row.plugins],
        )
        for row in rows
    ]


def searches_of(rows: Sequence[Row]) -> dict[tuple[Labels, Labels], list[Row]]:
    """Table and plugins to one row of each of their settings, in the order they were made."""
    found: dict[tuple[Labels, Labels], dict[Labels, Row]] = {}
    for row in rows:
        found.setdefault((row.table, row.plugins), {}).setdefault(row.labels, row)
    return {label: list(settings.values()) for label, settings in found.items()}


def undecided(settings: Sequence[Row]) -> str:
    """Why validation cannot choose among settings; empty where it can."""
    if any(row.validation is None for row in settings):
        return "not all have a validation score"
    if len({row.monitor for row in settings}) > 1:
        return "they were validated by different metrics"
    if len({tuple(row.seeds) for row in settings}) > 1:
        return "they were not run with the same seeds"
    return ""


def _chosen(settings: Sequence[Row]) -> Labels | None:
    """The line with the best validation score, the first of equals; None where that cannot be said."""
    if len(settings) == 1:
        return settings[0].labels
    if undecided(settings):
        return None
    return max(settings, key=lambda row: row.validation or 0.0).labels
