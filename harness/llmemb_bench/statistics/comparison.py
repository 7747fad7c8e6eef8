"""Two rows side by side, and many pairs at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from llmemb_bench.statistics.bootstrap import MANY, RESAMPLES, intervals, resampled
from llmemb_bench.statistics.moments import Array, Moments, Values, table
from llmemb_bench.statistics.randomisation import limit_p, randomisation_ps

ENOUGH = 5
"""Seeds from which on the spread between them is worth something."""


@dataclass(frozen=True)
class Interval:
    """A mean and the 95 % interval around it; NaN ends where one user is all there is."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Comparison:
    """One row minus another, over the users and seeds that both have."""

    difference: Interval
    p: float
    """Of the paired t-test over users and seeds, two-sided: would other users and other seeds agree?"""
    p_randomisation: float
    """Of the paired randomisation test over users, two-sided: would other users agree about these trained models?"""
    effect: float
    """Cohen's d_z: the mean difference by the standard deviation of the users' differences (means over seeds); NaN
    where all users differ alike."""
    detectable: float
    """Smallest difference that these users and seeds would find with 80 % power, two-sided at .05."""
    n_users: int
    n_seeds: int


def mean_over(values: Values, seed: int = 0, resamples: int = RESAMPLES) -> Interval:
    """The mean of values [seeds, users] over both, with the interval of the hierarchical bootstrap."""
    return means_of(table(values), seed, resamples)[0]


def compare(first: Values, second: Values, seed: int = 0, resamples: int = RESAMPLES) -> Comparison:
    """First minus second, both [seeds, users] with the same seeds and users in one order.

    A user for whom either has no value (NaN) under some seed is left out. Swapped sides give the same with the other
    sign, other orders of users the same. Raises ValueError where the shapes differ or no user is left.
    """
    if first.shape != second.shape:
        raise ValueError(f"values of {first.shape} cannot be paired with {second.shape} [seeds, users]")
    differences = table(first.astype(np.float64) - second)
    if not differences.shape[1]:
        raise ValueError("no user has values in both")
    return comparisons_of(differences, means_of(differences, seed, resamples), seed)[0]


def means_of(values: Values, seed: int = 0, resamples: int = RESAMPLES) -> list[Interval]:
    """Of each row of values [seeds, users, rows], none of them NaN."""
    if not 1 < values.shape[1] < MANY:
        return means_in(Moments.of(values))
    low, high = intervals(resampled(values, seed, resamples))
    return _intervals(Moments.of(values).rows().mean, low, high)


def means_in(moments: Moments) -> list[Interval]:
    """The same of MANY users: what the bootstrap comes to."""
    found = moments.rows()
    return _intervals(found.mean, found.mean - found.margin(), found.mean + found.margin())


def comparisons_of(differences: Values, intervals: list[Interval], seed: int = 0) -> list[Comparison]:
    """Of each row of differences [seeds, users, rows], none of them NaN, and their means."""
    if not intervals:
        return []
    if differences.shape[1] >= MANY:
        return comparisons_in(Moments.of(differences))
    users = differences.mean(axis=0, dtype=np.float64)
    return _comparisons(Moments.of(differences), intervals, randomisation_ps(users, seed).tolist())


def comparisons_in(moments: Moments) -> list[Comparison]:
    """The same of differences of MANY users."""
    by_users = [limit_p(total, squares) for total, squares in zip(
        moments.over_users.sum(axis=0), moments.of_users, strict=True
    )]  # fmt: skip
    return _comparisons(moments, means_in(moments), by_users)


def few_seeds(n_seeds: int) -> str:
    """The warning that belongs to a comparison over few seeds; empty where they suffice."""
    if n_seeds >= ENOUGH:
        return ""
    if n_seeds == 1:
        return "1 seed: intervals and tests are over users alone, and say nothing of another training"
    return f"{n_seeds} seeds, fewer than {ENOUGH}: how far one training is from another is hardly known"


def _comparisons(moments: Moments, intervals: list[Interval], by_users: list[float]) -> list[Comparison]:
    found, spread = moments.rows(), moments.users_spread
    effect = np.divide(found.mean, spread, out=np.full_like(spread, np.nan), where=spread > 0)
    columns = zip(intervals, found.p(), by_users, effect, found.detectable(), strict=True)
    return [
        Comparison(interval, float(p), float(by_user), float(size), float(least), moments.n_users, moments.n_seeds)
        for interval, p, by_user, size, least in columns
    ]


def _intervals(mean: Array, low: Array, high: Array) -> list[Interval]:
    return [Interval(*map(float, ends)) for ends in zip(mean, low, high, strict=True)]
