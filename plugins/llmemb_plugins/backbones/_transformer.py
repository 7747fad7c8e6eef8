"""The attention block that `sasrec` and `bert4rec` share."""

from __future__ import annotations

from typing import Annotated

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional

from llmemb_bench.contracts import BackboneConfig
from llmemb_plugins.backbones._dropout import Dropout, dropout


class AttentionConfig(BackboneConfig):
    """Settings of backbones with attention heads."""

    heads: Annotated[int, Field(ge=1)] = 1
    """Attention heads; must divide `dim`."""

    @model_validator(mode="after")
    def _heads_divide(self) -> AttentionConfig:
        if self.dim % self.heads:
            raise ValueError(f"dim {self.dim} should be a multiple of heads {self.heads}")
        return self


class Block(nn.Module):
    """Pre-norm self-attention and a two-layer feed-forward net, each with dropout and a residual."""

    def __init__(self, dim: int, heads: int, dropout: float, activation: nn.Module, inner: int) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.norm_attention, self.norm_net = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.project = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)
        self.net = nn.Sequential(
            nn.Linear(dim, inner), activation, Dropout(dropout), nn.Linear(inner, dim), Dropout(dropout)
        )

    def forward(
        self,
        x: Float[Tensor, "batch len dim"],
        visible: Bool[Tensor, "batch len"] | None,
        missing: Int[Tensor, "batch"] | None = None,
    ) -> Float[Tensor, "batch len dim"]:
        """`visible` are the positions that may be attended to; None means causal attention. `missing` zero vectors a
        history are attended to besides."""
        normed = self.norm_attention(x)
        x = x + (self._attend(normed, visible) if missing is None else self._attend_padding(normed, visible, missing))
        net: Tensor = self.net(self.norm_net(x))
        return x + net

    def _attend(
        self, x: Float[Tensor, "batch len dim"], visible: Bool[Tensor, "batch len"] | None
    ) -> Float[Tensor, "batch len dim"]:
        batch, length, dim = x.shape
        split = self.project(x).view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        queries, keys, values = split.unbind(0)  # each [batch, heads, len, dim / heads]
        drop = self.dropout if self.training else 0.0
        if drop and x.device.type == "cpu":
            attended = self._attend_and_drop(queries, keys, values, visible)
        else:
            seen = None if visible is None else visible[:, None, None, :]
            attended = functional.scaled_dot_product_attention(
                queries, keys, values, attn_mask=seen, dropout_p=drop, is_causal=visible is None
            )
        out: Tensor = self.out(attended.transpose(1, 2).reshape(batch, length, dim))
        return dropout(out, self.dropout, self.training)

    def _attend_padding(
        self,
        x: Float[Tensor, "batch len dim"],
        visible: Bool[Tensor, "batch len"] | None,
        missing: Int[Tensor, "batch"],
    ) -> Float[Tensor, "batch len dim"]:
        """Zero vectors are all the same key, so that one of them, weighed by their number, stands for all."""
        zero = self.norm_attention(x.new_zeros(1, 1, x.shape[2])).expand(len(x), 1, -1)
        batch, length, dim = x.shape
        split = self.project(torch.cat([x, zero], dim=1)).view(batch, length + 1, 3, self.heads, -1)
        queries, keys, values = split.permute(2, 0, 3, 1, 4).unbind(0)
        weights = (queries[:, :, :-1] * keys.shape[-1] ** -0.5) @ keys.transpose(-1, -2)
        seen = torch.ones_like(missing[:, None], dtype=torch.bool).expand(-1, length) if visible is None else visible
        shares = torch.cat([seen.to(weights.dtype), missing[:, None].to(weights.dtype)], dim=1).log()
        weights = (weights + shares[:, None, None]).softmax(-1)
        mixed = (dropout(weights, self.dropout, self.training) @ values).transpose(1, 2).reshape(batch, length, dim)
        return dropout(self.out(mixed), self.dropout, self.training)

    def _attend_and_drop(
        self,
        queries: Float[Tensor, "batch heads len head"],
        keys: Float[Tensor, "batch heads len head"],
        values: Float[Tensor, "batch heads len head"],
        visible: Bool[Tensor, "batch len"] | None,
    ) -> Float[Tensor, "batch heads len head"]:
        """torch has no fused attention with dropout on a CPU, and its other one draws slowly."""
        length = queries.shape[2]
        weights = (queries * keys.shape[-1] ** -0.5) @ keys.transpose(-1, -2)  # [batch, heads, len, len]
        if visible is None:
            hidden = torch.ones(length, length, dtype=torch.bool, device=weights.device).triu(1)
        else:
            hidden = ~visible[:, None, None, :]
        weights = weights.masked_fill(hidden, -torch.inf).softmax(-1)
        return dropout(weights, self.dropout, training=True) @ values
