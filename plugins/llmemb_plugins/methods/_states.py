"""States of many histories at once, beside a training batch: of all users, of similar ones, of contexts of items."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from llmemb_bench.contracts import Histories, VectorMethod
from llmemb_bench.values.padding import pad_right
from llmemb_bench.values.split import Split

POSITIONS = 1 << 12
"""Positions, with padding, whose activations are in memory at once: so few that they stay in the cache (measured)."""


@dataclass(frozen=True)
class Slices:
    """Histories as stretches `items[start : start + length]` of a flat array of item ids, none of them empty."""

    items: NDArray[np.integer[Any]]
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]

    @classmethod
    def of_users(cls, split: Split, users: NDArray[np.int64], longest: int) -> Slices:
        """The latest training events of some users, at most so many of each."""
        lengths = np.minimum(split.n_train[users], longest)
        return cls(split.data.items, split.data.offsets[users] + split.n_train[users] - lengths, lengths)

    def of(self, rows: NDArray[np.int64]) -> Slices:
        """Some of them."""
        return Slices(self.items, self.starts[rows], self.lengths[rows])

    def padded(self) -> NDArray[np.int64]:
        """[histories, longest], PAD behind them."""
        return pad_right(self.items, self.starts, self.lengths)

    def by_length(self) -> Iterator[NDArray[np.int64]]:
        """Rows of histories of similar length, the shortest first, in blocks of at most so many positions (one history
        at the least)."""
        order, start = np.argsort(self.lengths, kind="stable"), 0
        while start < len(order):
            ahead = self.lengths[order[start : start + POSITIONS]]
            fits = np.searchsorted(ahead * np.arange(1, len(ahead) + 1), POSITIONS, side="right")
            yield order[start : start + max(int(fits), 1)]
            start += max(int(fits), 1)


@torch.no_grad()
def end_states(method: VectorMethod, histories: Slices) -> Float[Tensor, "histories width"]:
    """The method's states at the end of each history, without dropout and without gradient. Memory grows with the
    histories by a state each, and with the items in them by a vector each."""
    blocks = [(rows, histories.of(rows).padded()) for rows in histories.by_length()]
    present = np.zeros(method.n_items + 1, dtype=bool)
    for _, ids in blocks:
        present[ids] = True
    present[0] = False
    row_of = np.cumsum(present) * present  # r + 1 for row r of the vectors
    with evaluating(method):
        vectors = method.items(torch.from_numpy(np.flatnonzero(present)).to(method.device))
        states = vectors.new_empty(len(histories.lengths), method.width)
        for rows, ids in blocks:
            group = torch.from_numpy(row_of[ids]).to(method.device)
            order = torch.arange(len(rows), device=method.device)
            states[torch.from_numpy(rows).to(method.device)] = method.last_states(Histories((group,), order), vectors)
    return states


@contextmanager
def evaluating(method: VectorMethod) -> Iterator[None]:
    """Without dropout inside."""
    training = method.training
    method.eval()
    try:
        yield
    finally:
        method.train(training)
