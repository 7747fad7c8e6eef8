"""Supervised contrastive loss of two views: every view is an anchor, all others are its candidates."""

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


class SupConConfig(Config):
    """Settings of `supcon`."""

    temperature: Annotated[float, Field(gt=0)] = 0.1
    """Divides the cosines (Khosla et al. 2020: 0.1)."""


class SupCon(Loss):
    """-log exp(z_i.z_p / t) / sum_{a != i} exp(z_i.z_a / t), p the other view (Khosla et al. 2020, eq. 2).

    The item is the label, so each anchor has one positive among 2 batch - 1 candidates (SimCLR's NT-Xent).
    """

    config: SupConConfig

    def forward(
        self,
        left: Float[Tensor, "batch dim"],
        right: Float[Tensor, "batch dim"],
        duplicates: Bool[Tensor, "batch batch"] | None = None,
    ) -> Float[Tensor, ""]:
        views = functional.normalize(torch.cat([left, right]).float())  # [2 batch, dim]
        logits = views @ views.T / self.config.temperature  # [2 batch, 2 batch]
        logits = without_duplicates(logits, None if duplicates is None else duplicates.repeat(2, 2)).fill_diagonal_(
            -torch.inf
        )
        other = torch.arange(len(views), device=left.device).roll(len(left))
        return functional.cross_entropy(logits, other)
