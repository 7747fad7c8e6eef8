"""RLMRec on an item table: ids and text held together, by contrast or by reconstruction (Ren et al., WWW 2024)."""

from __future__ import annotations

from typing import Annotated, Literal

from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from llmemb_bench.contracts import Batch, Parts
from llmemb_bench.registry.config import Config
from llmemb_plugins._contrast import cosine_logits, costs_of_rows
from llmemb_plugins.methods._adapters import Mlp
from llmemb_plugins.methods._text import TextMethod, distinct_positives

WEIGHTS = {"contrastive": 0.01, "generative": 0.1}
"""The code's general settings: `kd_weight`, `recon_weight`."""


class RlmRecConfig(Config):
    """Settings of `rlmrec`."""

    form: Literal["contrastive", "generative"] = "contrastive"
    """Text brought into the space of ids (RLMRec-Con), or ids made to tell the text (RLMRec-Gen)."""
    weight: Annotated[float, Field(ge=0)] | None = None
    """Share in the loss; absent: 0.01 contrastive, 0.1 generative (code)."""
    temperature: Annotated[float, Field(gt=0)] = 0.2
    """Divides the cosines (code: 0.2)."""


class RlmRec(TextMethod):
    """v_i = e_i, a trained table that starts as in `id_only`; loss = objective + weight * mean_i of -log
    softmax_j(cos(e_i, m(E_j)) / t)[i] (contrastive) or -log softmax_j(cos(m(e_i), E_j) / t)[i] (generative), m being
    W2 leaky_relu(W1 x + b1) + b2 with (text_dim + dim) / 2 numbers between, over the items that a batch predicts,
    each once.

    Published for graph recommenders. A sequential one has no user table, so the users' part is left out; there, a
    masked node is read from its neighbours, and a table has none, so nothing is masked (AlphaFuse's port, which takes
    1 - cosine of both forms instead of the softmax that the paper and its code have).
    """

    config: RlmRecConfig

    def __init__(self, config: RlmRecConfig, parts: Parts) -> None:
        super().__init__(config, parts)
        self.keep_text()
        self.table = nn.Embedding(parts.n_items, self.dim)
        nn.init.normal_(self.table.weight, std=0.02)
        self.weight = WEIGHTS[config.form] if config.weight is None else config.weight
        ends = (self.text_dim, self.dim) if config.form == "contrastive" else (self.dim, self.text_dim)
        inner = (self.text_dim + self.dim) // 2
        self.bridge = Mlp(ends[0], inner, ends[1], ends[1] ** -0.5, activation=functional.leaky_relu)
        self.bridge.requires_grad_(bool(self.weight))

    def items(self, ids: Int[Tensor, "rows"]) -> Float[Tensor, "rows dim"]:
        vectors: Tensor = self.table(ids - 1)
        return vectors

    def tables(self) -> list[nn.Embedding]:
        return [self.table]

    def auxiliary(self, batch: Batch, vectors: Float[Tensor, "rows dim"]) -> Float[Tensor, ""]:
        if not self.weight:
            return vectors.new_zeros(())
        rows = distinct_positives(batch)
        ids, text = functional.embedding(rows, vectors), functional.embedding(batch.rows[rows] - 1, self.text)
        left, right = (ids, self.bridge(text)) if self.config.form == "contrastive" else (self.bridge(ids), text)
        loss: Tensor = self.weight * costs_of_rows(cosine_logits(left, right, self.config.temperature)).mean()
        return loss
