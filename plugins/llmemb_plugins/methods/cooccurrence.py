"""Counting baseline: items that share users with the history, recent events weighing more."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated

import numpy as np
from jaxtyping import Float32, Float64, Int64
from pydantic import Field
from scipy import sparse

from llmemb_bench.contracts import Parts
from llmemb_bench.registry.config import Config
from llmemb_bench.values.split import Split
from llmemb_plugins.methods._histories import ByHistory, exponential, weighted
from llmemb_plugins.methods._order import rising

LEAST = 2.0**-968
"""A sum below this (an event 2,900 events back, at a decay of 0.8) counts as none."""
SMALLEST = np.finfo(np.float32).tiny
"""The score of an item of no sum and no event; more popular ones stand a smallest step higher each."""

ROUNDING = 16
"""Sums that are so many of float64's smallest steps apart are equal: 5 * 0.8**2 and 4 * 0.8 are one apart."""


class CooccurrenceConfig(Config):
    """Settings of `cooccurrence`."""

    decay: Annotated[float, Field(gt=0, le=1)] = 0.8
    """Weight of a history event relative to the one after it (ours: 0.8)."""
    window: Annotated[int, Field(ge=1)] = 20
    """Two training events of a user count as a pair when they are at most this many positions apart; bounds the
    weight and the cost of very long histories (ours)."""


class Cooccurrence(ByHistory):
    """Score of item j: sum over history events i of decay^age(i) * pairs(i, j), pairs counted in training.

    Ties, among them all items that were never paired with the history, go by popularity. Sums are taken and compared in
    float64; a score is the float32 next to its sum, moved up by as many of float32's smallest steps as keep the order
    of (sum, popularity) exact. So a rank is that of the two keys, whatever a float32 can tell apart.
    """

    config: CooccurrenceConfig

    def __init__(self, config: CooccurrenceConfig, parts: Parts) -> None:
        super().__init__(config, parts)
        width = parts.n_items + 1
        self.pairs = sparse.csr_array((width, width), dtype=np.float64)
        self.least = np.float32(SMALLEST)
        self.popularity = np.zeros(width, dtype=np.int64)
        self.of_none = np.zeros(width, dtype=np.float32)

    def fit_counts(self, split: Split) -> None:
        users, items = split.training_events()
        width = self.n_items + 1
        for apart in range(1, self.config.window + 1):
            same = users[:-apart] == users[apart:]
            if not same.any():
                break  # no user has so many events
            earlier, later = items[:-apart][same], items[apart:][same]
            found = sparse.csr_array((np.ones(len(later)), (earlier, later)), shape=(width, width))
            self.pairs = self.pairs + found + found.T
        self.pairs.setdiag(0)
        counts, self.popularity = np.unique(split.popularity, return_inverse=True)
        lowest = np.full(len(counts) + 1, SMALLEST, dtype=np.float32)
        *ladder, self.least = rising(lowest, np.arange(len(lowest)))
        self.of_none = np.array(ladder, dtype=np.float32)[self.popularity]

    def catalogue_scores(self, ids: Int64[np.ndarray, "batch len"]) -> Float32[np.ndarray, "batch ids"]:
        history = weighted(ids, self.n_items, exponential(self.config.decay))
        sums = sparse.csr_array(history @ self.pairs)
        scores = np.tile(self.of_none, (len(ids), 1))
        for row, (start, end) in enumerate(pairwise(sums.indptr)):
            items, values = sums.indices[start:end], sums.data[start:end]
            is_sum = values >= LEAST
            items, values = items[is_sum], values[is_sum]
            scores[row, items] = _in_two_keys(values, self.popularity[items], self.least)
        return scores


def _in_two_keys(
    values: Float64[np.ndarray, "n"], then: Int64[np.ndarray, "n"], least: np.float32
) -> Float32[np.ndarray, "n"]:
    """Positive values as float32, at `least` so large, in the order of (value, then)."""
    order = np.argsort(values)
    steps = values[order].view(np.int64)  # positive floats are ordered as their bits are
    is_new = np.diff(steps, prepend=-ROUNDING - 1) > ROUNDING
    level = np.cumsum(is_new) - 1
    of_level = values[order][is_new].astype(np.float32)[level]
    order = order[np.lexsort((then[order], level))]
    differs = (np.diff(level, prepend=0) != 0) | (np.diff(then[order], prepend=-1) != 0)
    moved = np.empty(len(values), dtype=np.float32)
    moved[order] = rising(np.maximum(of_level, least), np.cumsum(differs))
    return moved
