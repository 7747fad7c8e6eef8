"""InfoNCE in both directions, averaged (as CLIP trains)."""

from __future__ import annotations

from typing import Annotated

from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor

from llmemb_bench.contracts import Loss
from llmemb_bench.registry.config import Config
from llmemb_plugins._contrast import cosine_logits, costs_of_rows


class SymmetricInfoNceConfig(Config):
    """Settings of `symmetric_info_nce`."""

    temperature: Annotated[float, Field(gt=0)] = 0.07
    """Divides the cosines (CLIP starts at 0.07)."""


class SymmetricInfoNce(Loss):
    """Mean of the cross-entropies over rows and over columns of cos(left, right) / t (Radford et al. 2021, fig. 3)."""

    config: SymmetricInfoNceConfig

    def forward(
        self,
        left: Float[Tensor, "batch dim"],
        right: Float[Tensor, "batch dim"],
        duplicates: Bool[Tensor, "batch batch"] | None = None,
    ) -> Float[Tensor, ""]:
        logits = cosine_logits(left, right, self.config.temperature, duplicates)
        return (costs_of_rows(logits).mean() + costs_of_rows(logits.T).mean()) / 2
