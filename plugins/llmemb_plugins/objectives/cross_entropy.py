"""Softmax cross-entropy of each target against the whole catalogue."""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from llmemb_bench.config import Config
from llmemb_bench.contracts import Negatives, Objective


class CrossEntropyConfig(Config):
    """Nothing to set."""


class CrossEntropy(Objective):
    """-log softmax(h·V)[target] over all items, as BERT4Rec and the strong SASRec repetitions train.

    The harness takes the targets in blocks (`train: {scores_mb}`), so memory does not grow with targets x items.
    """

    config: CrossEntropyConfig
    whole_catalogue = True

    def forward(
        self,
        states: Float[Tensor, "targets dim"],
        vectors: Float[Tensor, "rows dim"],
        positives: Int[Tensor, "targets"],
        negatives: Negatives,
    ) -> Float[Tensor, ""]:
        return functional.cross_entropy(states @ vectors.T, positives)
