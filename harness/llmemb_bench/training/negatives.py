"""Negatives: drawn for a whole batch at once, never an item that the user has in training, never padding."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from llmemb_bench.base.errors import DataError
from llmemb_bench.contracts import Sampling
from llmemb_bench.values.padding import SeenItems
from llmemb_bench.values.split import Split

ROUNDS = 20
"""Draws of what is no negative yet, before the few that are left are drawn from the user's own list of negatives."""


@dataclass(frozen=True)
class Drawn:
    """Item ids: one row per target, or one row for all targets."""

    items: NDArray[np.int64]
    log_expected: NDArray[np.float32]
    allowed: NDArray[np.bool_] | None


class NegativeSampler:
    """Draws from (1 - popularity) uniform + popularity * share of the training events, without the user's own items."""

    def __init__(self, split: Split, sampling: Sampling) -> None:
        self.split, self.sampling, self.n_items = split, sampling, split.data.n_items
        if sampling.count:
            self._refuse_full_histories()

    def _refuse_full_histories(self) -> None:
        """Only a user with as many events as there are items can have them all."""
        for user in np.flatnonzero(self.split.n_train >= self.n_items).tolist():
            if len(np.unique(self._training_items(user))) >= self.n_items:
                raise DataError(
                    f"user '{self.split.data.user_ids[user]}' has every item in training, so no negative can be drawn",
                    where="dataset",
                    fix="recommender.objective: cross_entropy",
                )

    def _training_items(self, user: int) -> NDArray[np.int32]:
        start = self.split.data.offsets[user]
        return self.split.data.items[start : start + self.split.n_train[user]]

    @cached_property
    def _events(self) -> NDArray[np.int32]:
        """The item of every training event: a random one of them is an item by popularity."""
        return self.split.training_events()[1]

    @cached_property
    def _probability(self) -> NDArray[np.float64]:
        """[ids] chance of an item in one draw, before the user's own items are excluded."""
        share = self.sampling.popularity
        chance = share * self.split.popularity / len(self._events) + (1 - share) / self.n_items
        chance[0] = 0.0
        return chance

    def draw(self, users: NDArray[np.int64], owners: NDArray[np.int64], rng: np.random.Generator) -> Drawn:
        """`users` of the batch, and for each target the row of its user among them."""
        pairs, items = self._own_items(users)
        if self.sampling.count == 0:
            return Drawn(np.zeros((1, 0), np.int64), np.zeros((1, 0), np.float32), None)
        if self.sampling.shared:
            return self._for_all(pairs, items, len(users), owners, rng)
        return self._for_each(users, SeenItems(pairs, items, self.n_items), pairs, items, owners, rng)

    def _own_items(self, users: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """Row of the user and item of every training event of these users."""
        counts = self.split.n_train[users]
        rows = np.repeat(np.arange(len(users)), counts)
        firsts = self.split.data.offsets[users] - np.concatenate([[0], np.cumsum(counts)[:-1]])
        return rows, self.split.data.items[np.arange(len(rows)) + firsts[rows]]

    def _proposals(self, size: int | tuple[int, ...], rng: np.random.Generator) -> NDArray[np.int64]:
        drawn = rng.integers(1, self.n_items + 1, size=size)
        if self.sampling.popularity:
            by_popularity = rng.random(size) < self.sampling.popularity
            events = self._events
            drawn[by_popularity] = events[rng.integers(len(events), size=int(by_popularity.sum()))]
        return drawn

    def _for_each(
        self,
        users: NDArray[np.int64],
        seen: SeenItems,
        pairs: NDArray[np.int64],
        items: NDArray[np.int32],
        owners: NDArray[np.int64],
        rng: np.random.Generator,
    ) -> Drawn:
        drawn = self._proposals((len(owners), self.sampling.count), rng)
        flat, flat_owners = drawn.reshape(-1), np.repeat(owners, self.sampling.count)
        bad = np.flatnonzero(seen.holds(flat_owners, flat))
        for _ in range(ROUNDS):
            if len(bad) == 0:
                break
            flat[bad] = self._proposals(len(bad), rng)
            bad = bad[seen.holds(flat_owners[bad], flat[bad])]
        for index in bad:  # of users that have nearly everything
            flat[index] = self._exactly(int(users[flat_owners[index]]), rng)
        left = 1 - self._own_share(len(users), pairs, items)  # [users] chance that a proposal is a negative
        log_expected = np.log(self.sampling.count * self._probability[drawn] / left[owners][:, None])
        return Drawn(drawn, log_expected.astype(np.float32), None)

    def _own_share(self, n_users: int, pairs: NDArray[np.int64], items: NDArray[np.int32]) -> NDArray[np.float64]:
        """[users] chance that a proposal is an item that the user has."""
        width = self.n_items + 1
        keys = np.unique(pairs * width + items)
        return np.bincount(keys // width, self._probability[keys % width], n_users).astype(np.float64)

    def _exactly(self, user: int, rng: np.random.Generator) -> int:
        """One draw from the user's list of negatives."""
        chance = self._probability.copy()
        chance[self._training_items(user)] = 0.0
        return int(rng.choice(len(chance), p=chance / chance.sum()))

    def _for_all(
        self,
        pairs: NDArray[np.int64],
        items: NDArray[np.int32],
        n_users: int,
        owners: NDArray[np.int64],
        rng: np.random.Generator,
    ) -> Drawn:
        drawn = self._proposals(self.sampling.count, rng)
        order = np.argsort(drawn, kind="stable")
        first, last = (np.searchsorted(drawn[order], items, side=side) for side in ("left", "right"))
        allowed = np.ones((n_users, len(drawn)), dtype=bool)
        for step in range(int((last - first).max(initial=0))):  # an item may be drawn several times
            hit = first + step < last
            allowed[pairs[hit], order[(first + step)[hit]]] = False
        log_expected = np.log(self.sampling.count * self._probability[drawn])
        return Drawn(drawn[None], log_expected.astype(np.float32)[None], allowed[owners])
