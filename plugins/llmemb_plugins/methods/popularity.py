"""Counting baseline: every user gets the items with the most training events."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from llmemb_bench.config import Config
from llmemb_bench.contracts import Method, Parts
from llmemb_bench.data.split import Split


class PopularityConfig(Config):
    """Nothing to set."""


class Popularity(Method):
    """Score of an item: its number of training events."""

    config: PopularityConfig

    def __init__(self, config: PopularityConfig, parts: Parts) -> None:
        super().__init__(config, parts)
        self.counts = torch.zeros(parts.n_items + 1, dtype=torch.float64)

    def fit_counts(self, split: Split) -> None:
        self.counts = torch.from_numpy(split.popularity).double()  # float32 counts to 2^24 only

    def states(self, histories: Int[Tensor, "batch len"]) -> Float[Tensor, "batch width"]:
        return torch.ones(len(histories), 1, dtype=torch.float64)

    def scores(self, states: Float[Tensor, "batch width"], items: slice) -> Float[Tensor, "batch block"]:
        return states * self.counts[items]
