"""What backbones of attention blocks share: the blocks, which position sees which, and the frame around them."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional

from llmemb_bench.contracts import Backbone, BackboneConfig, Depth
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

    blocks: Depth = 2
    """Attention blocks (paper: 2)."""
    block: Literal["pre_norm", "published"] = "pre_norm"
    """`published` is the block of LLMEmb's code and of the PyTorch port of SASRec that it builds on: of the
    attention only queries are normed, and both sums add to the normed stream (docs/departures.md 30)."""
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

    def forward(self, x: Float[Tensor, "*positions dim"], sight: Sight) -> Float[Tensor, "*positions dim"]:
        x = x + self._attention(x, sight)
        net: Tensor = self.net(self.norm_net(x))
        return x + net

    def _attention(self, x: Float[Tensor, "*positions dim"], sight: Sight) -> Float[Tensor, "*positions dim"]:
        queries, keys, values = self.project(self.norm_attention(sight.keys_of(x))).chunk(3, -1)
        return dropout(self._attend(queries, keys, values, sight), self.dropout, self.training)

    def _attend(
        self,
        queries: Float[Tensor, "*asked dim"],
        keys: Float[Tensor, "*keys dim"],
        values: Float[Tensor, "*keys dim"],
        sight: Sight,
    ) -> Float[Tensor, "*positions dim"]:
        drop = self.dropout if self.training else 0.0
        out: Tensor = self.out(sight.attend((queries, keys, values), self.heads, drop))
        return out


class PublishedBlock(Block):
    """q = norm(x);  y = norm(q + A(q, x));  z = y + F(y), for A = attention of q to x as it stands, without dropout
    after it, and F = a two-layer net as wide as the model, with ReLU (LLMEmb's code).

    That code sets padding to zero after each block. Real positions read it as a key alone, so that here only the keys
    are zero. Attention starts as `torch.nn.MultiheadAttention` does: `project` is one matrix, and with biases of zero
    padding that is attended to has score 0 and value 0.
    """

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__(dim, heads, dropout, nn.ReLU(), dim, EPSILON["published"])
        nn.init.xavier_uniform_(self.project.weight)
        nn.init.zeros_(self.project.bias)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Float[Tensor, "*positions dim"], sight: Sight) -> Float[Tensor, "*positions dim"]:
        normed, weight, bias, dim = self.norm_attention(x), self.project.weight, self.project.bias, x.shape[-1]
        queries = functional.linear(normed, weight[:dim], bias[:dim])
        keys, values = functional.linear(sight.keys_of(x), weight[dim:], bias[dim:]).chunk(2, -1)
        x = self.norm_net(normed + self._attend(queries, keys, values, sight))
        net: Tensor = self.net(x)
        return x + net


def blocks_of(config: BlocksConfig, activation: type[nn.Module], inner: int) -> Iterator[Block]:
    """The blocks of a backbone; activation and inner width are its own, but for the published block."""

    for _ in range(config.blocks):
        if config.block == "published":
            yield PublishedBlock(config.dim, config.heads, config.dropout)
        else:
            yield Block(config.dim, config.heads, config.dropout, activation(), inner)


class Sight(ABC):
    """Which positions attend to which, and how the positions lie in memory."""

    @abstractmethod
    def keys_of(self, x: Float[Tensor, "*positions dim"]) -> Float[Tensor, "*keys dim"]:
        """What is attended to: the positions, and padding where that is asked for."""

    @abstractmethod
    def attend(
        self, parts: tuple[Float[Tensor, "*_ dim"], ...], heads: int, drop: float
    ) -> Float[Tensor, "*positions dim"]:
        """Mixed values at every position; `parts` are queries, keys and values."""


@dataclass(frozen=True)
class Padded(Sight):
    """Histories [batch, len, dim] filled up with padding after their events."""

    counts: Float[Tensor, "batch 1 1 keys"] | None
    """The log of how often each key is attended to; None means causal attention."""
    fills: bool = False
    """Whether a zero vector, the last of the keys, stands for the padding that is attended to."""

    @classmethod
    def both_ways(
        cls, x: Float[Tensor, "batch len dim"], real: Bool[Tensor, "batch len"], max_len: int, *, fills: bool
    ) -> Padded:
        """Every real key is attended to once. Padding that is attended to is the same key at every position, so one
        zero vector stands for all of it, as often as `max_len` leaves positions."""
        counts = real.to(x.dtype)
        if fills:
            counts = torch.cat([counts, max_len - counts.sum(1, keepdim=True)], dim=1)
        return cls(counts.log()[:, None, None], fills)

    def keys_of(self, x: Float[Tensor, "batch len dim"]) -> Float[Tensor, "batch keys dim"]:
        return functional.pad(x, (0, 0, 0, 1)) if self.fills else x

    def attend(
        self, parts: tuple[Float[Tensor, "batch _ dim"], ...], heads: int, drop: float
    ) -> Float[Tensor, "batch len dim"]:
        queries, keys, values = parts
        if self.fills and queries.shape[1] == keys.shape[1]:
            queries = queries[:, :-1]  # the zero vector asks nothing
        split = [part.view(*part.shape[:2], heads, -1).transpose(1, 2) for part in (queries, keys, values)]
        return _mixed(split[0], split[1], split[2], self.counts, drop).transpose(1, 2).flatten(2)


@dataclass(frozen=True)
class Ragged(Sight):
    """Real positions alone [positions, dim], one history after another; only the attention is padded, group by group.

    All but the attention looks at one position at a time, so that padding would be computed for nothing.
    """

    rows: Int[Tensor, "padded"]
    """Which real position is at each position of the flattened groups; at padding any, since none attends to it."""
    real_indices: Int[Tensor, "positions"]
    """Which positions of the flattened groups are real."""
    shapes: tuple[tuple[int, int], ...]
    """Histories and their padded length, of each group."""
    counts: tuple[Float[Tensor, "_ 1 1 _"] | None, ...]
    """As of `Padded`, for each group."""

    @classmethod
    def of(cls, groups: Sequence[Bool[Tensor, "_ _"]], *, causal: bool) -> Ragged:
        """From where the groups of a batch have real positions."""
        real = torch.cat([group.flatten() for group in groups])
        rows = (real.cumsum(0) - 1).clamp(min=0)
        counts = tuple(None if causal else group.to(torch.float32).log()[:, None, None] for group in groups)
        return cls(rows, real.nonzero().squeeze(1), tuple((len(group), group.shape[1]) for group in groups), counts)

    def keys_of(self, x: Float[Tensor, "positions dim"]) -> Float[Tensor, "positions dim"]:
        return x

    def attend(
        self, parts: tuple[Float[Tensor, "positions dim"], ...], heads: int, drop: float
    ) -> Float[Tensor, "positions dim"]:
        padded = functional.embedding(self.rows, torch.cat(parts, dim=-1)).view(len(self.rows), 3, heads, -1)
        mixed = []
        sizes = [batch * length for batch, length in self.shapes]
        for group, shape, counts in zip(torch.split(padded, sizes), self.shapes, self.counts, strict=True):
            queries, keys, values = group.view(*shape, *group.shape[1:]).permute(2, 0, 3, 1, 4).unbind(0)
            mixed.append(_mixed(queries, keys, values, counts, drop).transpose(1, 2).flatten(2).flatten(0, 1))
        return functional.embedding(self.real_indices, torch.cat(mixed))


def _mixed(
    queries: Float[Tensor, "batch heads len head"],
    keys: Float[Tensor, "batch heads keys head"],
    values: Float[Tensor, "batch heads keys head"],
    counts: Float[Tensor, "batch 1 1 keys"] | None,
    drop: float,
) -> Float[Tensor, "batch heads len head"]:
    if drop and queries.device.type == "cpu":
        return _attend_and_drop(queries, keys, values, counts, drop)
    return functional.scaled_dot_product_attention(
        queries, keys, values, attn_mask=counts, dropout_p=drop, is_causal=counts is None
    )


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


class Stack(Backbone):
    """The frame that backbones of attention blocks share: item vectors scaled by sqrt(dim), learnt positions added,
    blocks, LayerNorm at the end. Padding follows the real events, so that causal attention never sees it."""

    config: AttentionConfig
    positions_per_group = 256  # measured: in training only attention is padded

    def __init__(self, config: AttentionConfig, blocks: Iterable[Block], epsilon: float = EPSILON["pre_norm"]) -> None:
        super().__init__(config)
        self.positions = nn.Embedding(config.max_len, config.dim)
        self.dropout = Dropout(config.dropout)
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.LayerNorm(config.dim, eps=epsilon)
        nn.init.normal_(self.positions.weight, std=0.02)

    def scale(self) -> float:
        """What item vectors are multiplied by."""
        return math.sqrt(self.config.dim)

    def is_causal(self) -> bool:
        """Whether a position sees those before it and itself, or all real ones."""
        return True

    def sees_padding(self) -> bool:
        """Whether padding is attended to."""
        return False

    def position_ids(self, real: Bool[Tensor, "batch len"]) -> Int[Tensor, "batch len"]:
        """Rows of the table of positions; those of padding do not matter."""
        return torch.arange(real.shape[1], device=real.device).expand(real.shape)

    def forward(
        self, x: Float[Tensor, "batch len dim"], real: Bool[Tensor, "batch len"]
    ) -> Float[Tensor, "batch len dim"]:
        if self.is_causal():
            return self._states(x, self.position_ids(real), Padded(None))
        sight = Padded.both_ways(x, real, self.config.max_len, fills=self.sees_padding())
        return self._states(x, self.position_ids(real), sight)

    def forward_groups(
        self, x: Float[Tensor, "positions dim"], groups: Sequence[Bool[Tensor, "_ _"]]
    ) -> Float[Tensor, "positions dim"]:
        if self.sees_padding() or self.is_compiled:
            return super().forward_groups(x, groups)
        position_ids = torch.cat([self.position_ids(real)[real] for real in groups])
        return self._states(x, position_ids, Ragged.of(groups, causal=self.is_causal()))

    def _states(
        self, x: Float[Tensor, "*positions dim"], position_ids: Int[Tensor, "*positions"], sight: Sight
    ) -> Float[Tensor, "*positions dim"]:
        x = self.dropout(x * self.scale() + self.positions(position_ids))
        for block in self.blocks:
            x = block(x, sight)
        states: Tensor = self.norm(x)
        return states
