"""GRU4Rec: a gated recurrent net over the history (Hidasi et al., ICLR 2016)."""

from __future__ import annotations

from typing import Literal

from jaxtyping import Bool, Float
from torch import Tensor, nn

from llmemb_bench.contracts import Backbone, BackboneConfig, Depth, NextItem
from llmemb_plugins.backbones._dropout import Dropout


class Gru4RecConfig(BackboneConfig):
    """Settings of `gru4rec`."""

    layers: Depth = 1
    """Recurrent layers (paper: 1)."""
    targets: Literal["all", "last"] = "all"
    """Predict the next event at every position like the other backbones; `last` trains on the last event only, which is
    what LLMEmb's published code does and which makes backbones incomparable (docs/departures.md 6)."""


class Gru4Rec(Backbone):
    """Gated recurrent layers and a linear one after them. Padding comes last, so it never enters a real state."""

    config: Gru4RecConfig

    def __init__(self, config: Gru4RecConfig) -> None:
        super().__init__(config)
        self.task = NextItem(only_last=config.targets == "last")
        self.dropout = Dropout(config.dropout)
        self.gru = nn.GRU(config.dim, config.dim, config.layers, batch_first=True)
        self.out = nn.Linear(config.dim, config.dim)

    def forward(
        self, x: Float[Tensor, "batch len dim"], real: Bool[Tensor, "batch len"]
    ) -> Float[Tensor, "batch len dim"]:
        hidden, _ = self.gru(self.dropout(x * self.config.dim**0.5))
        states: Tensor = self.out(self.dropout(hidden))
        return states
