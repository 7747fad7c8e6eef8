"""Pairs that a contrastive loss must not push apart."""

from __future__ import annotations

from jaxtyping import Bool, Float
from torch import Tensor

NEVER = -1e30
"""A logit without a share in a softmax; finite, so that a target of zero times its logarithm is zero."""


def without_duplicates(
    logits: Float[Tensor, "rows columns"], duplicates: Bool[Tensor, "rows columns"] | None
) -> Float[Tensor, "rows columns"]:
    """Logits in which rows of one meaning are no negatives of each other."""
    return logits if duplicates is None else logits.masked_fill(duplicates, NEVER)
