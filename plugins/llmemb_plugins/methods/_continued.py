"""What methods on top of a fitted recommender share: they start as its backbone and a table of its item vectors."""

from __future__ import annotations

import copy

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from llmemb_bench.base.errors import SpecError
from llmemb_bench.contracts import Dot, Fitted, Parts, VectorMethod
from llmemb_bench.registry.config import Config


class Continued(VectorMethod):
    """A recommender that starts where the upstream recommender `base` ended."""

    def __init__(self, config: Config, parts: Parts) -> None:
        super().__init__(config, parts)
        self.base = parts.upstream["base"]  # no module: its weights are not among ours
        self.backbone = copy.deepcopy(_of_same_width(self.base, self.dim).backbone).requires_grad_()
        self.table = nn.Embedding(parts.n_items, self.dim)
        self.start_as_base()

    @torch.no_grad()
    def start_as_base(self) -> None:
        """Take the weights of the base; for a phase to begin with, because a start of all weights came between."""
        base = _of_same_width(self.base, self.dim)
        self.backbone.load_state_dict(base.backbone.state_dict())
        self.mask.copy_(base.mask)
        self.table.weight.copy_(self.base.vectors[1:])

    def items(self, ids: Int[Tensor, "rows"]) -> Float[Tensor, "rows dim"]:
        vectors: Tensor = self.table(ids - 1)
        return vectors


def _of_same_width(base: Fitted, dim: int) -> VectorMethod:
    """The base; a SpecError where its score is no plain product of a backbone's state and an item vector."""
    method = base.method
    if isinstance(method, VectorMethod) and method.width == dim and isinstance(method.similarity, Dot):
        return method
    raise SpecError(
        f"a {type(method).__name__} is no recommender to start from: its score should be the product of one backbone's "
        f"state and an item vector of {dim} numbers",
        where="recommender.method.base",
        fix="base: id_only",
    )
