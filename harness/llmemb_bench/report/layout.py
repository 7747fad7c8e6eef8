"""Which columns of a comparison stand together, so that each number is whole on a terminal of any width."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, groupby

from llmemb_bench.report.row import Row

SHOWN_BUCKETS = ("overall", "head", "tail")
NAMES = ("experiment", "method", "backbone", "encoder")
FIRST = ("hr", "ndcg")
"""Metrics that stand before the others."""


@dataclass(frozen=True)
class Layout:
    """The columns of the tables that a comparison is shown in."""

    names: tuple[str, ...]
    """Fields of a row that name a line."""
    validation: bool
    """Whether the score that chose among settings is shown."""
    metrics: tuple[tuple[str, ...], ...]
    """Those of each table."""
    buckets: tuple[str, ...]
    folded: bool = False
    """Whether names go over several lines."""

    def left_out(self, widest: Layout) -> list[str]:
        """What is not shown that the widest layout shows."""
        names = [name for name in (*widest.names, *widest.buckets) if name not in (*self.names, *self.buckets)]
        return names + ["validation"] * (widest.validation and not self.validation)


def layouts(rows: Sequence[Row], buckets: Sequence[str] = SHOWN_BUCKETS) -> Iterator[Layout]:
    """From the widest to the narrowest: all in one table; one a metric; one a metric and cut-off; without names that
    tell no lines apart; without head; names over several lines."""
    searched = any(row.n_settings > 1 for row in rows)
    varied, shown = varying(rows), tuple(buckets)
    parts = metric_groups(rows)
    needed = _needed(rows, varied)
    for names, validation in ((varied, searched), (needed, False)):
        for part in parts:
            yield Layout(names, validation, part, shown)
    for fewer in (("overall", "tail"), ("overall",)) if shown == SHOWN_BUCKETS else (shown, shown[:1]):
        yield Layout(needed, False, parts[-1], fewer)
        yield Layout(needed, False, parts[-1], fewer, folded=True)


def metric_groups(rows: Sequence[Row]) -> list[tuple[tuple[str, ...], ...]]:
    """Metrics by table, from few tables to many: all in one; one a metric; one a metric and cut-off."""
    metrics = sorted({row.metric for row in rows}, key=_order)
    families = tuple(tuple(group) for _, group in groupby(metrics, key=lambda metric: metric.rpartition("@")[0]))
    return list(dict.fromkeys([(tuple(metrics),), families, tuple((metric,) for metric in metrics)]))


def varying(rows: Sequence[Row]) -> tuple[str, ...]:
    """Names of a line that are not the same in all lines, and the method."""
    return tuple(name for name in NAMES if name == "method" or len({getattr(row, name) for row in rows}) > 1)


def constants(rows: Sequence[Row]) -> dict[str, str]:
    """The other names with their one value, but for parts that no line has."""
    varied = varying(rows)
    values = {name: str(getattr(rows[0], name)) for name in NAMES if name not in varied}
    return {name: value for name, value in values.items() if value != "none"}


def _order(metric: str) -> tuple[int, str, int]:
    """By name, then by cut-off as a number."""
    name, _, cutoff = metric.rpartition("@")
    return FIRST.index(name) if name in FIRST else len(FIRST), name, int(cutoff)


def _needed(rows: Sequence[Row], names: Sequence[str]) -> tuple[str, ...]:
    """The fewest names that tell all lines apart, the method among them."""
    lines = {row.line: row for row in rows}.values()
    several = len({row.labels for row in lines})
    for count in range(1, len(names) + 1):
        for some in combinations(names, count):
            if "method" in some and len({tuple(getattr(row, name) for name in some) for row in lines}) == several:
                return some
    return tuple(names)
