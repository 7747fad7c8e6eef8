"""InfoNCE: find the own other view among the batch, by cosine, in one direction."""

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
        cosines = functional.normalize(left.float()) @ functional.normalize(right.float()).T  # [batch, batch]
        own = torch.arange(len(left), device=left.device)
        return functional.cross_entropy(without_duplicates(cosines / self.config.temperature, duplicates), own)
