"""Counting baseline: items that share users with the history, recent events weighing more."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated

import numpy as np
import torch
from jaxtyping import Float, Float64, Int
from pydantic import Field
from scipy import sparse
from torch import Tensor

from llmemb_bench.config import Config
from llmemb_bench.contracts import Method, Parts
from llmemb_bench.data.split import Split

LEAST = 2.0**-968
"""A sum below this (an event 2,900 events back, at a decay of 0.8) counts as none."""
AMONG_NONE = 2.0**-1000
"""What an event weighs among items of no sum: 2^32 of them stay below LEAST."""

ROUNDING = 16
"""Sums that are so many of float64's smallest steps apart are equal: 5 * 0.8**2 and 4 * 0.8 are one apart."""


class CooccurrenceConfig(Config):
    """Settings of `cooccurrence`."""

    decay: Annotated[float, Field(gt=0, le=1)] = 0.8
    """Weight of a history event relative to the one after it (ours: 0.8)."""
    window: Annotated[int, Field(ge=1)] = 20
    """Two training events of a user count as a pair when they are at most this many places apart; bounds the
    weight and the cost of very long histories (ours)."""


class Cooccurrence(Method):
    """Score of item j: sum over history events i of decay^age(i) * pairs(i, j), pairs counted in training.

    Ties, among them all items that were never paired with the history, go by popularity. Two keys in one float64: a
    score is moved by as many of the smallest steps as keep the order of (sum, popularity) exact, so by 1e-12 at most.
    """

    config: CooccurrenceConfig

    def __init__(self, config: CooccurrenceConfig, parts: Parts) -> None:
        super().__init__(config, parts)
        self.n_items = parts.n_items
        width = parts.n_items + 1
        self.pairs = sparse.csr_array((width, width), dtype=np.float64)
        self.popularity = np.zeros(width)

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
        self.popularity = split.popularity.astype(np.float64)

    def states(self, histories: Int[Tensor, "batch len"]) -> Float[Tensor, "batch width"]:
        ids = histories.numpy()
        real = ids > 0
        age = real.sum(1, keepdims=True) - 1 - np.arange(ids.shape[1])
        weights = self.config.decay ** age[real]
        ends = np.concatenate([[0], np.cumsum(real.sum(1))])
        history = sparse.csr_array((weights, ids[real], ends), shape=(len(ids), self.n_items + 1))
        sums = sparse.csr_array(history @ self.pairs)
        scores = np.tile(self.popularity * AMONG_NONE, (len(ids), 1))
        for row, (start, end) in enumerate(pairwise(sums.indptr)):
            items, values = sums.indices[start:end], sums.data[start:end]
            is_sum = values >= LEAST
            items, values = items[is_sum], values[is_sum]
            scores[row, items] = _in_two_keys(values, self.popularity[items])
        return torch.from_numpy(scores)

    def scores(self, states: Float[Tensor, "batch width"], items: slice) -> Float[Tensor, "batch block"]:
        return states[:, items]


def _in_two_keys(values: Float64[np.ndarray, "n"], then: Float64[np.ndarray, "n"]) -> Float64[np.ndarray, "n"]:
    """Positive values, moved by as few of float64's smallest steps as make their order that of (value, then)."""
    order = np.argsort(values)
    steps = values[order].view(np.int64)  # positive floats are ordered as their bits are
    is_new = np.diff(steps, prepend=-ROUNDING - 1) > ROUNDING
    level = np.cumsum(is_new) - 1
    steps = steps[is_new][level]
    order = order[np.lexsort((then[order], level))]
    differs = (np.diff(level, prepend=0) != 0) | (np.diff(then[order], prepend=-1.0) != 0)
    place = np.cumsum(differs)
    moved = np.empty_like(values)
    moved[order] = (place + np.maximum.accumulate(steps - place)).view(np.float64)
    return moved
