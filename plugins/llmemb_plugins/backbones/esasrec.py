"""eSASRec: SASRec with gated pre-norm blocks and SwiGLU (Tikhonovich et al., RecSys 2025)."""

from __future__ import annotations

from typing import Annotated

import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from llmemb_bench.contracts import Backbone
from llmemb_plugins.backbones._dropout import Dropout
from llmemb_plugins.backbones._transformer import AttentionConfig, Block


class ESasRecConfig(AttentionConfig):
    """Settings of `esasrec`."""

    blocks: Annotated[int, Field(ge=1)] = 2
    """LiGR blocks (the authors' benchmark: 2 on MovieLens, 1 on Amazon)."""
    heads: Annotated[int, Field(ge=1)] = 1
    """Attention heads; must divide `dim` (the authors' benchmark, leave-one-out: 1)."""
    expansion: Annotated[int, Field(ge=1)] = 4
    """Inner width of the feed-forward net, in widths of the model (the authors' benchmark: 4)."""


class _SwiGlu(nn.Module):
    """SiLU(W x) * (V x), without biases (Shazeer, 2020)."""

    def __init__(self, dim: int, inner: int) -> None:
        super().__init__()
        self.gate, self.value = nn.Linear(dim, inner, bias=False), nn.Linear(dim, inner, bias=False)

    def forward(self, x: Float[Tensor, "batch len dim"]) -> Float[Tensor, "batch len inner"]:
        gated: Tensor = functional.silu(self.gate(x)) * self.value(x)
        return gated


class _LigrBlock(Block):
    """x + sigmoid(G x) * F(norm x), for F = causal attention and then F = SwiGLU net (LiGR: Borisyuk et al., 2025,
    arXiv 2502.03417). The gate reads x before the norm and has a bias, as `LiGRLayer` of RecTools."""

    def __init__(self, dim: int, heads: int, dropout: float, inner: int) -> None:
        super().__init__(dim, heads, dropout, nn.Identity(), inner)
        self.net = nn.Sequential(
            _SwiGlu(dim, inner), Dropout(dropout), nn.Linear(inner, dim, bias=False), Dropout(dropout)
        )
        self.gate_attention, self.gate_net = nn.Linear(dim, dim), nn.Linear(dim, dim)

    def forward(
        self, x: Float[Tensor, "batch len dim"], counts: Float[Tensor, "batch 1 1 keys"] | None = None
    ) -> Float[Tensor, "batch len dim"]:
        x = x + self.gate_attention(x).sigmoid() * self._attention(x, counts)
        out: Tensor = x + self.gate_net(x).sigmoid() * self.net(self.norm_net(x))
        return out


class ESasRec(Backbone):
    """SASRec's frame (vectors scaled by sqrt(dim), learnt positions, LayerNorm at the end) around LiGR blocks.

    RecTools neither scales nor ends with a norm, and counts positions from the last event; here both frames are the
    same, so that `sasrec` and `esasrec` differ by their blocks alone. The paper's third part, a sampled softmax
    over mixed negatives, is an objective and not a backbone.
    """

    config: ESasRecConfig
    task = "next_item"

    def __init__(self, config: ESasRecConfig) -> None:
        super().__init__(config)
        self.positions = nn.Embedding(config.max_len, config.dim)
        self.dropout = Dropout(config.dropout)
        self.blocks = nn.ModuleList(
            _LigrBlock(config.dim, config.heads, config.dropout, config.expansion * config.dim)
            for _ in range(config.blocks)
        )
        self.norm = nn.LayerNorm(config.dim)
        nn.init.normal_(self.positions.weight, std=0.02)

    def forward(
        self, x: Float[Tensor, "batch len dim"], real: Bool[Tensor, "batch len"]
    ) -> Float[Tensor, "batch len dim"]:
        places = torch.arange(x.shape[1], device=x.device)
        x = self.dropout(x * self.config.dim**0.5 + self.positions(places))
        for block in self.blocks:
            x = block(x)  # causal
        states: Tensor = self.norm(x)
        return states
