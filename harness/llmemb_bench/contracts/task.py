"""What a model is trained to predict, and what a history becomes when it is ranked.

Axes: `group` histories of one length, `len` positions, `batch` histories.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Bool, Float64, Int, Int64
from torch import Tensor
from torch.nn import functional

from llmemb_bench.base.ids import PAD, mask_id


@dataclass(frozen=True)
class Reading:
    """A group of training histories, as item ids of the catalogue."""

    inputs: Int64[np.ndarray, "group len"]
    """What is read: items, PAD after them, `mask_id(n_items)` for the mask."""
    targets: Int64[np.ndarray, "group len"]
    """The item to predict at each position."""
    predicted: Bool[np.ndarray, "group len"]
    """At which positions it is predicted; somewhere in every history."""


class Task(ABC):
    """What is read of a history and what is predicted where."""

    is_causal: ClassVar[bool] = True
    """Whether the state at a position may depend on no later one."""
    copies: ClassVar[int] = 1
    """How often an epoch takes each history."""

    @abstractmethod
    def training_length(self, max_len: int) -> int:
        """Latest training events of a history that a batch takes, for a model that reads `max_len` positions."""

    @abstractmethod
    def ranking_length(self, max_len: int) -> int:
        """Latest events of a history that a ranking takes, for such a model."""

    @abstractmethod
    def expected_targets(self, lengths: Float64[np.ndarray, "histories"]) -> Float64[np.ndarray, "copies histories"]:
        """Predictions expected of each copy of histories of so many events each."""

    @abstractmethod
    def read(
        self,
        histories: Int64[np.ndarray, "group _"],
        copies: Int64[np.ndarray, "group"],
        n_items: int,
        rng: np.random.Generator,
    ) -> Reading:
        """Training histories, each of them copy 0, 1, ... of itself; whatever is drawn is drawn from `rng`."""

    @abstractmethod
    def ranking_inputs(
        self, histories: Int[Tensor, "batch len"], mask: int
    ) -> tuple[Int[Tensor, "batch _"], Int[Tensor, "batch"]]:
        """Histories (items first, then PAD) as they are read to be asked for the next item, and at which position that
        is; `mask` is the id of the mask. Leaves `histories` as they are."""


@dataclass(frozen=True)
class NextItem(Task):
    """Position t predicts event t + 1."""

    only_last: bool = False
    """Whether the last training event is predicted only, instead of one at every position."""

    def training_length(self, max_len: int) -> int:
        return max_len + 1  # the last one is only a target

    def ranking_length(self, max_len: int) -> int:
        return max_len

    def expected_targets(self, lengths: Float64[np.ndarray, "histories"]) -> Float64[np.ndarray, "copies histories"]:
        return np.ones((1, len(lengths))) if self.only_last else lengths[None] - 1

    def read(
        self,
        histories: Int64[np.ndarray, "group _"],
        copies: Int64[np.ndarray, "group"],
        n_items: int,
        rng: np.random.Generator,
    ) -> Reading:
        targets = histories[:, 1:]
        follows = targets != PAD
        predicted = _last(histories)[:, 1:] if self.only_last else follows
        return Reading(histories[:, :-1] * follows, targets, predicted)

    def ranking_inputs(
        self, histories: Int[Tensor, "batch len"], mask: int
    ) -> tuple[Int[Tensor, "batch _"], Int[Tensor, "batch"]]:
        return histories, (histories != PAD).sum(1) - 1


@dataclass(frozen=True)
class Cloze(Task):
    """Hidden items are predicted from both sides: once at random positions, once the last one of each history."""

    hidden: float
    """Share of a history that is hidden at random; the last one where that would hide none."""
    random: float = 0.0
    """Share of the positions hidden at random that show a random item instead of the mask."""
    own: float = 0.0
    """Share of them that show the hidden item itself."""
    is_causal = False
    copies = 2

    def training_length(self, max_len: int) -> int:
        return max_len

    def ranking_length(self, max_len: int) -> int:
        return max_len - 1  # and the mask that asks for the next item

    def expected_targets(self, lengths: Float64[np.ndarray, "histories"]) -> Float64[np.ndarray, "copies histories"]:
        return np.stack([self.hidden * lengths + (1 - self.hidden) ** lengths, np.ones(len(lengths))])

    def read(
        self,
        histories: Int64[np.ndarray, "group _"],
        copies: Int64[np.ndarray, "group"],
        n_items: int,
        rng: np.random.Generator,
    ) -> Reading:
        hidden = (rng.random(histories.shape) < self.hidden) & (histories != PAD)
        at_random = copies == 0
        predicted = np.where((hidden.any(1) & at_random)[:, None], hidden, _last(histories))
        return Reading(self._disguised(histories, predicted, at_random, n_items, rng), histories, predicted)

    def _disguised(
        self,
        histories: Int64[np.ndarray, "group len"],
        hidden: Bool[np.ndarray, "group len"],
        at_random: Bool[np.ndarray, "group"],
        n_items: int,
        rng: np.random.Generator,
    ) -> Int64[np.ndarray, "group len"]:
        """What is read at hidden positions: the mask, and in the histories hidden `at_random` sometimes an item."""
        masked = np.where(hidden, mask_id(n_items), histories)
        if self.random + self.own == 0:
            return masked
        draw = np.where(hidden & at_random[:, None], rng.random(histories.shape), 1.0)
        masked[draw < self.random] = rng.integers(1, n_items + 1, size=int((draw < self.random).sum()))
        shows_own = (draw >= self.random) & (draw < self.random + self.own)
        return np.where(shows_own, histories, masked)

    def ranking_inputs(
        self, histories: Int[Tensor, "batch len"], mask: int
    ) -> tuple[Int[Tensor, "batch _"], Int[Tensor, "batch"]]:
        inputs, last = functional.pad(histories, (0, 1), value=PAD), (histories != PAD).sum(1)
        inputs[torch.arange(len(inputs), device=inputs.device), last] = mask  # after the last item
        return inputs, last


def _last(histories: Int64[np.ndarray, "group len"]) -> Bool[np.ndarray, "group len"]:
    """Position of the last event of each history."""
    last: Bool[np.ndarray, "group len"] = np.arange(histories.shape[1]) == (histories != PAD).sum(1)[:, None] - 1
    return last
