"""Where weights start: the one owner of initialisation for all methods."""

from __future__ import annotations

import torch
from torch import nn

from llmemb_bench.contracts import Trained, VectorMethod
from llmemb_bench.settings.train import Start

ITEMS_LOOKED_AT = 4096
"""Items whose vectors tell how long a mask should be."""


@torch.no_grad()
def start_weights(method: Trained, start: Start) -> None:
    """Give the weights of a method just built, and of its backbone, the values that training starts from.

    `ours` leaves every part its own start; `published` draws each matrix that is trained, tables and positions among
    them, from Xavier's normal distribution, as LLMEmb's code does (models/BaseModel.py). The mask then gets the length
    of an item's vector in both, so that a hidden position neither drowns its neighbours nor vanishes among them.
    """
    if start == "published":
        kept = method.loaded | (method.backbone.structured if isinstance(method, VectorMethod) else frozenset())
        for name, weight in method.named_parameters():
            if weight.requires_grad and weight.dim() > 1 and kept.isdisjoint((name, name.rpartition(".")[2])):
                nn.init.xavier_normal_(weight)
    if isinstance(method, VectorMethod):
        method.mask.mul_(_mean_length(method) / method.mask.norm())


def _mean_length(method: VectorMethod) -> torch.Tensor:
    ids = torch.arange(1, min(method.n_items, ITEMS_LOOKED_AT) + 1, device=method.mask.device)
    training = method.training
    vectors = method.eval().items(ids)
    method.train(training)
    length: torch.Tensor = vectors.norm(dim=1).mean()
    return length
