"""Metrics from counts: the expectation over a random order of the tied, and its best and worst case."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from llmemb_bench.base.errors import BenchError, one_line
from llmemb_bench.contracts import Metric

if TYPE_CHECKING:  # a report computes per-user values without torch
    from llmemb_bench.evaluation.ranking import Ranks


def gains(metric: Metric, cutoff: int) -> NDArray[np.float64]:
    """[cutoff] what ranks 1 .. cutoff are worth; a metric that raises, or gives anything but one finite number a rank,
    is a BenchError that names it."""
    try:
        found = np.asarray(metric.gain(np.arange(1, cutoff + 1)))
    except Exception as error:  # a plugin is foreign code: whatever it raises is one line
        raise _broken(metric, f"raises {one_line(error)}") from error
    if found.shape != (cutoff,):
        raise _broken(metric, f"gives an array of shape {found.shape} for {cutoff} ranks")
    if found.dtype.kind not in "buif":
        raise _broken(metric, f"gives values of type {found.dtype}, not numbers")
    worth: NDArray[np.float64] = found.astype(np.float64)
    if not np.isfinite(worth).all():
        rank = int(np.flatnonzero(~np.isfinite(worth))[0]) + 1
        raise _broken(metric, f"gives {worth[rank - 1]} for rank {rank}")
    return worth


def _broken(metric: Metric, finding: str) -> BenchError:
    name = type(metric).__module__.rpartition(".")[2]
    return BenchError(
        f"the metric '{name}' {finding}",
        where=inspect.getfile(type(metric)),
        fix=f"fix it, then: llmemb-bench test metrics/{name}; or take it out of the spec",
    )


def expected(metric: Metric, cutoff: int, ranks: Ranks) -> NDArray[np.float64]:
    """One value per user: the mean gain over the ranks n_greater + 1 .. n_greater + n_equal + 1.

    So a constant model has HR@k of exactly k / n_candidates.
    """
    return mean_gain(metric, cutoff, ranks.n_greater, ranks.n_equal)


def mean_gain(
    metric: Metric, cutoff: int, n_greater: NDArray[np.integer], n_equal: NDArray[np.integer]
) -> NDArray[np.float64]:
    """The same from the counts of items that score higher than the target, and as high."""
    summed = np.concatenate([[0.0], np.cumsum(gains(metric, cutoff))])
    first = np.minimum(n_greater, cutoff)
    last = np.minimum(n_greater + n_equal + 1, cutoff)
    mean: NDArray[np.float64] = (summed[last] - summed[first]) / (n_equal + 1)
    return mean


def tie_gap(metric: Metric, cutoff: int, ranks: Ranks) -> float:
    """Mean over users of best minus worst case: what the tie rule could move."""
    none = np.zeros_like(ranks.n_equal)
    best = mean_gain(metric, cutoff, ranks.n_greater, none)
    worst = mean_gain(metric, cutoff, ranks.n_greater + ranks.n_equal, none)
    return float((best - worst).mean()) if len(best) else 0.0
