"""skeleton: say in one line what training minimises."""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from llmemb_bench.contracts import Negatives, Objective, Sampling, weighted_mean
from llmemb_bench.registry.config import Config


class SkeletonConfig(Config):
    """Settings of `skeleton`."""


class Skeleton(Objective):
    """-log s(h.v+ - h.v-) (BPR; Rendle et al. 2009)."""

    config: SkeletonConfig
    sampling = Sampling(count=1)

    def forward(
        self,
        states: Float[Tensor, "targets width"],
        vectors: Float[Tensor, "rows width"],
        positives: Int[Tensor, "targets"],
        negatives: Negatives,
        weights: Float[Tensor, "targets"] | None = None,
    ) -> Float[Tensor, ""]:
        hits = (states * vectors[positives]).sum(-1, keepdim=True)
        misses = negatives.scores(states, vectors)  # [targets, negatives]
        return weighted_mean(functional.softplus(misses - hits).mean(1), weights)
