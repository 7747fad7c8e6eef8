"""What contrastive losses share: logits of pairs, and what each row costs."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from llmemb_plugins.losses._negatives import without_duplicates


def cosine_logits(
    left: Float[Tensor, "batch dim"],
    right: Float[Tensor, "batch dim"],
    temperature: float | Tensor,
    duplicates: Bool[Tensor, "batch batch"] | None = None,
) -> Float[Tensor, "batch batch"]:
    """cos(left_i, right_j) / temperature; rows of one meaning (`duplicates`) are no negatives of each other."""
    cosines = functional.normalize(left.float()) @ functional.normalize(right.float()).T
    return without_duplicates(cosines / temperature, duplicates)


def costs_of_rows(logits: Float[Tensor, "batch batch"]) -> Float[Tensor, "batch"]:
    """-log softmax_j(logits_ij)[i] of each row i: InfoNCE, before any mean."""
    own = torch.arange(len(logits), device=logits.device)
    return functional.cross_entropy(logits, own, reduction="none")
