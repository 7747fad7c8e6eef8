"""Running mean of the history, from a third party."""

from llmemb_bench.contracts import Backbone, BackboneConfig


class TinyMeanConfig(BackboneConfig):
    """Nothing of its own to set."""


class TinyMean(Backbone):
    """State t is the mean of the first t vectors; `scale` makes it trainable."""

    config: TinyMeanConfig

    def __init__(self, config):
        from torch import nn

        super().__init__(config)
        self.out = nn.Linear(config.dim, config.dim)

    def forward(self, x, real):
        kept = x * real[..., None]
        return self.out(kept + kept.cumsum(1) / real.cumsum(1).clamp(min=1)[..., None])
