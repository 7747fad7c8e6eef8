"""The paired randomisation test: were the two rows alike, each user's difference might as well have the other sign."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from llmemb_bench.statistics.bootstrap import BLOCK, MANY, in_one_order
from llmemb_bench.statistics.moments import Array

EXACT = 16
"""Users with a difference up to which all 2^users signs are tried."""
FLIPS = 9_999
"""Draws of signs otherwise, so that the least p is 1e-4."""
EQUAL = 1 - 1e-5
"""Sums that are equal but for rounding count as equal: they are made in single precision."""


def randomisation_p(differences: Array, seed: int = 0, flips: int = FLIPS) -> float:
    """Two-sided p of a mean of 0 when the signs of `differences` [users] are drawn again.

    A user is flipped as a whole, so `differences` are means over seeds, and the answer holds for other users and these
    trained models. Users without a difference say nothing. All signs are tried for EXACT users or fewer; else `flips`
    draws, and p is (1 + as extreme) / (1 + flips) (Phipson & Smyth 2010), which is never 0. From MANY users on the
    sum over random signs is taken as normal, of variance sum(differences^2).
    """
    return float(randomisation_ps(differences[:, None], seed, flips)[0])


def randomisation_ps(differences: Array, seed: int = 0, flips: int = FLIPS) -> Array:
    """[rows] the same of differences [users, rows]; all rows share the drawn signs, which cost more than the sums."""
    observed, sizes = np.abs(differences.sum(axis=0)), np.abs(differences)
    telling = (sizes > 0).sum(axis=0)
    p = np.array([limit_p(total, squares) for total, squares in zip(observed, (sizes**2).sum(axis=0), strict=True)])
    for row in np.flatnonzero((telling > 0) & (telling <= EXACT)):
        p[row] = _exact_p(sizes[:, row], float(observed[row]))
    drawn = np.flatnonzero((telling > EXACT) & (telling < MANY))
    if len(drawn):
        p[drawn] = (1 + _as_extreme(sizes[:, drawn], observed[drawn], seed, flips)) / (1 + flips)
    return p


def limit_p(total: float, squares: float) -> float:
    """The same from the sum of differences and of their squares, where there are many."""
    return float(2 * stats.norm.sf(abs(total) / np.sqrt(squares))) if squares > 0 else 1.0


def _exact_p(sizes: Array, observed: float) -> float:
    some = sizes[sizes > 0]
    minus = (np.arange(1 << len(some))[:, None] >> np.arange(len(some))) & 1
    sums = (1.0 - 2.0 * minus.astype(np.float64)) @ some
    return float((np.abs(sums) >= observed * EQUAL).mean())


def _as_extreme(sizes: Array, observed: Array, seed: int, flips: int) -> NDArray[np.int64]:
    """[rows] how many of the drawn sums are at least as large as what was observed."""
    some = in_one_order(sizes[(sizes > 0).any(axis=1)].astype(np.float32))
    total, generator = some.sum(axis=0, dtype=np.float64), np.random.default_rng(seed)
    height, width = max(1, BLOCK // len(some)), -(-len(some) // 8)
    extreme = np.zeros(len(observed), dtype=np.int64)
    for start in range(0, flips, height):
        count = min(height, flips - start)
        bits = np.frombuffer(generator.bytes(count * width), dtype=np.uint8).reshape(count, width)
        plus = np.unpackbits(bits, axis=1, count=len(some)).astype(np.float32) @ some
        extreme += (np.abs(2.0 * plus.astype(np.float64) - total) >= observed * EQUAL).sum(axis=0)
    return extreme
