"""A table of a comparison without its looks: lines of names and numbers, the best and the second of a column known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llmemb_bench.report.layout import Layout
from llmemb_bench.report.notes import CHOSEN
from llmemb_bench.report.row import Row

Mark = tuple[Any, ...]
"""Table, line, metric and bucket of a number."""


@dataclass(frozen=True)
class Number:
    """One number as a table shows it."""

    mean: float | None = None
    std: float | None = None
    rank: int | None = None
    """0 for the best of its column, 1 for the second; None for all others, and for settings that were not chosen."""
    mark: str = ""
    """Of significance."""

    @property
    def words(self) -> str:
        """`0.2060`, or a dash for nothing."""
        return score(self.mean)

    @property
    def spread(self) -> str:
        """`±.0012`; empty for a single seed."""
        return "" if self.std is None else f"±{self.std:.4f}".replace("±0.", "±.")


@dataclass(frozen=True)
class Line:
    """One row of a table."""

    names: tuple[str, ...]
    seeds: tuple[int, ...]
    validation: float | None
    numbers: tuple[Number, ...]


@dataclass(frozen=True)
class Grid:
    """One table."""

    names: tuple[str, ...]
    """Headings of the names."""
    columns: tuple[tuple[str, str], ...]
    """Metric and bucket of each number."""
    lines: tuple[Line, ...]


def score(value: float | None) -> str:
    """Four digits, or a dash for nothing."""
    return "–" if value is None else f"{value:.4f}"


def grid_of(rows: Sequence[Row], layout: Layout, metrics: Sequence[str], marks: Mapping[Mark, str]) -> Grid:
    """The table of some metrics."""
    columns = tuple((metric, bucket) for metric in metrics for bucket in layout.buckets)
    cells = {(row.line, row.metric, row.bucket): row for row in rows}
    firsts = {row.line: row for row in reversed(rows) if row.metric in metrics}
    order = dict.fromkeys(row.line for row in rows if row.metric in metrics)
    best = {column: _best_two(rows, *column) for column in columns}
    lines = [
        Line(
            names=tuple(_named(firsts[line], name) for name in layout.names),
            seeds=tuple(firsts[line].seeds),
            validation=firsts[line].validation,
            numbers=tuple(_number(cells.get((line, *column)), best[column], marks) for column in columns),
        )
        for line in order
    ]
    return Grid(layout.names, columns, tuple(lines))


def _named(row: Row, name: str) -> str:
    """A name of a line; the method with a mark where it was chosen among several."""
    mark = f" {CHOSEN}" if name == "method" and row.n_settings > 1 and row.chosen else ""
    return f"{getattr(row, name)}{mark}"


def _best_two(rows: Sequence[Row], metric: str, bucket: str) -> list[float]:
    """The two highest means of a column, equal ones as one."""
    column = [row for row in rows if (row.metric, row.bucket) == (metric, bucket) and row.chosen]
    return sorted({row.mean for row in column if row.mean is not None}, reverse=True)[:2]


def _number(row: Row | None, best: Sequence[float], marks: Mapping[Mark, str]) -> Number:
    if row is None or row.mean is None:
        return Number()
    rank = best.index(row.mean) if row.chosen and row.mean in best else None
    return Number(row.mean, row.std, rank, marks.get((row.table, row.line, row.metric, row.bucket), ""))
