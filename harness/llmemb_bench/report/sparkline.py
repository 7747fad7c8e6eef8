"""A curve in one line of text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

LEVELS = "▁▂▃▄▅▆▇█"
WIDEST = 60


def sparkline(values: Sequence[float], width: int = WIDEST) -> str:
    """A character a value, of more than `width` one for the mean of several; what is not finite is a gap."""
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return ""
    count = min(width, len(values))
    edges = [index * len(values) // count for index in range(count + 1)]
    means = [_mean(values[start:end]) for start, end in pairwise(edges)]
    known = [mean for mean in means if not math.isnan(mean)]
    low, span = min(known, default=0.0), max(known, default=0.0) - min(known, default=0.0)
    return "".join(_level(mean, low, span) for mean in means)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if all(map(math.isfinite, values)) else math.nan


def _level(mean: float, low: float, span: float) -> str:
    if math.isnan(mean):
        return " "
    return LEVELS[round((mean - low) / span * (len(LEVELS) - 1)) if span else 0]
