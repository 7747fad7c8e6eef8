"""Which users a number speaks of: all, by the target's training popularity, by the history's length."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from llmemb_bench.data.split import Split
from llmemb_bench.spec.frame import Evaluate

POPULARITY_EDGES = (0, 5, 10, 20, 40)
"""Training events of the target (edges of LLMEmb's test_group)."""
LENGTH_EDGES = (0, 5, 10, 15, 20)
"""Events of the history (likewise)."""


def item_counts(split: Split, evaluate: Evaluate) -> NDArray[np.int64]:
    """[ids] events that tell how popular an item is: training events, or all where the settings say so."""
    if evaluate.popularity == "training":
        return split.popularity
    return np.bincount(split.data.items, minlength=len(split.popularity))


def head_items(popularity: NDArray[np.int64], evaluate: Evaluate) -> NDArray[np.bool_]:
    """True for ids that are head, by `item_counts`.

    Either the most popular `head_share` of the items (equal counts: the smaller id first), or all items with
    at least `tail_below` events.
    """
    if evaluate.tail_below is not None:
        return popularity >= evaluate.tail_below
    head = np.zeros(len(popularity), dtype=bool)
    n_head = math.ceil(evaluate.head_share * (len(popularity) - 1))
    head[1 + np.argsort(-popularity[1:], kind="stable")[:n_head]] = True
    return head


def buckets_of(split: Split, evaluate: Evaluate) -> dict[str, NDArray[np.bool_]]:
    """Name to the evaluated users in it, for the test target."""
    targets = split.targets("test")
    popularity = item_counts(split, evaluate)
    head = head_items(popularity, evaluate)[targets]
    found = {"overall": np.ones(len(targets), dtype=bool), "head": head, "tail": ~head}
    found |= _groups("popularity", popularity[targets], POPULARITY_EDGES)
    return found | _groups("history", split.input_lengths("test"), LENGTH_EDGES)


def _groups(name: str, values: NDArray[np.int64], edges: tuple[int, ...]) -> dict[str, NDArray[np.bool_]]:
    found = {f"{name} {low}-{high - 1}": (values >= low) & (values < high) for low, high in pairwise(edges)}
    return found | {f"{name} {edges[-1]}+": values >= edges[-1]}
