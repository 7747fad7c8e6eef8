"""Binary cross-entropy of each target against sampled negatives (the paper's, with one negative)."""

from __future__ import annotations

from typing import Annotated

from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from llmemb_bench.config import Config
from llmemb_bench.contracts import Objective


class BceConfig(Config):
    """Settings of `bce`."""

    negatives: Annotated[int, Field(ge=1)] = 1
    """Negatives a target (SASRec and LLMEmb: 1)."""


class BinaryCrossEntropy(Objective):
    """-log s(h·v+) - log(1 - s(h·v-)), each averaged (Kang & McAuley 2018, eq. 7; LLMEmb's RAT)."""

    config: BceConfig

    def __init__(self, config: BceConfig) -> None:
        super().__init__(config)
        self.n_negatives = config.negatives

    def forward(
        self,
        states: Float[Tensor, "targets dim"],
        vectors: Float[Tensor, "rows dim"],
        positives: Int[Tensor, "targets"],
        negatives: Int[Tensor, "targets negatives"],
    ) -> Float[Tensor, ""]:
        hits = (states * functional.embedding(positives, vectors)).sum(-1)
        misses = (states[:, None] * functional.embedding(negatives, vectors)).sum(-1)  # [targets, negatives]
        return functional.softplus(-hits).mean() + functional.softplus(misses).mean()
