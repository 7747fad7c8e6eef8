"""Decoupled contrastive loss (DCL): the positive pair is no candidate of its own softmax."""

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


class DecoupledConfig(Config):
    """Settings of `decoupled`."""

    temperature: Annotated[float, Field(gt=0)] = 0.1
    """Divides the cosines (Yeh et al. 2022: 0.1)."""


class Decoupled(Loss):
    """-z_i.z_p / t + log sum_a exp(z_i.z_a / t), a both views of every other item (Yeh et al. 2022, eq. 6); the mean
    over both views as anchors.

    With a small batch InfoNCE's gradient vanishes where the pair is close already; this one's does not. An anchor
    without a negative is pulled only.
    """

    config: DecoupledConfig

    def forward(
        self,
        left: Float[Tensor, "batch dim"],
        right: Float[Tensor, "batch dim"],
        duplicates: Bool[Tensor, "batch batch"] | None = None,
    ) -> Float[Tensor, ""]:
        views = functional.normalize(torch.cat([left, right]).float())  # [2 batch, dim]
        logits = views @ views.T / self.config.temperature  # [2 batch, 2 batch]
        own = torch.eye(len(left), dtype=torch.bool, device=left.device)
        hidden = (own if duplicates is None else own | duplicates).repeat(2, 2)
        others = without_duplicates(logits, hidden).logsumexp(1).masked_fill(hidden.all(1), 0)
        return (others - logits.diagonal(len(left)).repeat(2)).mean()
