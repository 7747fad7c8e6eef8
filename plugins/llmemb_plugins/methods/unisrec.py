"""UniSRec's text vectors: parametric whitening in a gated mixture of experts (Hou et al., KDD 2022)."""

from __future__ import annotations

from typing import Annotated, Literal

from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from llmemb_bench.contracts import Parts
from llmemb_bench.registry.config import Config
from llmemb_plugins.methods._adapters import MixtureOfExperts
from llmemb_plugins.methods._text import TextMethod, cosine_or_product


class UniSRecConfig(Config):
    """Settings of `unisrec`."""

    setting: Literal["inductive", "transductive"] = "inductive"
    """Text alone, so that new items have vectors, or an id vector added to each (paper, section 3.3)."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """Of the text vectors before the experts (code: 0.2)."""
    temperature: Annotated[float, Field(gt=0)] | None = 0.07
    """Divides the cosine of state and vector (code: 0.07); null: their product."""


class UniSRec(TextMethod):
    """v_i = sum_k g_k W_k (drop(x_i) - b_k) (+ e_i), x_i the frozen text vector, with the gates and their noise of
    eqs. 3 to 5; cosine by temperature, as in fine-tuning on one dataset (eq. 11), for `objective: cross_entropy`.

    Not taken over: pre-training on other datasets, which needs those. Ours: text vectors of unit mean square, weights
    whose vectors start of length about one, id vectors that start as in `id_only`.
    """

    config: UniSRecConfig

    def __init__(self, config: UniSRecConfig, parts: Parts) -> None:
        super().__init__(config, parts, similarity=cosine_or_product(config.temperature))
        self.keep_text()
        self.adapter = MixtureOfExperts(self.text_dim, None, self.dim, self.dim**-0.5, dropout=config.dropout)
        self.table = nn.Embedding(parts.n_items, self.dim) if config.setting == "transductive" else None
        if self.table is not None:
            nn.init.normal_(self.table.weight, std=0.02)

    def items(self, ids: Int[Tensor, "rows"]) -> Float[Tensor, "rows dim"]:
        adapted: Tensor = self.adapter(functional.embedding(ids - 1, self.text))
        return adapted if self.table is None else adapted + self.table(ids - 1)

    def tables(self) -> list[nn.Embedding]:
        return [] if self.table is None else [self.table]
