"""The attention blocks that `sasrec` and `bert4rec` share, and what counts as a key in them."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from jaxtyping import Bool, Float
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional

from llmemb_bench.contracts import BackboneConfig
from llmemb_plugins.backbones._dropout import Dropout, dropout

EPSILON = {"pre_norm": 1e-5, "published": 1e-8}
"""Added to a variance in each LayerNorm of a backbone: torch's own, and that of LLMEmb's code."""


class AttentionConfig(BackboneConfig):
    """Settings of backbones with attention heads."""

    heads: Annotated[int, Field(ge=1)] = 1
    """Attention heads; must divide `dim`."""

    @model_validator(mode="after")
    def _heads_divide(self) -> AttentionConfig:
        if self.dim % self.heads:
            raise ValueError(f"dim {self.dim} should be a multiple of heads {self.heads}")
        return self


class BlocksConfig(AttentionConfig):
    """Settings of backbones whose block and padding can be the published ones."""

    blocks: Annotated[int, Field(ge=1)] = 2
    """Attention blocks (paper: 2)."""
    block: Literal["pre_norm", "published"] = "pre_norm"
    """`published` is the block of LLMEmb's code and of the PyTorch port of SASRec behind it: of the attention only
    queries are normed, and both sums add to the normed stream (docs/departures.md 30)."""
    padding: Literal["hide", "attend"] = "hide"
    """`attend` counts the zero vectors that fill a history up to `max_len` as keys, as LLMEmb's published code does
    (docs/departures.md 2): they take most of the attention, and `max_len` says how much. Only where attention is
    bidirectional."""


class Block(nn.Module):
    """Pre-norm: y = x + A(norm x);  z = y + F(norm y), for A = self-attention and F = a two-layer net, with dropout."""

    def __init__(
        self,
        dim: int,
        heads: int,
        dropout: float,
        activation: nn.Module,
        inner: int,
        epsilon: float = EPSILON["pre_norm"],
    ) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.norm_attention, self.norm_net = nn.LayerNorm(dim, eps=epsilon), nn.LayerNorm(dim, eps=epsilon)
        self.project = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)
        self.net = nn.Sequential(
            nn.Linear(dim, inner), activation, Dropout(dropout), nn.Linear(inner, dim), Dropout(dropout)
        )

    def forward(
        self, x: Float[Tensor, "batch len dim"], counts: Float[Tensor, "batch 1 1 keys"] | None = None
    ) -> Float[Tensor, "batch len dim"]:
        """`counts` are `log_counts` of the keys; None means causal attention."""
        x = x + self._attention(x, counts)
        net: Tensor = self.net(self.norm_net(x))
        return x + net

    def _attention(
        self, x: Float[Tensor, "batch len dim"], counts: Float[Tensor, "batch 1 1 keys"] | None
    ) -> Float[Tensor, "batch len dim"]:
        queries, keys, values = self.project(self.norm_attention(_filled(x, counts))).chunk(3, -1)
        return dropout(self._attend(queries[:, : x.shape[1]], keys, values, counts), self.dropout, self.training)

    def _attend(
        self,
        queries: Float[Tensor, "batch len dim"],
        keys: Float[Tensor, "batch keys dim"],
        values: Float[Tensor, "batch keys dim"],
        counts: Float[Tensor, "batch 1 1 keys"] | None,
    ) -> Float[Tensor, "batch len dim"]:
        q, k, v = (part.view(*part.shape[:2], self.heads, -1).transpose(1, 2) for part in (queries, keys, values))
        drop = self.dropout if self.training else 0.0
        if drop and q.device.type == "cpu":
            attended = _attend_and_drop(q, k, v, counts, drop)
        else:
            attended = functional.scaled_dot_product_attention(
                q, k, v, attn_mask=counts, dropout_p=drop, is_causal=counts is None
            )
        out: Tensor = self.out(attended.transpose(1, 2).flatten(2))
        return out


class PublishedBlock(Block):
    """q = norm(x);  y = norm(q + A(q, x));  z = y + F(y), for A = attention of q to x as it stands, without dropout
    behind it, and F = a two-layer net as wide as the model, with ReLU (LLMEmb's code).

    That code sets padding to zero behind each block. Real positions read it as a key alone, so that here only the keys
    are zero. Attention starts as `torch.nn.MultiheadAttention` does: `project` is one matrix, and with biases of zero
    padding that is attended to has score 0 and value 0.
    """

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__(dim, heads, dropout, nn.ReLU(), dim, EPSILON["published"])
        nn.init.xavier_uniform_(self.project.weight)
        nn.init.zeros_(self.project.bias)
        nn.init.zeros_(self.out.bias)

    def forward(
        self, x: Float[Tensor, "batch len dim"], counts: Float[Tensor, "batch 1 1 keys"] | None = None
    ) -> Float[Tensor, "batch len dim"]:
        normed, weight, bias, dim = self.norm_attention(x), self.project.weight, self.project.bias, x.shape[-1]
        queries = functional.linear(normed, weight[:dim], bias[:dim])
        keys, values = functional.linear(_filled(x, counts), weight[dim:], bias[dim:]).chunk(2, -1)
        x = self.norm_net(normed + self._attend(queries, keys, values, counts))
        net: Tensor = self.net(x)
        return x + net


def stack(config: BlocksConfig, activation: type[nn.Module], inner: int) -> nn.ModuleList:
    """The blocks of a backbone; activation and inner width are its own, but for the published block."""

    def made() -> Block:
        if config.block == "published":
            return PublishedBlock(config.dim, config.heads, config.dropout)
        return Block(config.dim, config.heads, config.dropout, activation(), inner)

    return nn.ModuleList(made() for _ in range(config.blocks))


def log_counts(
    config: BlocksConfig, x: Float[Tensor, "batch len dim"], real: Bool[Tensor, "batch len"]
) -> Float[Tensor, "batch 1 1 keys"]:
    """The log of how often each key is attended to: once where it is real, else never.

    Padding that is attended to is the same key at every place, so that one zero vector behind the positions stands for
    all of it, as often as `max_len` leaves places.
    """
    counts = real.to(x.dtype)
    if config.padding == "attend":
        counts = torch.cat([counts, config.max_len - counts.sum(1, keepdim=True)], dim=1)
    return counts.log()[:, None, None]


def _filled(
    x: Float[Tensor, "batch len dim"], counts: Float[Tensor, "batch 1 1 keys"] | None
) -> Float[Tensor, "batch keys dim"]:
    """`x` and, where there is a key more than positions, the zero vector behind it."""
    if counts is None or counts.shape[-1] == x.shape[1]:
        return x
    return functional.pad(x, (0, 0, 0, 1))


def _attend_and_drop(
    queries: Float[Tensor, "batch heads len head"],
    keys: Float[Tensor, "batch heads keys head"],
    values: Float[Tensor, "batch heads keys head"],
    counts: Float[Tensor, "batch 1 1 keys"] | None,
    share: float,
) -> Float[Tensor, "batch heads len head"]:
    """torch has no fused attention with dropout on a CPU, and its other one draws slowly."""
    length = queries.shape[2]
    weights = (queries * keys.shape[-1] ** -0.5) @ keys.transpose(-1, -2)  # [batch, heads, len, keys]
    if counts is None:
        future = torch.ones(length, length, dtype=torch.bool, device=weights.device).triu(1)
        weights = weights.masked_fill(future, -torch.inf)
    else:
        weights = weights + counts
    return dropout(weights.softmax(-1), share, training=True) @ values
