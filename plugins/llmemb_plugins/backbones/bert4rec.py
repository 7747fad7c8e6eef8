"""BERT4Rec: bidirectional self-attention trained to find hidden items (Sun et al., CIKM 2019)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator
from torch import nn

from llmemb_bench.contracts import Cloze
from llmemb_plugins.backbones._transformer import EPSILON, BlocksConfig, Stack, blocks_of

Share = Annotated[float, Field(ge=0, lt=1)]


class Bert4RecConfig(BlocksConfig):
    """Settings of `bert4rec`."""

    max_len: Annotated[int, Field(ge=2)] = 50
    """Longest history that the model sees and the mask after it, in events; the latest are kept."""
    heads: Annotated[int, Field(ge=1)] = 1
    """Attention heads; must divide `dim` (LLMEmb's code: 1)."""
    hidden: Annotated[float, Field(gt=0, lt=1)] = 0.6
    """Share of a training history that is hidden (LLMEmb's code: 0.6)."""
    shown: Annotated[list[Share], Field(min_length=2, max_length=2)] = [0.0, 0.0]
    """Of the positions hidden at random, the shares that show a random item, and the item itself, instead of the mask
    (LLMEmb's code and BERT: 0.1 and 0.1; BERT4Rec's authors: none; docs/departures.md)."""

    @model_validator(mode="after")
    def _something_is_masked(self) -> Bert4RecConfig:
        if sum(self.shown) >= 1:
            raise ValueError(f"the shares {self.shown} leave no room for the mask")
        return self


class Bert4Rec(Stack):
    """Both directions, padding masked as keys. The last position of `max_len` is the mask's, so that the position
    asked about in ranking is one that was trained (docs/departures.md 18)."""

    config: Bert4RecConfig

    def __init__(self, config: Bert4RecConfig) -> None:
        super().__init__(config, blocks_of(config, nn.GELU, 4 * config.dim), EPSILON[config.block])
        self.task = Cloze(config.hidden, *config.shown)

    def is_causal(self) -> bool:
        return False

    def sees_padding(self) -> bool:
        return self.config.padding == "attend"
