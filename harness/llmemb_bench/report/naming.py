"""Labels under which no two things go: lines of other settings, tables of other data or another protocol."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from llmemb_bench.report.differences import Loc, differences, in_words, with_detail
from llmemb_bench.report.row import Row

PARTS = {("embeddings",): "encoder", ("recommender", "backbone"): "backbone"}
"""Settings whose difference stands with a part's label; all others stand with the method's."""
OF_TABLES = ("dataset", "split", "evaluate")
OF_LINES = (*OF_TABLES, "embeddings", "recommender")
WHAT_ELSE = ("protocols", "metrics")
"""Settings of `evaluate` that say what is measured beside a number and do not change it."""

H = TypeVar("H")


def with_own_labels(rows: Sequence[Row]) -> list[Row]:
    """The rows; where several tables, or several lines of a table, have one label, each says what differs."""
    named = _lines_apart(_tables_apart(rows))
    return _lines_apart(named)  # a detail may give a line the name that a matrix gave to another


def _tables_apart(rows: Sequence[Row]) -> list[Row]:
    groups = _by(rows, lambda row: (row.dataset, row.protocol, row.split))
    found = {}
    for group in groups.values():
        tables = {row.table: row for row in reversed(group)}
        for table, details in _told_apart(tables, OF_TABLES, _hashes).items():
            found[table] = with_detail(tables[table].dataset, in_words(details))
    return [replace(row, dataset=found[row.table]) for row in rows]


def _lines_apart(rows: Sequence[Row]) -> list[Row]:
    groups = _by(rows, lambda row: (row.dataset, row.data, row.protocol_hash, row.labels))
    found = {}
    for label, group in groups.items():
        lines = {row.series: row for row in reversed(group)}
        for series, details in _told_apart(lines, OF_LINES, lambda row: {("inputs",): row.series[:8]}).items():
            found[*label, series] = _labels(lines[series], details)
    return [
        replace(row, **found[row.dataset, row.data, row.protocol_hash, row.labels, row.series])  # type: ignore[arg-type]
        for row in rows
    ]


def _told_apart(
    members: Mapping[H, Row], sections: Sequence[str], by_hash: Callable[[Row], dict[Loc, str]]
) -> dict[H, dict[Loc, str]]:
    """What is special about each; where no setting tells two apart, files or code do, and a hash stands for them."""
    details = differences([_settings(row, sections) for row in members.values()])
    if len({tuple(own.values()) for own in details}) < len(members):
        details = [own | by_hash(row) for own, row in zip(details, members.values(), strict=True)]
    return dict(zip(members, details, strict=True))


def _hashes(row: Row) -> dict[Loc, str]:
    return {("data",): row.data[:8], ("protocol",): row.protocol_hash[:8]}


def _settings(row: Row, sections: Sequence[str]) -> dict[str, Any]:
    found = {name: row.settings[name] for name in sections if name in row.settings}
    if "evaluate" in found:
        found["evaluate"] = {key: value for key, value in found["evaluate"].items() if key not in WHAT_ELSE}
    return found


def _labels(row: Row, details: Mapping[Loc, str]) -> dict[str, str]:
    """The labels of a line that get details, each with those of its part."""
    parts: dict[str, dict[Loc, str]] = {}
    for loc, value in details.items():
        part = next((label for start, label in PARTS.items() if loc[: len(start)] == start), "method")
        parts.setdefault(part, {})[loc] = value
    return {part: with_detail(getattr(row, part), in_words(own)) for part, own in parts.items()}


def _by(rows: Sequence[Row], key: Callable[[Row], H]) -> dict[H, list[Row]]:
    found: dict[H, list[Row]] = {}
    for row in rows:
        found.setdefault(key(row), []).append(row)
    return found
