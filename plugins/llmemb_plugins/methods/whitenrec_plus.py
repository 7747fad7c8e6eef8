"""WhitenRec+: text vectors whitened fully and by groups, through one projector and summed (Zhang et al., ICDE 2024)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from llmemb_bench.contracts import Parts
from llmemb_plugins.methods._whitened import Whitened, WhitenedConfig


class WhitenRecPlusConfig(WhitenedConfig):
    """Settings of `whitenrec_plus`."""

    groups: Annotated[int, Field(ge=2)] = 4
    """Groups of the relaxed whitening, which leaves the correlations between groups (paper: 4 and up)."""


class WhitenRecPlus(Whitened):
    """v_i = P(white_1(E_i)) + P(white_G(E_i)): the full whitening spreads items evenly, the relaxed one keeps more of
    what the text model knew; P is `whitenrec`'s, shared by both."""

    config: WhitenRecPlusConfig

    def __init__(self, config: WhitenRecPlusConfig, parts: Parts) -> None:
        super().__init__(config, parts, (1, config.groups))
