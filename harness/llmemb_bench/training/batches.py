"""Training batches: equally many targets of histories of similar length, each catalogue item once.

A target counts 1 / (mean targets a step), so that the gradient of an epoch is the mean over all targets, whatever the
length of their history; the mean over a batch's own targets would weigh a target by its company. Batches of equally
many targets are as good as batches of random users, and ids train faster (docs/adr/0005-every-target-alike.md).

A batch is cut into groups of similar length, because in short histories padded to a fixed length nearly all arithmetic
is spent on padding. A batch depends on seed, epoch and its number alone, so that training can go on from any step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from llmemb_bench.base.errors import DataError
from llmemb_bench.base.ids import PAD, mask_id
from llmemb_bench.base.seeds import generator
from llmemb_bench.contracts import (
    Backbone,
    Batch,
    Extras,
    Histories,
    Negatives,
    Objective,
    Phase,
    Sampling,
    Task,
    Trained,
    VectorMethod,
)
from llmemb_bench.settings.train import TrainConfig
from llmemb_bench.training.negatives import Drawn, NegativeSampler
from llmemb_bench.training.size import refuse_huge_draws
from llmemb_bench.values.padding import pad_right
from llmemb_bench.values.split import Split

BATCHES_PER_POOL = 50
"""Histories are sorted by length within a random pool for so many batches: what is in a batch together is random among
histories of its length."""

POSITIONS_ASKED = 1 << 20
"""Positions of further histories that a method may have in a batch: what bounds the memory and time of a step."""

Ask = Callable[[NDArray[np.int64], int, np.random.Generator], Extras]
"""`VectorMethod.extras`"""


def _nothing(users: NDArray[np.int64], step: int, rng: np.random.Generator) -> Extras:
    return Extras()


class TrainingBatches:
    """The training histories of a split, as batches for one backbone, one task and one objective."""

    def __init__(
        self,
        split: Split,
        backbone: Backbone,
        objective: Objective | None,
        config: TrainConfig,
        *,
        task: Task | None = None,
        ask: Ask = _nothing,
    ) -> None:
        """`task`: None for the backbone's own; no `objective`, no negatives. Raises DataError where nothing can be
        predicted."""
        self.split, self.backbone, self.objective, self.config, self.ask = split, backbone, objective, config, ask
        self.task = task or backbone.task
        self.whole_catalogue = objective is not None and objective.whole_catalogue
        self.n_items = split.data.n_items
        self.lengths = np.minimum(split.n_train, self.task.training_length(backbone.config.max_len))
        self.starts = split.data.offsets[:-1] + split.n_train - self.lengths
        self.users = np.flatnonzero(self.lengths >= 2)
        if len(self.users) == 0:
            raise DataError(
                "no user has two training events, so there is nothing to learn from",
                where="dataset",
                fix="check the time column and split; the counting methods need no training",
            )
        self.sampler = NegativeSampler(split, Sampling() if objective is None else objective.sampling)
        copies = self.task.copies
        counted = self.users if config.targetless == "leave_out" else np.flatnonzero(self.lengths >= 1)
        self._steps = min(-(-copies * len(counted) // config.batch_size), copies * len(self.users))
        targets = self.task.expected_targets(self.lengths[self.users].astype(np.float64))
        self._targets = targets.reshape(copies * len(self.users))
        self.targets_per_step = float(self._targets.sum()) / self._steps
        self.histories_per_step = len(self._targets) / self._steps
        self._local = np.zeros(self.n_items + 2, dtype=np.int64)

    def of(self, phase: Phase, config: TrainConfig) -> TrainingBatches:
        """The same histories for a phase with these settings; a loss of its own gets no negatives."""
        if phase.loss is None and phase.task is None and phase.batch_size is None:
            return self
        objective, task = None if phase.loss else self.objective, phase.task or self.task
        return TrainingBatches(self.split, self.backbone, objective, config, task=task, ask=self.ask)

    def __len__(self) -> int:
        """Steps per epoch."""
        return self._steps

    def epoch(self, seed: int, number: int, skip: int = 0) -> Iterator[Batch]:
        """All histories, as often as the task has copies of them, in batches that are random in content and order;
        without the first `skip` of them."""
        for index, entries in enumerate(self._cut(generator(seed, "order", number))[skip:], start=skip):
            step = (number - 1) * self._steps + index
            yield self._batch(entries, generator(seed, "batch", number, index), step)

    def _cut(self, rng: np.random.Generator) -> list[NDArray[np.int64]]:
        """Every entry (copy x user) once, in batches of about as many targets each."""
        n_pools = -(-self._steps // BATCHES_PER_POOL)
        pools = np.array_split(rng.permutation(len(self._targets)), n_pools)
        sizes = [len(part) for part in np.array_split(np.arange(self._steps), n_pools)]
        cut = [batch for pool, size in zip(pools, sizes, strict=True) for batch in self._cut_pool(pool, size)]
        return [cut[index] for index in rng.permutation(len(cut))]

    def _cut_pool(self, pool: NDArray[np.int64], n_batches: int) -> list[NDArray[np.int64]]:
        pool = pool[np.argsort(self.lengths[self.users[pool % len(self.users)]], kind="stable")]
        return np.split(pool, even_edges(self._targets[pool], n_batches))

    def _batch(self, entries: NDArray[np.int64], rng: np.random.Generator, step: int) -> Batch:
        copies, users = np.divmod(entries, len(self.users))
        users = self.users[users]
        order = np.argsort(self.lengths[users], kind="stable")
        users, copies = users[order], copies[order]
        readings = []
        for group in split_by_length(self.lengths[users], self.backbone.positions_per_group):
            histories = pad_right(self.split.data.items, self.starts[users[group]], self.lengths[users[group]])
            readings.append(self.task.read(histories, copies[group], self.n_items, rng))
        owners = np.repeat(np.arange(len(users)), np.concatenate([found.predicted.sum(1) for found in readings]))
        positives = np.concatenate([found.targets[found.predicted] for found in readings])
        positions = np.flatnonzero(np.concatenate([found.predicted.ravel() for found in readings]))
        drawn = self.sampler.draw(users, owners, rng)
        extras = self.ask(users, step, rng)
        return self._local_batch(users, [found.inputs for found in readings], positions, positives, drawn, extras)

    def _local_batch(
        self,
        users: NDArray[np.int64],
        inputs: list[NDArray[np.int64]],
        positions: NDArray[np.int64],
        positives: NDArray[np.int64],
        drawn: Drawn,
        extras: Extras,
    ) -> Batch:
        """Renumber ids to the distinct items of the batch, so that each vector is computed once."""
        asked = {name: self._grouped(name, histories) for name, histories in extras.histories.items()}
        rows = self._rows(
            *inputs, positives, drawn.items, *(group for found in asked.values() for group in found.groups)
        )
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
            target_positions=torch.from_numpy(positions),
            positives=torch.from_numpy(local[positives] - 1),
            negatives=negatives,
            targets_per_step=self.targets_per_step,
            histories_per_step=self.histories_per_step,
            histories={name: found.local(local) for name, found in asked.items()},
            of_users={name: torch.from_numpy(values) for name, values in extras.of_users.items()},
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

    def _grouped(self, name: str, histories: NDArray[np.int64]) -> _Grouped:
        lengths = (histories != PAD).sum(1)
        longest = self.task.ranking_length(self.backbone.config.max_len)
        if len(lengths) == 0 or lengths.min() < 1 or lengths.max() > longest or lengths.sum() > POSITIONS_ASKED:
            raise ValueError(
                f"the method wants {len(lengths)} histories '{name}' in a batch, of {lengths.min(initial=0)} to "
                f"{lengths.max(initial=0)} events, {lengths.sum():,} together; it may have at least one, of 1 to "
                f"{longest} events, {POSITIONS_ASKED:,} together"
            )
        order = np.argsort(lengths, kind="stable")
        cut = split_by_length(lengths[order], self.backbone.positions_per_group)
        return _Grouped([histories[order[group], : lengths[order[group]].max()] for group in cut], np.argsort(order))


@dataclass(frozen=True)
class _Grouped:
    """Histories that a method wants, in groups of similar length, as item ids of the catalogue."""

    groups: list[NDArray[np.int64]]
    order: NDArray[np.int64]

    def local(self, number: NDArray[np.int64]) -> Histories:
        """As ids of the batch."""
        return Histories(tuple(torch.from_numpy(number[group]) for group in self.groups), torch.from_numpy(self.order))


def batches_of(method: Trained, split: Split, objective: Objective, config: TrainConfig) -> TrainingBatches | None:
    """The training histories as a method's phases read them; None for a method without a backbone, whose phases bring
    batches of their own. Negatives that would not fit into memory are a SpecError."""
    if not isinstance(method, VectorMethod):
        return None
    refuse_huge_draws(split, method.backbone, objective, config)
    return TrainingBatches(split, method.backbone, objective, config, task=method.task, ask=method.extras)


def even_edges(targets: NDArray[np.float64], n_batches: int) -> NDArray[np.int64]:
    """[n_batches - 1] where to cut entries of so many `targets` each, so that the parts have about as many targets as
    each other, and none is empty (at least `n_batches` entries)."""
    middles, numbers = np.cumsum(targets) - targets / 2, np.arange(1, n_batches)
    edges = np.searchsorted(middles, targets.sum() * numbers / n_batches)
    spare = np.maximum.accumulate(edges - numbers).clip(0, len(targets) - n_batches)
    return spare + numbers


def split_by_length(lengths: NDArray[np.int64], cost: int) -> list[slice]:
    """Cut ascending lengths where trimming saves more positions than a group costs."""
    return list(_split(lengths, 0, cost))


def _split(lengths: NDArray[np.int64], start: int, cost: int) -> Iterator[slice]:
    saved = np.arange(1, len(lengths)) * (lengths[-1] - lengths[:-1])  # positions, if the cut is after so many
    if len(saved) == 0 or saved.max() < cost:
        yield slice(start, start + len(lengths))
        return
    cut = int(saved.argmax()) + 1
    yield from _split(lengths[:cut], start, cost)
    yield from _split(lengths[cut:], start + cut, cost)
