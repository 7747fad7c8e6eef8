"""Which users a number speaks of: all, by the target's training popularity, by the history's length."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from llmemb_bench.data.statistics import Facts
from llmemb_bench.evaluation.cut import HeadCut
from llmemb_bench.settings.evaluate import Evaluate
from llmemb_bench.values.split import Split

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

    Either all items with at least `tail_below` events, or the most popular `head_share` of the items, where
    `head_ties` says what becomes of equal counts at the cut.
    """
    if evaluate.tail_below is not None:
        return popularity >= evaluate.tail_below
    if evaluate.head_ties == "whole":
        return popularity >= _least_of_head(popularity[1:], evaluate.head_share)
    head = np.zeros(len(popularity), dtype=bool)
    n_head = math.ceil(evaluate.head_share * (len(popularity) - 1))
    head[1 + np.argsort(-popularity[1:], kind="stable")[:n_head]] = True
    return head


def _least_of_head(counts: NDArray[np.int64], share: float) -> int:
    """The count that makes an item head: of all counts but the least, the one whose items and those above come
    nearest to `share` of the catalogue; of two as near, the larger.

    So head and tail both have items, however many are tied. Where all items have one count none is head, and
    reports say so.
    """
    values, sizes = np.unique(counts, return_counts=True)
    if len(values) == 1:
        return int(values[0]) + 1
    values, n_head = values[:0:-1], np.cumsum(sizes[:0:-1])  # without the least: no head is the whole catalogue
    off = np.abs(n_head - round(share * len(counts), 6))  # rounded, for as near is as near
    return int(values[off.argmin()])


def cut_of(split: Split, evaluate: Evaluate) -> HeadCut:
    """The cut that `head_items` makes."""
    counts = item_counts(split, evaluate)
    head, counts = head_items(counts, evaluate)[1:], counts[1:]
    if not head.any():
        return HeadCut(len(counts), 0, None, 0)
    least = int(counts[head].min())
    return HeadCut(len(counts), int(head.sum()), least, int((counts[~head] == least).sum()))


def buckets_of(split: Split, evaluate: Evaluate) -> dict[str, NDArray[np.bool_]]:
    """Name to the evaluated users in it, for the test target.

    Head and tail are everybody; `tail seen` and `tail cold` are the tail, cold being a target without any training
    event, whichever events `popularity` counts.
    """
    targets = split.targets("test")
    popularity, is_cold = item_counts(split, evaluate), split.popularity[targets] == 0
    head = head_items(popularity, evaluate)[targets]
    found = {"overall": np.ones(len(targets), dtype=bool), "head": head, "tail": ~head}
    found |= {"tail seen": ~head & ~is_cold, "tail cold": ~head & is_cold}
    found |= _groups("popularity", popularity[targets], POPULARITY_EDGES)
    return found | _groups("history", split.input_lengths("test"), LENGTH_EDGES)


def bucket_facts(split: Split, evaluate: Evaluate) -> Facts:
    """The cut and the sizes of its buckets, as `data describe` prints them."""
    cut, buckets = cut_of(split, evaluate), buckets_of(split, evaluate)
    named = {"head": "head", "tail": "tail", "tail seen": "tail_seen", "tail cold": "tail_never_seen_in_training"}
    return {
        "head_items": cut.n_head,
        "head_items_events_at_least": "none is head" if cut.least_events is None else cut.least_events,
        "tail_items_tied_with_head": cut.n_tied,
        **{f"targets_{name}": int(buckets[bucket].sum()) for bucket, name in named.items()},
    }


def _groups(name: str, values: NDArray[np.int64], edges: tuple[int, ...]) -> dict[str, NDArray[np.bool_]]:
    found = {f"{name} {low}-{high - 1}": (values >= low) & (values < high) for low, high in pairwise(edges)}
    return found | {f"{name} {edges[-1]}+": values >= edges[-1]}
