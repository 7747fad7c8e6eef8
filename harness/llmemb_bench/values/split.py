"""Histories cut into training, validation and test; every way to cut is two numbers per user."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from llmemb_bench.base.errors import SpecError
from llmemb_bench.base.ids import n_rows
from llmemb_bench.settings.split import SplitConfig
from llmemb_bench.values.padding import pad_right
from llmemb_bench.values.recdata import RecData

Fold = Literal["validation", "test"]
LAST_TWO = SplitConfig()
SHORTEST = 3
"""Events that a user needs to be evaluated: one to learn from, one to validate, one to test."""
TICKS = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}


@dataclass(frozen=True, eq=False)
class Split:
    """Training, validation and test events of each history, in this order.

    The target of validation or test is the first event of that fold, and everything before it is the input. A user
    with fewer than three events is training data only and is never evaluated (docs/departures.md 4).
    """

    data: RecData
    config: SplitConfig = LAST_TWO

    @cached_property
    def key(self) -> str:
        """Hash of the events and of how they are cut."""
        return hashlib.sha256((self.data.key + json.dumps(self.config.protocol())).encode()).hexdigest()

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Events per user."""
        return self.data.lengths

    @cached_property
    def positions(self) -> NDArray[np.int64]:
        """Position of each event in its user's history, from 0."""
        return np.arange(len(self.data.items)) - np.repeat(self.data.offsets[:-1], self.lengths)

    @cached_property
    def fold_starts(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """[users] events before validation, and events before test; a SpecError where `by: file` finds
        no split in the files."""
        match self.config.by:
            case "last_two":
                long = self.lengths >= SHORTEST
                return np.where(long, self.lengths - 2, self.lengths), np.where(long, self.lengths - 1, self.lengths)
            case "time":
                return self._before(self.data.times, self.cuts[0]), self._before(self.data.times, self.cuts[1])
            case "file":
                if self.data.folds is None:
                    raise SpecError(
                        "the dataset's files give no split",
                        where="split.by",
                        fix="use a dataset with a 'fold' (show table), or by: last_two",
                    )
                return self._before(self.data.folds, 1), self._before(self.data.folds, 2)

    @cached_property
    def cuts(self) -> tuple[int, int]:
        """When validation and test start, in the data's unit, for a split by time; a SpecError where there are no
        times."""
        if self.data.time_unit == "order":
            raise SpecError("these data have no times", where="split.by", fix="by: last_two")
        if self.config.validation_from and self.config.test_from:
            ticks = TICKS[self.data.time_unit]
            days = (self.config.validation_from, self.config.test_from)
            first, second = (int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()) * ticks for day in days)
            return first, second
        test, n_events = self.config.test_share, len(self.data.times)
        bounds = [int(n_events * (1 - test - self.config.validation_share)), int(n_events * (1 - test))]
        ordered = np.partition(self.data.times, bounds)
        return int(ordered[bounds[0]]), int(ordered[bounds[1]])

    def _before(self, values: NDArray[np.integer[Any]], bound: int) -> NDArray[np.int64]:
        """[users] events whose value is below a bound."""
        running = np.concatenate([[0], np.cumsum(values < bound)])
        return np.diff(running[self.data.offsets])

    @property
    def n_train(self) -> NDArray[np.int64]:
        """Leading events of each user that are training data."""
        return self.fold_starts[0]

    def users(self, fold: Fold) -> NDArray[np.int64]:
        """Rows of the users that are evaluated."""
        return self._users[fold]

    @cached_property
    def _users(self) -> dict[Fold, NDArray[np.int64]]:
        before, after = self.fold_starts
        able = self.lengths >= SHORTEST
        return {
            "validation": np.flatnonzero(able & (before >= 1) & (before < after)),
            "test": np.flatnonzero(able & (after >= 1) & (after < self.lengths)),
        }

    @cached_property
    def popularity(self) -> NDArray[np.int64]:
        """Training events per item, indexed by id; padding has none."""
        _, items = self.training_events()
        return np.bincount(items, minlength=n_rows(self.data.n_items))

    def input_lengths(self, fold: Fold) -> NDArray[np.int64]:
        """Events before the target of each evaluated user; for test, this includes the validation events."""
        return self.fold_starts[0 if fold == "validation" else 1][self.users(fold)]

    def targets(self, fold: Fold) -> NDArray[np.int32]:
        """The item to find for each evaluated user."""
        found: NDArray[np.int32] = self.data.items[self.target_indices(fold)]
        return found

    def target_indices(self, fold: Fold) -> NDArray[np.int64]:
        """Index of each target among all events."""
        return self.data.offsets[self.users(fold)] + self.input_lengths(fold)

    def training_histories(self, users: NDArray[np.int64], longest: int) -> NDArray[np.int64]:
        """[users, len] the latest training events of some users, at most so many of each, PAD after them."""
        lengths = np.minimum(self.n_train[users], longest)
        return pad_right(self.data.items, self.data.offsets[users] + self.n_train[users] - lengths, lengths)

    def training_events(self) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """User and item of every training event, user by user."""
        train = self.positions < np.repeat(self.n_train, self.lengths)
        return np.repeat(np.arange(self.data.n_users), self.n_train), self.data.items[train]
