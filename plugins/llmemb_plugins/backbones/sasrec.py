"""SASRec: causal self-attention over the history (Kang & McAuley, ICDM 2018)."""

from __future__ import annotations

from typing import Annotated, Literal

from jaxtyping import Bool, Int
from pydantic import Field, model_validator
from torch import Tensor, nn

from llmemb_plugins.backbones._transformer import EPSILON, BlocksConfig, Stack, blocks_of


class SasRecConfig(BlocksConfig):
    """Settings of `sasrec`."""

    heads: Annotated[int, Field(ge=1)] = 1
    """Attention heads; must divide `dim` (paper: 1)."""
    attention: Literal["causal", "bidirectional"] = "causal"
    """`bidirectional` is what LLMEmb's published code trains (docs/departures.md 1): every position then sees
    the item it has to predict, so only use it to repeat that setting."""
    positions: Literal["first", "last"] = "first"
    """Which event positions count from. `first`: as in LLMEmb's code, an event keeps its position while its history
    grows to `max_len`. `last`: as in the original SASRec, whose window of `max_len` ends with the last event, so
    that a position says how recent an event is (docs/departures.md 31)."""

    inputs: Literal["scaled", "plain"] = "scaled"
    """Whether item vectors are multiplied by sqrt(dim) before positions are added to them (the original and LLMEmb's
    code), or taken as they are (RecTools): ids that start short then start below their positions."""

    @model_validator(mode="after")
    def _padding_is_seen(self) -> SasRecConfig:
        if self.padding == "attend" and self.attention == "causal":
            raise ValueError("padding: attend needs attention: bidirectional, for padding follows the events")
        return self


class SasRec(Stack):
    """Attention blocks over item vectors, scaled by sqrt(dim), plus learnt positions; LayerNorm at the end."""

    config: SasRecConfig

    def __init__(self, config: SasRecConfig) -> None:
        super().__init__(config, blocks_of(config, nn.ReLU, config.dim), EPSILON[config.block])

    def scale(self) -> float:
        return super().scale() if self.config.inputs == "scaled" else 1.0

    def is_causal(self) -> bool:
        return self.config.attention == "causal"

    def sees_padding(self) -> bool:
        return self.config.padding == "attend"

    def position_ids(self, real: Bool[Tensor, "batch len"]) -> Int[Tensor, "batch len"]:
        position_ids = super().position_ids(real)
        if self.config.positions == "first":
            return position_ids
        free = self.config.max_len - real.sum(1, keepdim=True)
        return (position_ids + free).clamp(max=self.config.max_len - 1)
