"""Which histories a step takes: the plan of an epoch.

However an epoch is cut, a target weighs 1 / (mean targets a step), so that the expected gradient of an epoch is the
mean over all targets, whatever the length of their history; a mean over each batch's own targets would weigh a target
of a long history less, and in batches of similar length many times less.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Plan = Literal["random", "similar", "targets"]
Entries = NDArray[np.int64]
BATCHES_A_POOL = 50
"""Entries are sorted by length within a shuffled pool of this many batches: random, and little padding."""


def plan_epoch(plan: Plan, targets: NDArray[np.float64], batch_size: int, rng: np.random.Generator) -> list[Entries]:
    """Every entry once, in batches; `targets` [entries] expected predictions of each."""
    shuffled = rng.permutation(len(targets))
    if plan == "random":
        return _cut(shuffled, batch_size)
    pools = [_by_targets(pool, targets) for pool in _cut(shuffled, batch_size * BATCHES_A_POOL)]
    cut = _cut if plan == "similar" else lambda pool, size: _cut_evenly(pool, targets, size)
    batches = [batch for pool in pools for batch in cut(pool, batch_size)]
    return [batches[place] for place in rng.permutation(len(batches))]


def _cut(entries: Entries, size: int) -> list[Entries]:
    return [entries[start : start + size] for start in range(0, len(entries), size)]


def _by_targets(pool: Entries, targets: NDArray[np.float64]) -> Entries:
    return pool[np.argsort(targets[pool], kind="stable")]


def _cut_evenly(pool: Entries, targets: NDArray[np.float64], size: int) -> list[Entries]:
    """As many batches as of `size` entries, each of about as many targets."""
    n_batches = -(-len(pool) // size)
    running = np.cumsum(targets[pool])
    edges = np.searchsorted(running, running[-1] * np.arange(1, n_batches) / n_batches)
    return [batch for batch in np.split(pool, edges) if len(batch)]
