"""skeleton: say in one line what the loss pulls together."""

from __future__ import annotations

from typing import Annotated

import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from llmemb_bench.contracts import Loss
from llmemb_bench.registry.config import Config


class SkeletonConfig(Config):
    """Settings of `skeleton`."""

    temperature: Annotated[float, Field(gt=0)] = 0.1
    """Divides the cosines (say where the number comes from)."""


class Skeleton(Loss):
    """Write the equation and its source."""

    config: SkeletonConfig

    def forward(
        self,
        left: Float[Tensor, "batch dim"],
        right: Float[Tensor, "batch dim"],
        duplicates: Bool[Tensor, "batch batch"] | None = None,
    ) -> Float[Tensor, ""]:
        logits = functional.normalize(left) @ functional.normalize(right).T / self.config.temperature  # [batch, batch]
        if duplicates is not None:  # rows of one meaning are no negatives of each other
            logits = logits.masked_fill(duplicates, -torch.inf)
        return functional.cross_entropy(logits, torch.arange(len(left), device=left.device))
