"""Softmax cross-entropy of each target against the whole catalogue."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from llmemb_bench.contracts import Negatives, Objective
from llmemb_bench.registry.config import Config

ENTRIES_PER_TILE = {"cpu": 1 << 20, "cuda": 1 << 26}
"""Scores at a time: a tile is finished, gradient and all, while it is in the cache (measured on a CPU)."""
ROWS_PER_TILE = 64
"""At least: of fewer rows a product with a large catalogue reads the whole table for next to nothing."""


class CrossEntropyConfig(Config):
    """Nothing to set."""


class CrossEntropy(Objective):
    """-log softmax(h·V)[target] over all items, as BERT4Rec and the strong SASRec repetitions train.

    The scores are never in memory as a whole, so memory does not grow with targets x items.
    """

    config: CrossEntropyConfig
    whole_catalogue = True

    def forward(
        self,
        states: Float[Tensor, "targets width"],
        vectors: Float[Tensor, "rows width"],
        positives: Int[Tensor, "targets"],
        negatives: Negatives,
        weights: Float[Tensor, "targets"] | None = None,
    ) -> Float[Tensor, ""]:
        value: Tensor = InTiles.apply(states, vectors, positives, weights)  # type: ignore[no-untyped-call]  # torch
        return value


class InTiles(torch.autograd.Function):
    """The gradient by the scores is softmax minus one at the target, so that it is known as soon as the value is."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, vectors: Tensor, positives: Tensor, weights: Tensor | None) -> Tensor:
        by_states, by_vectors = torch.empty_like(states), torch.zeros_like(vectors)
        rows = max(ROWS_PER_TILE, ENTRIES_PER_TILE[states.device.type] // len(vectors))
        room, total = states.new_empty(min(rows, len(states)), len(vectors)), states.new_zeros(())
        for start in range(0, len(states), rows):
            tile = slice(start, start + rows)
            scores = torch.mm(states[tile], vectors.T, out=room[: len(states[tile])])
            total += _to_slope(scores, positives[tile, None], None if weights is None else weights[tile, None])
            torch.mm(scores, vectors, out=by_states[tile])
            by_vectors.addmm_(scores.T, states[tile])
        ctx.save_for_backward(by_states.div_(len(states)), by_vectors.div_(len(states)))
        return total / len(states)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, Tensor, None, None]:
        by_states, by_vectors = ctx.saved_tensors
        return upstream[0] * by_states, upstream[0] * by_vectors, None, None


def _to_slope(
    scores: Float[Tensor, "rows items"], targets: Int[Tensor, "rows 1"], weights: Float[Tensor, "rows 1"] | None
) -> Float[Tensor, ""]:
    """Sum of the cross-entropies, each times its weight; in place, scores become their gradient."""
    highest = scores.amax(1, keepdim=True)
    hits = scores.gather(1, targets) - highest
    masses = scores.sub_(highest).exp_().sum(1, keepdim=True)
    scores.div_(masses).scatter_add_(1, targets, torch.full_like(hits, -1.0))
    losses: Tensor = masses.log() - hits
    if weights is None:
        return losses.sum()
    scores.mul_(weights)
    return (losses * weights).sum()
