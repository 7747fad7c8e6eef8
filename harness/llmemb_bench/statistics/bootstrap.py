"""Intervals of means by a hierarchical bootstrap: seeds are drawn again, then users.

The same users stand under every seed, so one draw of users serves all seeds: a draw of its own for each would take five
runs of one model for five times as many users. A resampled mean is the mean, what the drawn seeds add to it and what
the drawn users add to it (the pigeonhole bootstrap, Owen, Annals of Applied Statistics 1, 2007, without the product of
the two, which counts the noise of single values twice more).

A bootstrap of a handful of seeds is too narrow: by sqrt((S - 1) / S) and by the difference between Student's t and a
normal distribution (Hesterberg, The American Statistician 69, 2015, section 5.2). So the draws, whose shape is the
bootstrap's, are stretched to the standard error and the degrees of freedom of `moments.py`.

What it costs: all rows share the weights of the drawn users, so that the resampled means of every row are one matrix
product [resamples, users] x [users, rows], a block of resamples at a time. From MANY users on no users are drawn: the
resampled mean is then normal but for skewness / (6 sqrt(users)) of a standard deviation, and the t-interval is its
limit.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from llmemb_bench.statistics.moments import Array, Estimate, Moments, Values, table

RESAMPLES = 2000
MANY = 50_000
"""Users from which on the distribution of a resampled mean is taken as its limit."""
FEW = 1000
"""Users up to which they are drawn one by one; above, each has a Poisson number of copies, which is the same but for
the number of all copies, by which a mean is divided anyway."""
BLOCK = 1 << 21
"""Weights that are held at a time."""
WORDS = 1 << 16


def resampled(values: Values, seed: int = 0, resamples: int = RESAMPLES) -> Array:
    """[resamples, rows] means over users and seeds as other users and seeds might have given them.

    `values` is [seeds, users, rows] with at least two users, fewer than MANY. Neither the order of users nor the sign
    of a row changes the draws.
    """
    whole = table(values)
    found = Moments.of(whole).rows()
    if np.isnan(found.error).any():
        raise ValueError("one user cannot be resampled")
    generator = np.random.default_rng(seed)
    of_seeds = whole.mean(axis=1, dtype=np.float64)
    users = whole.mean(axis=0, dtype=np.float64)
    draws = _users_drawn(users - found.mean, generator, resamples) + found.mean
    n_seeds = len(whole)
    if n_seeds > 1:
        weights = generator.multinomial(n_seeds, np.full(n_seeds, 1 / n_seeds), size=resamples) / n_seeds
        draws += (weights @ (of_seeds - found.mean)) * np.sqrt(n_seeds / (n_seeds - 1))
    return _stretched(draws, found, of_seeds, users)


def intervals(draws: Array, level: float = 0.95) -> Array:
    """[2, rows] lower and upper ends that hold the middle of the draws."""
    found: Array = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return found


def _stretched(draws: Array, found: Estimate, of_seeds: Array, users: Array) -> Array:
    """The draws around their mean, as wide as the standard error and the degrees of freedom say."""
    n_seeds, n = len(of_seeds), len(users)
    drawn = users.var(axis=0) / n + (of_seeds.var(axis=0, ddof=1) / n_seeds if n_seeds > 1 else 0.0)
    wide = stats.t.ppf(0.975, found.freedom) / stats.norm.ppf(0.975)
    factor = np.divide(wide * found.error, np.sqrt(drawn), out=np.zeros_like(drawn), where=drawn > 0)
    stretched: Array = found.mean + (draws - found.mean) * factor
    return stretched


def _users_drawn(centred: Array, generator: np.random.Generator, resamples: int) -> Array:
    """[resamples, rows] means over drawn users of values [users, rows] around 0."""
    sign = np.where(_leans_down(centred), -1.0, 1.0)
    ordered = in_one_order((centred * sign).astype(np.float32))
    parts = [weights @ ordered / weights.sum(axis=1, keepdims=True) for weights in _weights(
        len(ordered), generator, resamples
    )]  # fmt: skip
    drawn: Array = np.concatenate(parts).astype(np.float64) * sign
    return drawn


def _leans_down(centred: Array) -> NDArray[np.bool_]:
    """Whether a row's largest deviation is a negative one: turned round it is drawn like its mirror image."""
    return np.asarray(-centred.min(axis=0) > centred.max(axis=0))


def in_one_order(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """The same users in an order that depends on their values alone."""
    rows = np.ascontiguousarray(rows) + np.float32(0)  # no -0.0, which equals 0.0 and has other bytes
    if rows.shape[1] == 1:
        return np.sort(rows, axis=0)
    as_bytes = rows.view(np.dtype((np.void, rows.itemsize * rows.shape[1]))).ravel()
    return rows[np.argsort(as_bytes, kind="stable")]


def _weights(n: int, generator: np.random.Generator, resamples: int) -> Iterator[NDArray[np.float32]]:
    """Blocks [some resamples, users] of how often each user is drawn."""
    height = max(1, BLOCK // n)
    for start in range(0, resamples, height):
        count = min(height, resamples - start)
        if n <= FEW:
            drawn = generator.integers(0, n, size=(count, n)) + np.arange(count)[:, None] * n
            yield np.bincount(drawn.ravel(), minlength=count * n).reshape(count, n).astype(np.float32)
        else:
            words = generator.integers(0, WORDS, size=count * n, dtype=np.uint16)
            yield np.take(_COPIES, words).reshape(count, n)


_COPIES = stats.poisson.ppf((np.arange(WORDS) + 0.5) / WORDS, 1.0).astype(np.float32)
"""A Poisson number of mean 1 for each random word of 16 bits."""
