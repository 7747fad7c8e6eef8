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


def layouts(rows: Sequence[Row]) -> Iterator[Layout]:
    """From the widest to the narrowest: all in one table; one a metric; one a metric and cut-off; without names that
    tell no lines apart; without head; names over several lines."""
    searched = any(row.n_settings > 1 for row in rows)
    every = NAMES if len({row.experiment for row in rows}) > 1 else NAMES[1:]
    metrics = sorted({row.metric for row in rows}, key=_order)
    families = tuple(tuple(group) for _, group in groupby(metrics, key=lambda metric: metric.rpartition("@")[0]))
    single = tuple((metric,) for metric in metrics)
    parts = dict.fromkeys([(tuple(metrics),), families, single])
    needed = _needed(rows, every)
    for names, validation in ((every, searched), (needed, False)):
        for part in parts:
            yield Layout(names, validation, part, SHOWN_BUCKETS)
    for buckets in (("overall", "tail"), ("overall",)):
        yield Layout(needed, False, single, buckets)
        yield Layout(needed, False, single, buckets, folded=True)


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
