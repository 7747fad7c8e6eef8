"""Metrics from counts: the expectation over a random order of the tied, and its best and worst case."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from llmemb_bench.contracts import Metric
from llmemb_bench.evaluation.ranking import Ranks


def expected(metric: Metric, cutoff: int, ranks: Ranks) -> NDArray[np.float64]:
    """One value a user: the mean gain over the ranks n_greater + 1 .. n_greater + n_equal + 1.

    So a constant model has HR@k of exactly k / n_candidates.
    """
    summed = np.concatenate([[0.0], np.cumsum(metric.gain(np.arange(1, cutoff + 1)))])
    first = np.minimum(ranks.n_greater, cutoff)
    last = np.minimum(ranks.n_greater + ranks.n_equal + 1, cutoff)
    mean: NDArray[np.float64] = (summed[last] - summed[first]) / (ranks.n_equal + 1)
    return mean


def tie_gap(metric: Metric, cutoff: int, ranks: Ranks) -> float:
    """Mean over users of best minus worst case: what the tie rule could move."""
    none = np.zeros_like(ranks.n_equal)
    best = expected(metric, cutoff, Ranks(ranks.n_greater, none, ranks.n_candidates))
    worst = expected(metric, cutoff, Ranks(ranks.n_greater + ranks.n_equal, none, ranks.n_candidates))
    return float((best - worst).mean()) if len(best) else 0.0
