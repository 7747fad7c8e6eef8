"""MoRec over frozen text vectors: one layer for each item, trained with the backbone (Yuan et al., SIGIR 2023)."""

from __future__ import annotations

from typing import Annotated

from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from llmemb_bench.contracts import Parts
from llmemb_bench.registry.config import Config
from llmemb_plugins.methods._adapters import OneLayer
from llmemb_plugins.methods._text import TextMethod, cosine_or_product


class MoRecConfig(Config):
    """Settings of `morec`."""

    temperature: Annotated[float, Field(gt=0)] | None = None
    """Divides the cosine of state and vector (AlphaFuse's repository: 0.07); absent: their product (paper)."""


class MoRec(TextMethod):
    """v_i = gelu(W E_i + b): items by their text alone, no id and no alignment.

    The paper trains the text model too; this is its compact form over frozen vectors, as AlphaFuse's repository has it
    (what a text model can learn, a tuning of the encoder does). Ours: text vectors of unit mean square.
    """

    config: MoRecConfig

    def __init__(self, config: MoRecConfig, parts: Parts) -> None:
        super().__init__(config, parts, similarity=cosine_or_product(config.temperature))
        self.keep_text()
        self.adapter = OneLayer(self.text_dim, self.dim, self.dim**-0.5)

    def items(self, ids: Int[Tensor, "rows"]) -> Float[Tensor, "rows dim"]:
        vectors: Tensor = self.adapter(functional.embedding(ids - 1, self.text))
        return vectors
