"""Binary cross-entropy of each target against sampled negatives (the paper's, with one negative)."""

from __future__ import annotations

from typing import Annotated

from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from llmemb_bench.contracts import Negatives, weighted_mean
from llmemb_plugins.objectives._sampled import SampledConfig, SampledObjective


class BceConfig(SampledConfig):
    """Settings of `bce`."""

    negatives: Annotated[int, Field(ge=1)] = 1
    """Negatives per target (SASRec and LLMEmb: 1)."""


class BinaryCrossEntropy(SampledObjective):
    """-log s(h·v+) - mean_j log(1 - s(h·v_j)), averaged over targets (Kang & McAuley 2018, eq. 7; LLMEmb's RAT).

    The positive weighs as much as all negatives together, however many there are.
    """

    config: BceConfig

    def forward(
        self,
        states: Float[Tensor, "targets width"],
        vectors: Float[Tensor, "rows width"],
        positives: Int[Tensor, "targets"],
        negatives: Negatives,
        weights: Float[Tensor, "targets"] | None = None,
    ) -> Float[Tensor, ""]:
        hits = (states * functional.embedding(positives, vectors)).sum(-1)
        misses = functional.softplus(negatives.scores(states, vectors)).sum(-1) / negatives.sizes()  # [targets]
        return weighted_mean(functional.softplus(-hits) + misses, weights)
