"""Barlow Twins: over a batch, each feature of one view correlates with itself in the other, and with no other."""

from __future__ import annotations

from typing import Annotated

from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor

from llmemb_bench.contracts import Loss
from llmemb_bench.registry.config import Config
from llmemb_plugins.losses._features import off_diagonal_squares

LEAST = 1e-5
"""Added to a variance, as BatchNorm does: a feature that is constant over a batch correlates with nothing."""


class BarlowTwinsConfig(Config):
    """Settings of `barlow_twins`."""

    weight: Annotated[float, Field(ge=0)] = 5e-3
    """Of the redundancy term (Zbontar et al. 2021: 0.005)."""


class BarlowTwins(Loss):
    """sum_i (1 - C_ii)^2 + weight * sum_{i != j} C_ij^2, C [dim, dim] the correlations of left with right over the
    batch (Zbontar et al. 2021, eq. 1 and 2).

    It acts on the vectors themselves: the paper's projector of 8,192 features is no part of a loss here. A batch
    smaller than the vectors are wide cannot bring C to the identity.
    """

    config: BarlowTwinsConfig
    has_negatives = False

    def forward(
        self,
        left: Float[Tensor, "batch dim"],
        right: Float[Tensor, "batch dim"],
        duplicates: Bool[Tensor, "batch batch"] | None = None,
    ) -> Float[Tensor, ""]:
        correlations = _standardized(left).T @ _standardized(right) / len(left)  # [dim, dim]
        own = (1 - correlations.diagonal()).square().sum()
        return own + self.config.weight * off_diagonal_squares(correlations)


def _standardized(vectors: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch dim"]:
    centred = vectors.float() - vectors.float().mean(0)
    return centred / (centred.square().mean(0) + LEAST).sqrt()
