"""Training batches: shuffled, of similar length, each catalogue item once.

A batch is trimmed to its longest history, and cut into groups where that saves more, because in short histories padded
to a fixed length nearly all arithmetic is spent on padding. A batch depends on seed, epoch and its number alone, so
that training can go on from any step.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from llmemb_bench.contracts import Backbone, Batch, Negatives, Objective
from llmemb_bench.data.padding import pad_right
from llmemb_bench.data.split import Split
from llmemb_bench.errors import DataError
from llmemb_bench.ids import PAD, mask_id
from llmemb_bench.seeds import generator
from llmemb_bench.training.negatives import Drawn, NegativeSampler

BATCHES_A_POOL = 50
"""Histories are sorted by length within a shuffled pool of this many batches: random, and little padding."""
POSITIONS_A_GROUP = 512
"""A further group costs about as much as so many positions of padding (measured on a CPU)."""


class TrainingBatches:
    """The training histories of a split, as batches for one backbone's task and one objective."""

    def __init__(self, split: Split, backbone: Backbone, objective: Objective, batch_size: int) -> None:
        self.split, self.batch_size = split, batch_size
        self.task: Literal["next_item", "cloze"] = backbone.task
        self.hidden, self.only_last = backbone.hidden_share(), backbone.only_last()
        self.whole_catalogue = objective.whole_catalogue
        self.n_items = split.data.n_items
        # A next-item history holds one more event than the model reads: its last one is only a target.
        longest = backbone.config.max_len + (self.task == "next_item")
        self.lengths = np.minimum(split.n_train, longest)
        self.starts = split.data.offsets[:-1] + split.n_train - self.lengths
        self.users = np.flatnonzero(self.lengths >= 2)
        if len(self.users) == 0:
            raise DataError("no user has two training events, so there is nothing to learn from", where="dataset")
        self.sampler = NegativeSampler(split, objective.sampling)
        self._local = np.zeros(self.n_items + 2, dtype=np.int64)

    def __len__(self) -> int:
        """Batches an epoch."""
        copies = 2 if self.task == "cloze" else 1
        return copies * -(-len(self.users) // self.batch_size)

    def epoch(self, seed: int, number: int, skip: int = 0) -> Iterator[Batch]:
        """All histories once in random order (a cloze task: once with random places hidden, once the last); without
        the first `skip` batches."""
        rounds = [False, True] if self.task == "cloze" else [False]
        order = generator(seed, "order", number)
        planned = [(users, last) for last in rounds for users in self._order(order)]
        for place, (users, last) in enumerate(planned[skip:], start=skip):
            yield self._batch(users, last, generator(seed, "batch", number, place))

    def _order(self, rng: np.random.Generator) -> list[NDArray[np.int64]]:
        shuffled = rng.permutation(self.users)
        batches: list[NDArray[np.int64]] = []
        for start in range(0, len(shuffled), self.batch_size * BATCHES_A_POOL):
            pool = shuffled[start : start + self.batch_size * BATCHES_A_POOL]
            pool = pool[np.argsort(self.lengths[pool], kind="stable")]
            batches += [pool[place : place + self.batch_size] for place in range(0, len(pool), self.batch_size)]
        return [batches[place] for place in rng.permutation(len(batches))]

    def _batch(self, users: NDArray[np.int64], only_last: bool, rng: np.random.Generator) -> Batch:
        """`users` by length."""
        groups = [self._group(group, only_last, rng) for group in split_by_length(users, self.lengths[users])]
        inputs, wanted, predicted = zip(*groups, strict=True)
        owners = np.repeat(np.arange(len(users)), np.concatenate([places.sum(1) for places in predicted]))
        positives = np.concatenate([items[places] for items, places in zip(wanted, predicted, strict=True)])
        places = np.flatnonzero(np.concatenate([places.ravel() for places in predicted]))
        drawn = self.sampler.draw(users, owners, rng)
        return self._local_batch(users, inputs, places, positives, drawn)

    def _group(
        self, users: NDArray[np.int64], only_last: bool, rng: np.random.Generator
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
        """[group, len] what is read, what follows or is hidden there, and where that is predicted."""
        history = pad_right(self.split.data.items, self.starts[users], self.lengths[users])
        if self.task == "next_item":
            wanted = history[:, 1:]
            predicted = self._last(users, wanted) if self.only_last else wanted != PAD
            return history[:, :-1] * (wanted != PAD), wanted, predicted
        predicted = self._hidden_places(users, history, only_last, rng)
        return np.where(predicted, mask_id(self.n_items), history), history, predicted

    def _last(self, users: NDArray[np.int64], wanted: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Where the last event of each history stands among what can be predicted."""
        behind = self.lengths[users] - 1 - (self.task == "next_item")
        last: NDArray[np.bool_] = np.arange(wanted.shape[1]) == behind[:, None]
        return last

    def _hidden_places(
        self, users: NDArray[np.int64], history: NDArray[np.int64], only_last: bool, rng: np.random.Generator
    ) -> NDArray[np.bool_]:
        last = self._last(users, history)
        if only_last:
            return last
        hidden: NDArray[np.bool_] = (rng.random(history.shape) < self.hidden) & (history != PAD)
        return np.where(hidden.any(1, keepdims=True), hidden, last)

    def _local_batch(
        self,
        users: NDArray[np.int64],
        inputs: tuple[NDArray[np.int64], ...],
        places: NDArray[np.int64],
        positives: NDArray[np.int64],
        drawn: Drawn,
    ) -> Batch:
        """Renumber ids to the distinct items of the batch, so that each vector is computed once."""
        rows = self._rows(*inputs, positives, drawn.items)
        local = self._local  # what stands there of other batches is never looked up
        local[rows] = np.arange(1, len(rows) + 1)
        local[mask_id(self.n_items)] = mask_id(len(rows))
        negatives = Negatives(
            torch.from_numpy(local[drawn.items] - 1),
            torch.from_numpy(drawn.log_expected),
            None if drawn.allowed is None else torch.from_numpy(drawn.allowed),
            self.n_items,
        )
        return Batch(
            users=torch.from_numpy(users),
            rows=torch.from_numpy(rows),
            inputs=tuple(torch.from_numpy(local[group]) for group in inputs),
            places=torch.from_numpy(places),
            positives=torch.from_numpy(local[positives] - 1),
            negatives=negatives,
        )

    def _rows(self, *ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Distinct items, ascending; all where the objective asks for all."""
        if self.whole_catalogue:
            return np.arange(1, self.n_items + 1)
        present = np.zeros(self.n_items + 2, dtype=bool)
        for part in ids:
            present[part] = True
        present[[PAD, mask_id(self.n_items)]] = False
        return np.flatnonzero(present)


def split_by_length(users: NDArray[np.int64], lengths: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Cut users, ordered by length, where trimming saves more than a group costs."""
    before = np.arange(1, len(users))
    saved = before * (lengths[-1] - lengths[:-1])  # positions, if the cut is behind the first `before` users
    if len(saved) == 0 or saved.max() < POSITIONS_A_GROUP:
        return [users]
    cut = int(saved.argmax()) + 1
    return [*split_by_length(users[:cut], lengths[:cut]), *split_by_length(users[cut:], lengths[cut:])]
