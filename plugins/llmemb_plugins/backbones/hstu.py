"""HSTU: gated blocks whose attention is a pointwise SiLU (Zhai et al., ICML 2024)."""

from __future__ import annotations

from typing import Annotated

import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from llmemb_bench.contracts import Backbone, Depth
from llmemb_plugins.backbones._dropout import Dropout, dropout
from llmemb_plugins.backbones._transformer import AttentionConfig


class HstuConfig(AttentionConfig):
    """Settings of `hstu`."""

    blocks: Depth = 2
    """HSTU blocks (authors' code for MovieLens-1M: 2; its `large` setting: 8)."""
    heads: Annotated[int, Field(ge=1)] = 1
    """Attention heads; must divide `dim` (authors' code for MovieLens-1M: 1; its `large` setting: 2)."""


class _HstuBlock(nn.Module):
    """Equations 1 to 3 of the paper (arXiv 2402.17152), in each head:

    U, V, Q, K = SiLU(f1(norm x));  A = SiLU(Q K^T + bias) / max_len for the past, 0 for the future;
    y = x + f2(norm(A V) * U).

    The norms have no weights, f1 no bias and a normal start of deviation 0.02, as in the authors' code.
    """

    def __init__(self, config: HstuConfig) -> None:
        super().__init__()
        self.heads, self.max_len, self.dropout = config.heads, config.max_len, config.dropout
        self.norm = nn.LayerNorm(config.dim, eps=1e-6, elementwise_affine=False)
        self.project = nn.Linear(config.dim, 4 * config.dim, bias=False)
        self.distances = nn.Parameter(torch.randn(config.max_len) * 0.02)  # the bias of 0, 1, 2, ... events ago
        self.out = nn.Linear(config.dim, config.dim)
        nn.init.normal_(self.project.weight, std=0.02)
        nn.init.xavier_uniform_(self.out.weight)

    def forward(self, x: Float[Tensor, "batch len dim"]) -> Float[Tensor, "batch len dim"]:
        gates, values, queries, keys = functional.silu(self.project(self.norm(x))).chunk(4, -1)
        mixed = self._attend(queries, keys, values) * gates
        out: Tensor = self.out(dropout(mixed, self.dropout, self.training))
        return x + out

    def _attend(
        self,
        queries: Float[Tensor, "batch len dim"],
        keys: Float[Tensor, "batch len dim"],
        values: Float[Tensor, "batch len dim"],
    ) -> Float[Tensor, "batch len dim"]:
        split = (part.view(*part.shape[:2], self.heads, -1).transpose(1, 2) for part in (queries, keys, values))
        q, k, v = split  # each [batch, heads, len, dim / heads]
        position_ids = torch.arange(q.shape[2], device=q.device)
        ago = position_ids[:, None] - position_ids  # [len, len]
        weights = functional.silu(q @ k.transpose(-1, -2) + self.distances[ago.clamp(min=0)])
        past = (ago >= 0).to(weights.dtype) / self.max_len
        attended: Tensor = self.norm(((weights * past) @ v).transpose(1, 2).flatten(2))
        return attended


class Hstu(Backbone):
    """Blocks over vectors scaled by sqrt(dim) plus learnt positions, LayerNorm at the end.

    A backbone sees no times, so the relative bias is the positional half of the paper's: one number a distance and
    block, shared by the heads. Weights are divided by `max_len`, as in the authors' code, never by the length
    of a batch, so that padding changes nothing. The authors' code ends with an L2 norm, which belongs to its cosine
    scores at temperature 0.05; scores are plain products here, so the end is a LayerNorm (as in RecTools).
    """

    config: HstuConfig

    def __init__(self, config: HstuConfig) -> None:
        super().__init__(config)
        self.positions = nn.Embedding(config.max_len, config.dim)
        self.dropout = Dropout(config.dropout)
        self.blocks = nn.ModuleList(_HstuBlock(config) for _ in range(config.blocks))
        self.norm = nn.LayerNorm(config.dim)
        nn.init.trunc_normal_(self.positions.weight, std=config.dim**-0.5)  # the authors' code

    def forward(
        self, x: Float[Tensor, "batch len dim"], real: Bool[Tensor, "batch len"]
    ) -> Float[Tensor, "batch len dim"]:
        position_ids = torch.arange(x.shape[1], device=x.device)
        x = self.dropout(x * self.config.dim**0.5 + self.positions(position_ids))
        for block in self.blocks:
            x = block(x)
        states: Tensor = self.norm(x)
        return states
