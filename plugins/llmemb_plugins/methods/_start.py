"""Id tables that start as something made of the text vectors, and are then trained as any."""

from __future__ import annotations

from abc import abstractmethod

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from llmemb_bench.contracts import Parts
from llmemb_bench.registry.config import Config
from llmemb_bench.values.split import Split
from llmemb_plugins.methods._text import TextMethod, refuse_narrow


class TextStart(TextMethod):
    """A trained table [items, dim] of which row i starts as what `start_vectors` makes of text vector i."""

    loaded = frozenset({"table.weight"})

    def __init__(self, config: Config, parts: Parts) -> None:
        super().__init__(config, parts)
        refuse_narrow(self.source, self.dim, "the start of the id table")
        self.table = nn.Embedding(parts.n_items, self.dim)

    @abstractmethod
    def start_vectors(self, split: Split) -> Float[Tensor, "items dim"]:
        """Where the table starts."""

    @torch.no_grad()
    def fit_counts(self, split: Split) -> None:
        self.table.weight.copy_(self.start_vectors(split))

    def items(self, ids: Int[Tensor, "rows"]) -> Float[Tensor, "rows dim"]:
        vectors: Tensor = self.table(ids - 1)
        return vectors

    def tables(self) -> list[nn.Embedding]:
        return [self.table]
