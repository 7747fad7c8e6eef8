"""Counting baseline: every user gets the items with the most training events."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from llmemb_bench.contracts import Method, Parts
from llmemb_bench.registry.config import Config
from llmemb_bench.values.split import Split
from llmemb_plugins.methods._order import rising


class PopularityConfig(Config):
    """Nothing to set."""


class Popularity(Method):
    """Score of an item: its number of training events; of numbers beyond 2^24, which float32 cannot tell apart, the
    order is kept."""

    config: PopularityConfig

    def __init__(self, config: PopularityConfig, parts: Parts) -> None:
        super().__init__(config, parts)
        self.counts = torch.zeros(parts.n_items + 1)

    def fit_counts(self, split: Split) -> None:
        counts, ranks = np.unique(split.popularity, return_inverse=True)
        self.counts = torch.from_numpy(rising(counts.astype(np.float32), np.arange(len(counts)))[ranks])

    def states(self, histories: Int[Tensor, "batch len"]) -> Float[Tensor, "batch width"]:
        return torch.ones(len(histories), 1)

    def scores(self, states: Float[Tensor, "batch width"], items: slice) -> Float[Tensor, "batch block"]:
        return states * self.counts[items]
