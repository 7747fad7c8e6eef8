"""WhitenRec: whitened text vectors through a projector (Zhang et al., ICDE 2024, arXiv 2402.10602)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from llmemb_bench.contracts import Parts
from llmemb_plugins.methods._whitened import Whitened, WhitenedConfig


class WhitenRecConfig(WhitenedConfig):
    """Settings of `whitenrec`."""

    groups: Annotated[int, Field(ge=1)] = 1
    """Equal groups of dimensions, each whitened for itself (paper: 1)."""


class WhitenRec(Whitened):
    """v_i = P((E_i - mean) C^-1/2), C the covariance of the text vectors, which stay frozen; cosine by temperature.

    P is drop, W1, ReLU, drop, W2, ReLU, as in the authors' later code (lzz0007/DWSRec; theirs for this paper is not
    public). It is meant for `objective: cross_entropy` over the whole catalogue.
    """

    config: WhitenRecConfig

    def __init__(self, config: WhitenRecConfig, parts: Parts) -> None:
        super().__init__(config, parts, (config.groups,))
