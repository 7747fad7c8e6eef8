"""A learnt vector for each item id and nothing else: the backbone as its authors meant it."""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor, nn

from llmemb_bench.contracts import Parts, VectorMethod
from llmemb_bench.registry.config import Config


class IdOnlyConfig(Config):
    """Nothing to set."""


class IdOnly(VectorMethod):
    """A table [items, dim], normal with standard deviation 0.02 (as BERT), so that what was
    never trained scores near zero; also the teacher of RAT's alignment."""

    config: IdOnlyConfig

    def __init__(self, config: IdOnlyConfig, parts: Parts) -> None:
        super().__init__(config, parts)
        self.table = nn.Embedding(parts.n_items, self.dim)
        nn.init.normal_(self.table.weight, std=0.02)

    def items(self, ids: Int[Tensor, "rows"]) -> Float[Tensor, "rows dim"]:
        vectors: Tensor = self.table(ids - 1)
        return vectors

    def tables(self) -> list[nn.Embedding]:
        return [self.table]
