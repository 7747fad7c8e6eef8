"""skeleton: say in one line what reads the history, with its paper."""

from __future__ import annotations

from jaxtyping import Bool, Float
from torch import Tensor, nn

from llmemb_bench.contracts import Backbone, BackboneConfig


class SkeletonConfig(BackboneConfig):
    """Settings of `skeleton`; dim, max_len and dropout are there already."""


class Skeleton(Backbone):
    """A running mean of the history and one linear layer: causal, because position t only sums up to t."""

    config: SkeletonConfig

    def __init__(self, config: SkeletonConfig) -> None:
        super().__init__(config)
        self.out = nn.Sequential(nn.Dropout(config.dropout), nn.Linear(config.dim, config.dim))

    def forward(
        self, x: Float[Tensor, "batch len dim"], real: Bool[Tensor, "batch len"]
    ) -> Float[Tensor, "batch len dim"]:
        kept = x * real[..., None]
        means = kept.cumsum(1) / real.cumsum(1).clamp(min=1)[..., None]
        states: Tensor = self.out(means + kept)
        return states
