"""The paired randomisation test: were the two rows alike, each user's difference might as well have the other sign."""

from __future__ import annotations

import numpy as np
from scipy import stats

from llmemb_bench.statistics.bootstrap import BLOCK, MANY
from llmemb_bench.statistics.moments import Array

EXACT = 16
"""Users with a difference up to which all 2^users signs are tried."""
FLIPS = 9_999
"""Draws of signs otherwise, so that the least p is 1e-4."""
EQUAL = 1 - 1e-9
"""Sums that are equal but for rounding count as equal."""


def randomisation_p(differences: Array, seed: int = 0, flips: int = FLIPS) -> float:
    """Two-sided p of a mean of 0 when the signs of `differences` [users] are drawn again.

    A user is flipped as a whole, so `differences` are means over seeds, and the answer holds for other users and these
    trained models. Users without a difference say nothing. All signs are tried for EXACT users or fewer; else `flips`
    draws, and p is (1 + as extreme) / (1 + flips) (Phipson & Smyth 2010), which is never 0. From MANY users on the
    sum over random signs is taken as normal, of variance sum(differences^2).
    """
    sizes = np.sort(np.abs(differences[differences != 0]))
    observed = abs(float(differences.sum()))
    if not len(sizes):
        return 1.0
    if len(sizes) <= EXACT:
        return float((np.abs(_all_signs(len(sizes)) @ sizes) >= observed * EQUAL).mean())
    if len(sizes) >= MANY:
        return limit_p(observed, float(sizes @ sizes))
    extreme = 0
    generator, height = np.random.default_rng(seed), max(1, BLOCK // len(sizes))
    for start in range(0, flips, height):
        count = min(height, flips - start)
        extreme += int((np.abs(_signed_sums(sizes, generator, count)) >= observed * EQUAL).sum())
    return (1 + extreme) / (1 + flips)


def limit_p(total: float, squares: float) -> float:
    """The same from the sum of differences and of their squares, where there are many."""
    return float(2 * stats.norm.sf(abs(total) / np.sqrt(squares))) if squares > 0 else 1.0


def _all_signs(n: int) -> Array:
    """[2^n, n] of -1 and 1."""
    minus = (np.arange(1 << n)[:, None] >> np.arange(n)) & 1
    return 1.0 - 2.0 * minus.astype(np.float64)


def _signed_sums(sizes: Array, generator: np.random.Generator, count: int) -> Array:
    """[count] sums of the sizes under random signs, a bit each."""
    width = -(-len(sizes) // 8)
    drawn = np.frombuffer(generator.bytes(count * width), dtype=np.uint8).reshape(count, width)
    plus = np.unpackbits(drawn, axis=1, count=len(sizes)).astype(np.float32) @ sizes.astype(np.float32)
    summed: Array = 2.0 * plus.astype(np.float64) - sizes.sum()
    return summed
