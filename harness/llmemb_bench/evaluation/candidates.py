"""Sampled candidates: one frozen set for each (dataset, split, seed) that every model shares."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from llmemb_bench.base.errors import SpecError
from llmemb_bench.base.memory import require
from llmemb_bench.values.padding import SeenItems
from llmemb_bench.values.split import Fold, Split


def draw_candidates(split: Split, count: int, rng: np.random.Generator, fold: Fold = "test") -> NDArray[np.int32]:
    """[evaluated users, count] distinct items, uniform among those outside the user's events up to the target's part:
    for the test all of them, for validation without those that come later, of which training may know nothing.

    Without replacement and without the target, as in LLMEmb's evaluation; unlike there they are drawn once
    (docs/departures.md 10).
    """
    data, users = split.data, split.users(fold)
    seen = _seen(split, fold)
    refuse_scarce(split, count, fold, _scarcest(split, seen, fold))
    require(32 * len(users) * count, f"sampled-{count} for {len(users):,} users", _setting(fold))
    drawn = np.zeros((len(users), count), dtype=np.int32)
    open_rows = np.arange(len(users))
    while len(open_rows):
        # Keep what is good, draw the rest again: each entry stays uniform over what is still allowed.
        fresh = rng.integers(1, data.n_items + 1, size=(len(open_rows), count), dtype=np.int32)
        block = np.where(drawn[open_rows] == 0, fresh, drawn[open_rows])
        bad = seen.holds(users[open_rows, None], block) | _later_doubles(block)
        drawn[open_rows] = np.where(bad, 0, block)
        open_rows = open_rows[bad.any(1)]
    return drawn


def _seen(split: Split, fold: Fold) -> SeenItems:
    """The items that are no candidates of a user."""
    known = split.positions < np.repeat(split.lengths if fold == "test" else split.fold_starts[1], split.lengths)
    owners = np.repeat(np.arange(split.data.n_users), split.lengths)
    return SeenItems(owners[known], split.data.items[known], split.data.n_items)


def scarcest(split: Split, fold: Fold) -> tuple[int, int]:
    """The evaluated user with the fewest items left to draw from, and how many these are."""
    return _scarcest(split, _seen(split, fold), fold)


def _scarcest(split: Split, seen: SeenItems, fold: Fold) -> tuple[int, int]:
    users = split.users(fold)
    left = split.data.n_items - seen.per_user(split.data.n_users)[users]
    row = int(left.argmin()) if len(left) else -1
    return (int(users[row]), int(left[row])) if row >= 0 else (0, split.data.n_items)


def refuse_scarce(split: Split, count: int, fold: Fold, scarce: tuple[int, int]) -> None:
    """A SpecError where the user of `scarcest` leaves fewer items than are to be drawn."""
    user, left = scarce
    if left < count:
        raise SpecError(
            f"sampled-{count} needs {count} items outside a user's events; user '{split.data.user_ids[user]}' leaves "
            f"{left} of {split.data.n_items}",
            where=_setting(fold),
            fix="protocols: [full]" if fold == "test" else "monitor_protocol: full",
        )


def _setting(fold: Fold) -> str:
    return "evaluate.protocols" if fold == "test" else "recommender.train.monitor_protocol"


def _later_doubles(block: NDArray[np.int32]) -> NDArray[np.bool_]:
    """True where a value stands in the same row further left."""
    order = np.argsort(block, axis=1, kind="stable")
    ordered = np.take_along_axis(block, order, axis=1)
    double = np.zeros(block.shape, dtype=bool)
    np.put_along_axis(double, order[:, 1:], ordered[:, 1:] == ordered[:, :-1], axis=1)
    return double
