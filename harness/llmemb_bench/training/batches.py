"""Training batches: shuffled, of similar length, each catalogue item once.

An epoch is prepared in whole arrays; a batch is trimmed to its longest history, because in short histories
padded to a fixed length nearly all arithmetic is spent on padding.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from llmemb_bench.contracts import Backbone, Batch, Objective
from llmemb_bench.data.padding import SeenItems, pad_right
from llmemb_bench.data.split import Split
from llmemb_bench.errors import DataError
from llmemb_bench.ids import PAD, mask_id

BATCHES_A_POOL = 50
"""Histories are sorted by length within a shuffled pool of this many batches: random, and little padding."""
TRIES = 200


class TrainingBatches:
    """The training histories of a split, as batches for one backbone's task and one objective."""

    def __init__(self, split: Split, backbone: Backbone, objective: Objective, batch_size: int) -> None:
        self.split, self.batch_size = split, batch_size
        self.task: Literal["next_item", "cloze"] = backbone.task
        self.hidden = backbone.hidden_share()
        self.n_negatives, self.whole_catalogue = objective.n_negatives, objective.whole_catalogue
        self.n_items = split.data.n_items
        # A next-item history holds one more event than the model reads: its last one is only a target.
        longest = backbone.config.max_len + (self.task == "next_item")
        self.lengths = np.minimum(split.n_train, longest)
        self.starts = split.data.offsets[:-1] + split.n_train - self.lengths
        self.users = np.flatnonzero(self.lengths >= 2)
        if len(self.users) == 0:
            raise DataError("no user has two training events, so there is nothing to learn from", where="dataset")
        self.seen = SeenItems(*split.training_events(), self.n_items)
        self._check_negatives_exist()

    def _check_negatives_exist(self) -> None:
        full = self.seen.per_user(self.split.data.n_users) >= self.n_items
        if self.n_negatives and full.any():
            user = self.split.data.user_ids[int(full.argmax())]
            raise DataError(
                f"user '{user}' has every item in training, so no negative can be drawn",
                where="dataset",
                fix="recommender.objective: cross_entropy",
            )

    def __len__(self) -> int:
        """Batches an epoch."""
        copies = 2 if self.task == "cloze" else 1
        return copies * -(-len(self.users) // self.batch_size)

    def epoch(self, rng: np.random.Generator) -> Iterator[Batch]:
        """All histories once in random order (a cloze task: once with random places hidden, once the last)."""
        rounds = [False, True] if self.task == "cloze" else [False]
        for only_last in rounds:
            for users in self._order(rng):
                yield self._batch(users, only_last, rng)

    def _order(self, rng: np.random.Generator) -> list[NDArray[np.int64]]:
        shuffled = rng.permutation(self.users)
        batches: list[NDArray[np.int64]] = []
        for start in range(0, len(shuffled), self.batch_size * BATCHES_A_POOL):
            pool = shuffled[start : start + self.batch_size * BATCHES_A_POOL]
            pool = pool[np.argsort(self.lengths[pool], kind="stable")]
            batches += [pool[place : place + self.batch_size] for place in range(0, len(pool), self.batch_size)]
        return [batches[place] for place in rng.permutation(len(batches))]

    def _batch(self, users: NDArray[np.int64], only_last: bool, rng: np.random.Generator) -> Batch:
        history = pad_right(self.split.data.items, self.starts[users], self.lengths[users])
        if self.task == "next_item":
            inputs, wanted = history[:, :-1] * (history[:, 1:] != PAD), history[:, 1:]
            predicted = wanted != PAD
        else:
            wanted = history
            predicted = self._hidden_places(users, history, only_last, rng)
            inputs = np.where(predicted, mask_id(self.n_items), history)
        positives = wanted[predicted]
        owners = np.broadcast_to(users[:, None], predicted.shape)[predicted]
        negatives = self._negatives(owners, rng)
        return self._local(inputs, np.flatnonzero(predicted), positives, negatives)

    def _hidden_places(
        self, users: NDArray[np.int64], history: NDArray[np.int64], only_last: bool, rng: np.random.Generator
    ) -> NDArray[np.bool_]:
        last: NDArray[np.bool_] = np.arange(history.shape[1]) == self.lengths[users][:, None] - 1
        if only_last:
            return last
        hidden: NDArray[np.bool_] = (rng.random(history.shape) < self.hidden) & (history != PAD)
        return np.where(hidden.any(1, keepdims=True), hidden, last)

    def _negatives(self, owners: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
        """Uniform over items outside the owner's training history; never padding."""
        drawn = rng.integers(1, self.n_items + 1, size=(len(owners), self.n_negatives))
        for _ in range(TRIES):
            bad = self.seen.holds(owners[:, None], drawn)
            if not bad.any():
                return drawn
            drawn[bad] = rng.integers(1, self.n_items + 1, size=int(bad.sum()))
        raise DataError(f"no negative found in {TRIES} draws; a user has nearly every item", where="dataset")

    def _local(
        self,
        inputs: NDArray[np.int64],
        places: NDArray[np.int64],
        positives: NDArray[np.int64],
        negatives: NDArray[np.int64],
    ) -> Batch:
        """Renumber ids to the distinct items of the batch, so that each vector is computed once."""
        if self.whole_catalogue:
            rows = np.arange(1, self.n_items + 1)
        else:
            present = np.unique(np.concatenate([inputs.ravel(), positives, negatives.ravel()]))
            rows = present[(present != PAD) & (present != mask_id(self.n_items))]
        local = np.zeros(self.n_items + 2, dtype=np.int64)
        local[rows] = np.arange(1, len(rows) + 1)
        local[mask_id(self.n_items)] = mask_id(len(rows))
        return Batch(
            rows=torch.from_numpy(rows),
            inputs=torch.from_numpy(local[inputs]),
            places=torch.from_numpy(places),
            positives=torch.from_numpy(local[positives] - 1),
            negatives=torch.from_numpy(local[negatives] - 1),
        )
