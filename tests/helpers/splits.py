"""Splits of hand-written histories."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from llmemb_bench.values.recdata import Items, RecData
from llmemb_bench.values.split import Split
from llmemb_bench.values.strings import Strings


def make_split(histories: Sequence[Sequence[int]], n_items: int) -> Split:
    """A split of hand-written histories over items 1..n_items."""
    lengths = [len(history) for history in histories]
    flat = np.array([item for history in histories for item in history], dtype=np.int32)
    items = Items.of(
        [f"item{place}" for place in range(1, n_items + 1)],
        [(("title", f"thing number {place}"), ("kind", "thing")) for place in range(1, n_items + 1)],
    )
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    users = Strings.of(f"user{place}" for place in range(len(histories)))
    return Split(RecData(offsets, flat, np.arange(len(flat), dtype=np.int64), users, items))
