"""Training batches: random users, each catalogue item once, every target of one weight.

A target counts 1 / (mean targets a step), so that the expected gradient of an epoch is the mean over all targets,
whatever the length of their history; the mean over a batch's own targets would weigh a target by its company.

A batch is cut into groups of similar length, because in short histories padded to a fixed length nearly all arithmetic
is spent on padding. A batch depends on seed, epoch and its number alone, so that training can go on from any step.
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
from llmemb_bench.training.settings import TrainConfig


class TrainingBatches:
    """The training histories of a split, as batches for one backbone's task and one objective."""

    def __init__(self, split: Split, backbone: Backbone, objective: Objective, config: TrainConfig) -> None:
        self.split, self.batch_size, self.targetless = split, config.batch_size, config.targetless
        self.task: Literal["next_item", "cloze"] = backbone.task
        self.hidden, self.shown, self.only_last = backbone.hidden_share(), backbone.shown_shares(), backbone.only_last()
        self.positions_a_group = backbone.positions_a_group
        self.whole_catalogue = objective.whole_catalogue
        self.n_items = split.data.n_items
        # A next-item history holds one more event than the model reads: its last one is only a target.
        longest = backbone.config.max_len + (self.task == "next_item")
        self.lengths = np.minimum(split.n_train, longest)
        self.starts = split.data.offsets[:-1] + split.n_train - self.lengths
        self.users = np.flatnonzero(self.lengths >= 2)
        if len(self.users) == 0:
            raise DataError(
                "no user has two training events, so there is nothing to learn from",
                where="dataset",
                fix="check the time column and split; the counting methods need no training",
            )
        self.sampler = NegativeSampler(split, objective.sampling)
        self._copies = 2 if self.task == "cloze" else 1
        counted = self.users if config.targetless == "leave_out" else np.flatnonzero(self.lengths >= 1)
        self._steps = min(-(-self._copies * len(counted) // config.batch_size), self._copies * len(self.users))
        self.targets_a_step = self._expected_targets() / self._steps
        self._local = np.zeros(self.n_items + 2, dtype=np.int64)

    def _expected_targets(self) -> float:
        """Predictions an epoch; of a cloze task those at random places, and the last one of each history."""
        lengths = self.lengths[self.users].astype(np.float64)
        if self.task == "cloze":
            return float((self.hidden * lengths + (1 - self.hidden) ** lengths + 1).sum())
        return float(len(lengths) if self.only_last else (lengths - 1).sum())

    def __len__(self) -> int:
        """Steps an epoch."""
        return self._steps

    def epoch(self, seed: int, number: int, skip: int = 0) -> Iterator[Batch]:
        """All histories once in random order (a cloze task: once with random places hidden and once with the last);
        without the first `skip` batches."""
        order = generator(seed, "order", number).permutation(self._copies * len(self.users))
        for place, entries in enumerate(self._cut(order)[skip:], start=skip):
            yield self._batch(entries, generator(seed, "batch", number, place))

    def _cut(self, order: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        """Batches of `batch_size`, the last one smaller; or as many as there would be with all users, of equal size."""
        if self.targetless == "count":
            return np.array_split(order, self._steps)
        return np.split(order, np.arange(self.batch_size, len(order), self.batch_size))

    def _batch(self, entries: NDArray[np.int64], rng: np.random.Generator) -> Batch:
        last, users = np.divmod(entries, len(self.users))
        users = self.users[users]
        order = np.argsort(self.lengths[users], kind="stable")
        users, only_last = users[order], last[order] == 1
        cut = split_by_length(self.lengths[users], self.positions_a_group)
        groups = [self._group(users[group], only_last[group], rng) for group in cut]
        inputs, wanted, predicted = zip(*groups, strict=True)
        owners = np.repeat(np.arange(len(users)), np.concatenate([places.sum(1) for places in predicted]))
        positives = np.concatenate([items[places] for items, places in zip(wanted, predicted, strict=True)])
        places = np.flatnonzero(np.concatenate([places.ravel() for places in predicted]))
        drawn = self.sampler.draw(users, owners, rng)
        return self._local_batch(users, inputs, places, positives, drawn)

    def _group(
        self, users: NDArray[np.int64], only_last: NDArray[np.bool_], rng: np.random.Generator
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
        """[group, len] what is read, what follows or is hidden there, and where that is predicted."""
        history = pad_right(self.split.data.items, self.starts[users], self.lengths[users])
        if self.task == "next_item":
            wanted = history[:, 1:]
            predicted = self._last(users, wanted) if self.only_last else wanted != PAD
            return history[:, :-1] * (wanted != PAD), wanted, predicted
        predicted = self._hidden_places(users, history, only_last, rng)
        return self._disguised(history, predicted, ~only_last, rng), history, predicted

    def _disguised(
        self,
        history: NDArray[np.int64],
        hidden: NDArray[np.bool_],
        at_random: NDArray[np.bool_],
        rng: np.random.Generator,
    ) -> NDArray[np.int64]:
        """What stands at hidden places: the mask, and in the histories hidden `at_random` sometimes an item."""
        masked = np.where(hidden, mask_id(self.n_items), history)
        random, own = self.shown
        if random + own == 0:
            return masked
        draw = np.where(hidden & at_random[:, None], rng.random(history.shape), 1.0)
        masked[draw < random] = rng.integers(1, self.n_items + 1, size=int((draw < random).sum()))
        return np.where((draw >= random) & (draw < random + own), history, masked)

    def _last(self, users: NDArray[np.int64], wanted: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Where the last event of each history stands among what can be predicted."""
        behind = self.lengths[users] - 1 - (self.task == "next_item")
        last: NDArray[np.bool_] = np.arange(wanted.shape[1]) == behind[:, None]
        return last

    def _hidden_places(
        self,
        users: NDArray[np.int64],
        history: NDArray[np.int64],
        only_last: NDArray[np.bool_],
        rng: np.random.Generator,
    ) -> NDArray[np.bool_]:
        hidden: NDArray[np.bool_] = (rng.random(history.shape) < self.hidden) & (history != PAD)
        at_random = hidden.any(1) & ~only_last
        return np.where(at_random[:, None], hidden, self._last(users, history))

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
            targets_a_step=self.targets_a_step,
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


def split_by_length(lengths: NDArray[np.int64], cost: int) -> list[slice]:
    """Cut ascending lengths where trimming saves more positions than a group costs."""
    return list(_split(lengths, 0, cost))


def _split(lengths: NDArray[np.int64], start: int, cost: int) -> Iterator[slice]:
    saved = np.arange(1, len(lengths)) * (lengths[-1] - lengths[:-1])  # positions, if the cut is behind so many
    if len(saved) == 0 or saved.max() < cost:
        yield slice(start, start + len(lengths))
        return
    cut = int(saved.argmax()) + 1
    yield from _split(lengths[:cut], start, cost)
    yield from _split(lengths[cut:], start + cut, cost)
