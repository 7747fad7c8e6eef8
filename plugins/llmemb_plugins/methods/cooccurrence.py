"""Counting baseline: items that share users with the history, recent events weighing more."""

from __future__ import annotations

from typing import Annotated

import numpy as np
import torch
from jaxtyping import Float, Int
from pydantic import Field
from scipy import sparse
from torch import Tensor

from llmemb_bench.config import Config
from llmemb_bench.contracts import Method, Parts
from llmemb_bench.data.split import Split


class CooccurrenceConfig(Config):
    """Settings of `cooccurrence`."""

    decay: Annotated[float, Field(gt=0, le=1)] = 0.8
    """Weight of a history event relative to the one after it (ours: 0.8)."""
    window: Annotated[int, Field(ge=1)] = 20
    """Two training events of a user count as a pair when they are at most this many places apart; bounds the
    weight and the cost of very long histories (ours)."""


class Cooccurrence(Method):
    """Score of item j: sum over history events i of decay^age(i) * pairs(i, j), pairs counted in training.

    Ties, among them all items that were never paired with the history, go by popularity.
    """

    config: CooccurrenceConfig

    def __init__(self, config: CooccurrenceConfig, parts: Parts) -> None:
        super().__init__(config, parts)
        self.n_items = parts.n_items
        width = parts.n_items + 1
        self.pairs = sparse.csr_array((width, width), dtype=np.float64)
        self.tie_break = np.zeros(width)

    def fit_counts(self, split: Split) -> None:
        users, items = split.training_events()
        width = self.n_items + 1
        for apart in range(1, self.config.window + 1):
            same = users[:-apart] == users[apart:]
            earlier, later = items[:-apart][same], items[apart:][same]
            found = sparse.csr_array((np.ones(len(later)), (earlier, later)), shape=(width, width))
            self.pairs = self.pairs + found + found.T
        self.pairs.setdiag(0)
        # Small enough to decide between equal sums only.
        self.tie_break = split.popularity / (split.popularity.max() + 1) * 1e-6

    def states(self, histories: Int[Tensor, "batch len"]) -> Float[Tensor, "batch width"]:
        ids = histories.numpy()
        real = ids > 0
        age = real.sum(1, keepdims=True) - 1 - np.arange(ids.shape[1])
        weights = self.config.decay ** age[real]
        ends = np.concatenate([[0], np.cumsum(real.sum(1))])
        history = sparse.csr_array((weights, ids[real], ends), shape=(len(ids), self.n_items + 1))
        return torch.from_numpy((history @ self.pairs).toarray() + self.tie_break)

    def scores(self, states: Float[Tensor, "batch width"], items: slice) -> Float[Tensor, "batch block"]:
        return states[:, items]
