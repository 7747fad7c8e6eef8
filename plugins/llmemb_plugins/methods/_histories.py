"""Methods that count: a history becomes a sparse row of weights, and a state is the scores of the whole catalogue."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float, Float64, Int, Int64
from scipy import sparse
from torch import Tensor

from llmemb_bench.contracts import Method, Parts
from llmemb_bench.registry.config import Config
from llmemb_bench.values.split import Split

Weight = Callable[[Int64[np.ndarray, "events"]], Float64[np.ndarray, "events"]]
"""Weights of events by their age, 0 for the latest."""


def weighted(ids: Int64[np.ndarray, "batch len"], n_items: int, weight: Weight) -> sparse.csr_array:
    """[batch, items + 1] of histories of item ids, PAD behind them: the weight of each event; an item that stands there
    twice has two."""
    real = ids > 0
    age = real.sum(1, keepdims=True) - 1 - np.arange(ids.shape[1])
    ends = np.concatenate([[0], np.cumsum(real.sum(1))])
    return sparse.csr_array((weight(age[real]), ids[real], ends), shape=(len(ids), n_items + 1))


def exponential(decay: float) -> Weight:
    """decay^age"""
    return lambda age: decay**age


def bought(split: Split) -> sparse.csr_array:
    """[users, items + 1] ones where a user has a training event with an item, however many."""
    users, items = split.training_events()
    found = sparse.csr_array((np.ones(len(items)), (users, items)), shape=(split.data.n_users, split.data.n_items + 1))
    found.data[:] = 1  # repeated events are summed above
    return found


SCORES_A_PART = 1 << 24
"""Scores in float64 that are made together: what a method computes on the way takes a few times their 128 MB."""


class ByHistory(Method):
    """A method whose state is one score an item id, so that a block of items is a block of columns."""

    def __init__(self, config: Config, parts: Parts) -> None:
        super().__init__(config, parts)
        self.n_items = parts.n_items

    @abstractmethod
    def catalogue_scores(self, ids: Int64[np.ndarray, "batch len"]) -> Float[np.ndarray, "batch ids"]:
        """Scores of item ids 0 to n_items after histories of item ids, PAD behind them; that of id 0 is never read."""

    def states(self, histories: Int[Tensor, "batch len"]) -> Float[Tensor, "batch width"]:
        ids, width = histories.numpy(), self.n_items + 1
        states, rows = np.empty((len(ids), width), dtype=np.float32), max(1, SCORES_A_PART // width)
        for start in range(0, len(ids), rows):
            part = slice(start, start + rows)
            states[part] = self.catalogue_scores(ids[part])
        return torch.from_numpy(states)

    def scores(self, states: Float[Tensor, "batch width"], items: slice) -> Float[Tensor, "batch block"]:
        return states[:, items]
