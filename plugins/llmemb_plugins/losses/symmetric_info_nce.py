"""InfoNCE in both directions, averaged (as CLIP trains)."""

from __future__ import annotations

from typing import Annotated

import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from llmemb_bench.contracts import Loss
from llmemb_bench.registry.config import Config
from llmemb_plugins.losses._negatives import without_duplicates


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
        cosines = functional.normalize(left.float()) @ functional.normalize(right.float()).T  # [batch, batch]
        logits = without_duplicates(cosines / self.config.temperature, duplicates)
        own = torch.arange(len(left), device=left.device)
        return (functional.cross_entropy(logits, own) + functional.cross_entropy(logits.T, own)) / 2
