"""InfoNCE: find the own other view among the batch, by cosine, in one direction."""

from __future__ import annotations

from typing import Annotated

from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor

from llmemb_bench.contracts import Loss
from llmemb_bench.registry.config import Config
from llmemb_plugins._contrast import cosine_logits, costs_of_rows


class InfoNceConfig(Config):
    """Settings of `info_nce`."""

    temperature: Annotated[float, Field(gt=0)] = 0.07
    """Divides the cosines (van den Oord et al. 2018 have none; 0.07 is common since MoCo)."""


class InfoNce(Loss):
    """-log softmax_j(cos(left_i, right_j) / t)[i] (van den Oord et al. 2018, eq. 4)."""

    config: InfoNceConfig

    def forward(
        self,
        left: Float[Tensor, "batch dim"],
        right: Float[Tensor, "batch dim"],
        duplicates: Bool[Tensor, "batch batch"] | None = None,
    ) -> Float[Tensor, ""]:
        return costs_of_rows(cosine_logits(left, right, self.config.temperature, duplicates)).mean()
