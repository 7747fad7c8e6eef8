"""Counting baseline: what the user had before, then what most users have."""

from __future__ import annotations

from typing import Literal

import numpy as np
from jaxtyping import Float32, Int64

from llmemb_bench.contracts import Parts
from llmemb_bench.registry.config import Config
from llmemb_bench.values.split import Split
from llmemb_plugins.methods._histories import ByHistory


class RepeatConfig(Config):
    """Settings of `repeat`."""

    first: Literal["recent", "frequent"] = "recent"
    """Order of the items of the history: the latest first, or the one with most events first and of equally many the
    later (ours)."""


class Repeat(ByHistory):
    """Items of the history in their order, then all others by their number of training events.

    For data in which users come back to an item. `evaluate: {history: keep}` is what it is for: with `mask`, of the
    history only the target is a candidate.
    """

    config: RepeatConfig

    def __init__(self, config: RepeatConfig, parts: Parts) -> None:
        super().__init__(config, parts)
        self.levels = np.zeros(parts.n_items + 1, dtype=np.float32)

    def fit_counts(self, split: Split) -> None:
        # Places among the different counts, not counts: of whole numbers this small each has a float32 of its own.
        _, places = np.unique(split.popularity, return_inverse=True)
        self.levels = places.astype(np.float32)

    def catalogue_scores(self, ids: Int64[np.ndarray, "batch len"]) -> Float32[np.ndarray, "batch ids"]:
        scores = np.tile(self.levels, (len(ids), 1))
        for row, history in zip(scores, ids, strict=True):
            items = self._ordered(history[history > 0])
            row[items] = self.levels.max() + 1 + np.arange(len(items))
        return scores

    def _ordered(self, history: Int64[np.ndarray, "events"]) -> Int64[np.ndarray, "items"]:
        """The distinct items, the best last."""
        items, age, count = np.unique(history[::-1], return_index=True, return_counts=True)
        keys = [-age] if self.config.first == "recent" else [-age, count]  # the last key decides first
        return items[np.lexsort(keys)]
