"""skeleton: say in one line where item vectors come from."""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor, nn

from llmemb_bench.contracts import Parts, VectorMethod
from llmemb_bench.registry.config import Config


class SkeletonConfig(Config):
    """Settings of `skeleton`."""

    bias: bool = True
    """Whether every vector gets a shared offset."""


class Skeleton(VectorMethod):
    """A learnt vector for each id plus a shared offset. `needs` may add "text"; more in CONTRIBUTING.md."""

    config: SkeletonConfig

    def __init__(self, config: SkeletonConfig, parts: Parts) -> None:
        super().__init__(config, parts)
        self.table = nn.Embedding(parts.n_items, self.dim)
        self.offset = nn.Parameter(self.table.weight.new_zeros(self.dim), requires_grad=config.bias)
        nn.init.normal_(self.table.weight, std=self.dim**-0.5)

    def items(self, ids: Int[Tensor, "rows"]) -> Float[Tensor, "rows dim"]:
        vectors: Tensor = self.table(ids - 1)
        return vectors + self.offset
