"""BERT4Rec: bidirectional self-attention trained to find hidden items (Sun et al., CIKM 2019)."""

from __future__ import annotations

from typing import Annotated

import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor, nn

from llmemb_bench.contracts import Backbone
from llmemb_plugins.backbones._dropout import Dropout
from llmemb_plugins.backbones._transformer import EPSILON, BlocksConfig, log_counts, stack


class Bert4RecConfig(BlocksConfig):
    """Settings of `bert4rec`."""

    max_len: Annotated[int, Field(ge=2)] = 50
    """Longest history that the model sees and the mask behind it, in events; the latest are kept."""
    heads: Annotated[int, Field(ge=1)] = 1
    """Attention heads; must divide `dim` (LLMEmb's code: 1)."""
    hidden: Annotated[float, Field(gt=0, lt=1)] = 0.6
    """Share of a training history that is hidden (LLMEmb's code: 0.6)."""


class Bert4Rec(Backbone):
    """Both directions, padding masked as keys. The last place of `max_len` is the mask's, so that the position
    asked about in ranking is one that was trained (docs/departures.md 18)."""

    config: Bert4RecConfig
    task = "cloze"

    def __init__(self, config: Bert4RecConfig) -> None:
        super().__init__(config)
        self.positions = nn.Embedding(config.max_len, config.dim)
        self.dropout = Dropout(config.dropout)
        self.blocks = stack(config, nn.GELU, 4 * config.dim)
        self.norm = nn.LayerNorm(config.dim, eps=EPSILON[config.block])
        nn.init.normal_(self.positions.weight, std=0.02)

    def hidden_share(self) -> float:
        return self.config.hidden

    def forward(
        self, x: Float[Tensor, "batch len dim"], real: Bool[Tensor, "batch len"]
    ) -> Float[Tensor, "batch len dim"]:
        places = torch.arange(x.shape[1], device=x.device)
        x = self.dropout(x * self.config.dim**0.5 + self.positions(places))
        counts = log_counts(self.config, x, real)
        for block in self.blocks:
            x = block(x, counts)
        states: Tensor = self.norm(x)
        return states
