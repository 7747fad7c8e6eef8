"""Softmax cross-entropy against sampled negatives, corrected for how they were drawn (log-q)."""

from __future__ import annotations

from typing import Annotated

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from llmemb_bench.contracts import Negatives, weighted_mean
from llmemb_plugins.objectives._sampled import SampledConfig, SampledObjective


class SampledSoftmaxConfig(SampledConfig):
    """Settings of `sampled_softmax`."""

    negatives: Annotated[int, Field(ge=1)] = 256
    """Negatives per target (eSASRec: 256)."""
    popularity: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """Share of the negatives drawn by training popularity; the rest is uniform (eSASRec mixes both; half is ours)."""
    log_q: bool = True
    """Whether a negative's score loses the logarithm of its expected number of draws; without that frequent items are
    pushed down for being drawn often (Bengio & Senécal 2008; Yi et al., RecSys 2019)."""


class SampledSoftmax(SampledObjective):
    """log(exp(h·v+) + sum_j exp(h·v_j - log E_j)) - h·v+, E_j the expected draws of j.

    The sum then is an unbiased estimate of that over all items which the user does not have in training, so that with
    many negatives the objective becomes cross-entropy over those and the target.
    """

    config: SampledSoftmaxConfig

    def forward(
        self,
        states: Float[Tensor, "targets width"],
        vectors: Float[Tensor, "rows width"],
        positives: Int[Tensor, "targets"],
        negatives: Negatives,
        weights: Float[Tensor, "targets"] | None = None,
    ) -> Float[Tensor, ""]:
        hits = (states * functional.embedding(positives, vectors)).sum(-1)
        misses = negatives.scores(states, vectors)  # [targets, negatives]
        if self.config.log_q:
            misses = misses - negatives.log_expected
        logits = torch.cat([hits[:, None], misses], dim=1)
        return weighted_mean(logits.logsumexp(1) - hits, weights)
