"""eSASRec: SASRec with gated pre-norm blocks and SwiGLU (Tikhonovich et al., RecSys 2025)."""

from __future__ import annotations

from typing import Annotated

from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from llmemb_bench.contracts import Depth
from llmemb_plugins.backbones._dropout import Dropout
from llmemb_plugins.backbones._transformer import AttentionConfig, Block, Sight, Stack


class ESasRecConfig(AttentionConfig):
    """Settings of `esasrec`."""

    blocks: Depth = 2
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

    def forward(self, x: Float[Tensor, "*positions dim"]) -> Float[Tensor, "*positions inner"]:
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

    def forward(self, x: Float[Tensor, "*positions dim"], sight: Sight) -> Float[Tensor, "*positions dim"]:
        x = x + self.gate_attention(x).sigmoid() * self._attention(x, sight)
        out: Tensor = x + self.gate_net(x).sigmoid() * self.net(self.norm_net(x))
        return out


class ESasRec(Stack):
    """SASRec's frame (vectors scaled by sqrt(dim), learnt positions, LayerNorm at the end) around LiGR blocks.

    RecTools neither scales nor ends with a norm, and counts positions from the last event; here both frames are the
    same, so that `sasrec` and `esasrec` differ by their blocks alone. The paper's third part, a sampled softmax
    over mixed negatives, is an objective and not a backbone.
    """

    config: ESasRecConfig

    def __init__(self, config: ESasRecConfig) -> None:
        super().__init__(
            config,
            (
                _LigrBlock(config.dim, config.heads, config.dropout, config.expansion * config.dim)
                for _ in range(config.blocks)
            ),
        )
