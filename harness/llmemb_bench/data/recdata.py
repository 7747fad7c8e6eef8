"""The frozen types that flow from the data: items, histories, splits."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from llmemb_bench.ids import n_rows

Attributes = tuple[tuple[str, str], ...]
"""An item's named values in order, for example `(("title", "Toy Story"), ("genres", "Comedy"))`."""

Stage = Literal["validation", "test"]


@dataclass(frozen=True)
class Items:
    """The catalogue: row r describes the item with id r + 1."""

    ids: tuple[str, ...]
    """The dataset's own ids, as strings."""
    attributes: tuple[Attributes, ...]
    instruction: str
    """The line that a prompt starts with."""

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def key(self) -> str:
        """Hash of ids and texts: what vectors depend on."""
        return hashlib.sha256(json.dumps([self.ids, self.texts()]).encode()).hexdigest()

    def text(self, attributes: Attributes) -> str:
        """The prompt of one item or of a view of it (LLMEmb's form, reference code data/*/item_prompt)."""
        return self.instruction + "\n" + ";".join(f" {name} is {value}" for name, value in attributes)

    def texts(self) -> list[str]:
        """The full prompt of every item."""
        return [self.text(attributes) for attributes in self.attributes]


@dataclass(frozen=True, eq=False)
class RecData:
    """Histories as flat arrays (CSR): user u's events are `items[offsets[u]:offsets[u + 1]]`, in time order."""

    offsets: NDArray[np.int64]
    items: NDArray[np.int32]
    times: NDArray[np.int64]
    user_ids: tuple[str, ...]
    catalogue: Items

    @cached_property
    def key(self) -> str:
        """Hash of who did what in which order: what models of one table must have in common."""
        ids = json.dumps([self.user_ids, self.catalogue.ids]).encode()
        return hashlib.sha256(b"".join([self.offsets.tobytes(), self.items.tobytes(), ids])).hexdigest()

    @property
    def n_users(self) -> int:
        return len(self.offsets) - 1

    @property
    def n_items(self) -> int:
        return len(self.catalogue)

    def history(self, user: int) -> NDArray[np.int32]:
        """All events of one user."""
        return self.items[self.offsets[user] : self.offsets[user + 1]]


@dataclass(frozen=True, eq=False)
class Split:
    """Leave-last-two-out: the last event of a user is the test target, the one before it the validation target.

    A user with fewer than three events is training data only and is never evaluated
    (the reference code evaluates such users on a training item; docs/departures.md 4).
    """

    data: RecData

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """Events a user."""
        return np.diff(self.data.offsets)

    @cached_property
    def positions(self) -> NDArray[np.int64]:
        """Place of each event in its user's history, from 0."""
        return np.arange(len(self.data.items)) - np.repeat(self.data.offsets[:-1], self.lengths)

    @cached_property
    def n_train(self) -> NDArray[np.int64]:
        """Leading events of each user that are training data."""
        return np.where(self.lengths >= 3, self.lengths - 2, self.lengths)

    @cached_property
    def evaluated(self) -> NDArray[np.int64]:
        """Rows of the users that are evaluated."""
        return np.flatnonzero(self.lengths >= 3)

    @cached_property
    def popularity(self) -> NDArray[np.int64]:
        """Training events an item, indexed by id; padding has none."""
        _, items = self.training_events()
        return np.bincount(items, minlength=n_rows(self.data.n_items))

    def input_lengths(self, stage: Stage) -> NDArray[np.int64]:
        """Events that the model sees of each evaluated user: for test, the validation item is among them."""
        return self.lengths[self.evaluated] - (1 if stage == "test" else 2)

    def targets(self, stage: Stage) -> NDArray[np.int32]:
        """The item to find for each evaluated user."""
        found: NDArray[np.int32] = self.data.items[self.data.offsets[self.evaluated] + self.input_lengths(stage)]
        return found

    def training_events(self) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """User and item of every training event, user by user."""
        train = self.positions < np.repeat(self.n_train, self.lengths)
        return np.repeat(np.arange(self.data.n_users), self.n_train), self.data.items[train]
