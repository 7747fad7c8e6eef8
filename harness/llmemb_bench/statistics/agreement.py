"""Whether two protocols, or two buckets, put the same rows in the same order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmemb_bench.statistics.bootstrap import intervals
from llmemb_bench.statistics.moments import Array


@dataclass(frozen=True)
class Agreement:
    """Of two orders of the same rows."""

    tau: float
    """Kendall's tau-b: 1 for one order, -1 for the opposite; NaN where one of them tells no rows apart."""
    low: float
    high: float
    """Of the 95 % bootstrap interval."""
    moved: tuple[tuple[str, int, int], ...]
    """Rows that change places: name, place in the first order and in the second (1 is best)."""


def agreement(names: Sequence[str], first: Array, second: Array, first_draws: Array, second_draws: Array) -> Agreement:
    """Of means [rows] in two settings, and of their resampled means [resamples, rows] (`bootstrap.resampled`).

    Where both settings have the same users, resample both at once (as rows of one table), so that a draw is of the
    same users in both.
    """
    drawn = kendall(first_draws, second_draws)
    told = drawn[np.isfinite(drawn)]
    low, high = intervals(told) if len(told) else (np.nan, np.nan)
    before, after = _places(first), _places(second)
    moved = [(name, int(old), int(new)) for name, old, new in zip(names, before, after, strict=True) if old != new]
    return Agreement(float(kendall(first[None], second[None])[0]), float(low), float(high), tuple(moved))


def kendall(first: Array, second: Array) -> Array:
    """[draws] Kendall's tau-b between rows [draws, rows] of two orders (Kendall, Biometrika 33, 1945)."""
    one, other = np.triu_indices(first.shape[1], 1)
    signs = [np.sign(means[:, one] - means[:, other]) for means in (first, second)]
    together = (signs[0] * signs[1]).sum(axis=1)
    told = np.sqrt(np.abs(signs[0]).sum(axis=1) * np.abs(signs[1]).sum(axis=1))
    tau: Array = np.divide(together, told, out=np.full(len(first), np.nan), where=told > 0)
    return tau


def _places(means: Array) -> NDArray[np.int64]:
    """1 + the number of rows that are better."""
    better: NDArray[np.int64] = (means[None, :] > means[:, None]).sum(axis=1)
    return 1 + better
