"""The contract of objectives: states and vectors in, a scalar out.

Axes: `targets` predictions of a training batch, `rows` its distinct items, `width` what a similarity makes of states
and vectors.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

from jaxtyping import Float, Int
from torch import Tensor

from llmemb_bench.contracts.batch import Negatives, Sampling
from llmemb_bench.contracts.text import TorchPlugin


class Objective(TorchPlugin):
    """States, positives and negatives in, a scalar out: a mean over the targets, so that it can be taken in blocks.

    A score is the product of a state and a vector: what a method's similarity makes of them is done before.
    """

    sampling: Sampling = Sampling()
    """How negatives are drawn."""
    whole_catalogue: ClassVar[bool] = False
    """Whether `vectors` must hold every item (its row r is then item r + 1)."""

    @abstractmethod
    def forward(
        self,
        states: Float[Tensor, "targets width"],
        vectors: Float[Tensor, "rows width"],
        positives: Int[Tensor, "targets"],
        negatives: Negatives,
        weights: Float[Tensor, "targets"] | None = None,
    ) -> Float[Tensor, ""]:
        """The mean of what each target costs, each times its weight where there are any; `weights` are passed only
        where a method gives its targets some."""


def weighted_mean(losses: Float[Tensor, "targets"], weights: Float[Tensor, "targets"] | None) -> Float[Tensor, ""]:
    """The mean over the targets of what each costs times its weight, as an objective returns it."""
    return losses.mean() if weights is None else (losses * weights).mean()
