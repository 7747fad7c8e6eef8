"""Ragged histories to rectangles and back: real items first, PAD after them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmemb_bench.base.ids import PAD

Ids = NDArray[np.integer[Any]]


def pad_right(items: Ids, starts: Ids, lengths: Ids) -> NDArray[np.int64]:
    """[batch, longest] from slices `items[start : start + length]` of a flat array."""
    columns = np.arange(max(int(lengths.max(initial=0)), 1))
    real = columns < lengths[:, None]  # [batch, longest]
    padded = np.full(real.shape, PAD, dtype=np.int64)
    padded[real] = items[(starts[:, None] + columns)[real]]
    return padded


class SeenItems:
    """Which (user, item) pairs a set of events holds: one sorted key array, looked up in bulk."""

    def __init__(self, users: Ids, items: Ids, n_items: int) -> None:
        self._width = n_items + 1
        self._keys = np.unique(users * self._width + items)

    def holds(self, users: Ids, items: Ids) -> NDArray[np.bool_]:
        """For each pair, whether it is among the events; the two arrays broadcast."""
        keys = users * self._width + items
        at = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
        found: NDArray[np.bool_] = self._keys[at] == keys
        return found

    def per_user(self, n_users: int) -> NDArray[np.int64]:
        """Distinct items of each user."""
        return np.bincount(self._keys // self._width, minlength=n_users)
