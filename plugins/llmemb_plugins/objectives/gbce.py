"""Binary cross-entropy corrected for negative sampling: gBCE of gSASRec (Petrov & Macdonald, RecSys 2023)."""

from __future__ import annotations

from typing import Annotated

from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from llmemb_bench.contracts import Negatives, weighted_mean
from llmemb_plugins.objectives._sampled import SampledConfig, SampledObjective


class GbceConfig(SampledConfig):
    """Settings of `gbce`."""

    negatives: Annotated[int, Field(ge=1)] = 256
    """Negatives per target (paper: 256)."""
    calibration: Annotated[float, Field(ge=0, le=1)] = 0.75
    """t: 0 is plain binary cross-entropy, 1 gives scores that are probabilities (paper: 0.75)."""


class GeneralisedBinaryCrossEntropy(SampledObjective):
    """-(1 / (k + 1)) (beta log s(h·v+) + sum_j log(1 - s(h·v_j))), beta = a (t (1 - 1/a) + 1/a), a = k / (N - 1)
    (paper, eqs. 14 and 22; k negatives of N items)."""

    config: GbceConfig

    def forward(
        self,
        states: Float[Tensor, "targets width"],
        vectors: Float[Tensor, "rows width"],
        positives: Int[Tensor, "targets"],
        negatives: Negatives,
        weights: Float[Tensor, "targets"] | None = None,
    ) -> Float[Tensor, ""]:
        rate = min(negatives.count / (negatives.n_items - 1), 1.0)
        beta = rate * (self.config.calibration * (1 - 1 / rate) + 1 / rate)
        hits = (states * functional.embedding(positives, vectors)).sum(-1)
        misses = functional.softplus(negatives.scores(states, vectors)).sum(-1)  # [targets]
        return weighted_mean((beta * functional.softplus(-hits) + misses) / (negatives.sizes() + 1), weights)
