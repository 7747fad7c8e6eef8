"""VICReg: views of an item are near, every feature varies over a batch, and no two vary together."""

from __future__ import annotations

from typing import Annotated

from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from llmemb_bench.contracts import Loss
from llmemb_bench.registry.config import Config
from llmemb_plugins.losses._features import off_diagonal_squares

LEAST = 1e-4
"""Added to a variance, so that its root has a slope at 0 (paper)."""


class VicregConfig(Config):
    """Settings of `vicreg`."""

    invariance: Annotated[float, Field(ge=0)] = 25.0
    """Weight of the distance of views (Bardes et al. 2022: 25)."""
    variance: Annotated[float, Field(ge=0)] = 25.0
    """Weight of the hinge on standard deviations (paper: 25)."""
    covariance: Annotated[float, Field(ge=0)] = 1.0
    """Weight of the covariances (paper: 1)."""
    deviation: Annotated[float, Field(gt=0)] = 1.0
    """Standard deviation that a feature should have at least (paper: gamma 1); encoders whose vectors are of length one
    have 1 / sqrt(width)."""


class Vicreg(Loss):
    """invariance * s + variance * (v(left) + v(right)) + covariance * (c(left) + c(right)) (Bardes et al. 2022, eq. 1
    to 6): v = mean_j max(0, gamma - sqrt(Var_j + 0.0001)), c = sum_{i != j} Cov_ij^2 / dim, s the mean squared
    difference.

    s is a mean over features too, as in the paper's algorithm 1 (eq. 5 sums over them). It acts on the vectors
    themselves: the paper's expander is no part of a loss here.
    """

    config: VicregConfig
    has_negatives = False

    def forward(
        self,
        left: Float[Tensor, "batch dim"],
        right: Float[Tensor, "batch dim"],
        duplicates: Bool[Tensor, "batch batch"] | None = None,
    ) -> Float[Tensor, ""]:
        left, right = left.float(), right.float()
        near = self.config.invariance * functional.mse_loss(left, right)
        return near + self._spread(left) + self._spread(right)

    def _spread(self, vectors: Float[Tensor, "batch dim"]) -> Float[Tensor, ""]:
        centred = vectors - vectors.mean(0)
        covariances = centred.T @ centred / (len(vectors) - 1)  # [dim, dim]
        deviations = (covariances.diagonal() + LEAST).sqrt()
        hinge = functional.relu(self.config.deviation - deviations).mean()
        together = off_diagonal_squares(covariances) / vectors.shape[1]
        return self.config.variance * hinge + self.config.covariance * together
