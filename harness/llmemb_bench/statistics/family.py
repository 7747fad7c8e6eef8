"""Many tests at once: Holm's adjustment, and places that admit ties."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from llmemb_bench.statistics.moments import Array

LEVEL = 0.05


def holm(p: Array) -> Array:
    """Adjusted p of a family of tests, in its order (Holm, Scandinavian Journal of Statistics 6, 1979).

    The i-th smallest of m is multiplied by m - i + 1, and is no smaller than one before it. NaN is no member.
    """
    adjusted = np.full(p.shape, np.nan)
    members = np.flatnonzero(np.isfinite(p))
    order = members[np.argsort(p[members], kind="stable")]
    steps = p[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0) if len(order) else steps
    return adjusted


def holm_of_pairs(p: Array) -> Array:
    """[rows, rows] adjusted p, where each pair of rows is one test."""
    upper = np.triu_indices(len(p), 1)
    adjusted = np.full(p.shape, np.nan)
    adjusted[upper] = holm(p[upper])
    adjusted.T[upper] = adjusted[upper]
    return adjusted


def places(means: Array, adjusted: Array, level: float = LEVEL) -> NDArray[np.int64]:
    """[2, rows] best and worst place that each row may claim.

    The best is 1 + the rows significantly better, the worst n - the rows significantly worse. `means` is [rows] or
    [rows, rows] differences (row minus column), `adjusted` [rows, rows]; NaN, a pair not compared, tells nothing.
    """
    differences = means[:, None] - means[None, :] if means.ndim == 1 else means
    surely = adjusted < level
    better = (surely & (differences < 0)).sum(axis=1)
    worse = (surely & (differences > 0)).sum(axis=1)
    return np.stack([1 + better, len(means) - worse])
