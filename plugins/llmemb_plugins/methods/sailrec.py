"""SAILRec: an id table that starts as reduced text and is held to it by a contrastive loss, rare items more.

Paper: "Where LLM Knowledge Belongs"; code: jwizenf2/SASRec-Semantic-Injections.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from llmemb_bench.contracts import Batch, Parts
from llmemb_bench.registry.config import Config
from llmemb_bench.values.split import Split
from llmemb_plugins._contrast import cosine_logits, costs_of_rows
from llmemb_plugins.methods._start import TextStart
from llmemb_plugins.methods._text import distinct_positives, of_length, transformed

TAIL, OF_TAIL, OF_REST = 0.2, 2.0, 0.5
"""`binary`: items up to the 20 % quantile of training events weigh 2, the others 0.5 (code)."""


class SailRecConfig(Config):
    """Settings of `sailrec`."""

    weight: Annotated[float, Field(ge=0)] = 0.5
    """Share of the alignment in the loss (paper: 0.5); 0 is the ablation with the start alone."""
    temperature: Annotated[float, Field(gt=0)] = 0.1
    """Divides the cosines (paper: 0.1)."""
    frequency: Literal["binary", "log", "sqrt", "linear", "none"] = "binary"
    """What an item of f training events weighs: 2 in the rarest fifth and 0.5 elsewhere (paper's main runs),
    1/(1 + ln(f + 1)), 1/sqrt(f + 1), 1/(f + 1), or all alike (ablation); scaled to a mean of 1."""
    start_length: Annotated[float, Field(gt=0)] | None = 1.0
    """Root mean square of the lengths that the table starts from (ours, so that encoders compare); null: as PCA gives
    them (code)."""


class SailRec(TextStart):
    """V starts as PCA of E_i / |E_i|; loss = objective + weight * sum_i w_i (c_i + c'_i) / (2 sum_i w_i), c_i the
    InfoNCE of V_i among the W E_j, c'_i that of W E_i among the V_j, over the items that a batch predicts, each once.

    W is one matrix without bias. The code also takes the batch's sampled negatives and at most 4096 items; here the
    positives alone, for not every objective has negatives.
    """

    config: SailRecConfig

    def __init__(self, config: SailRecConfig, parts: Parts) -> None:
        super().__init__(config, parts)
        self.keep_text()
        self.projection = nn.Linear(self.text_dim, self.dim, bias=False)
        nn.init.xavier_uniform_(self.projection.weight)
        self.projection.requires_grad_(bool(config.weight))
        self.weights: Float[Tensor, "items"]
        self.register_buffer("weights", torch.ones(parts.n_items), persistent=False)

    def start_vectors(self, split: Split) -> Float[Tensor, "items dim"]:
        directions = functional.normalize(self.source)
        return of_length(transformed(directions, split, "pca", dim=self.dim), self.config.start_length)

    def fit_counts(self, split: Split) -> None:
        super().fit_counts(split)
        events = torch.from_numpy(split.popularity[1:]).double()
        self.weights = _weights(events, self.config.frequency).float()

    def auxiliary(self, batch: Batch, vectors: Float[Tensor, "rows dim"]) -> Float[Tensor, ""]:
        if not self.config.weight:
            return vectors.new_zeros(())
        rows = distinct_positives(batch)
        items = batch.rows[rows] - 1
        projected = self.projection(functional.embedding(items, self.text))
        logits = cosine_logits(functional.embedding(rows, vectors), projected, self.config.temperature)
        costs = (costs_of_rows(logits) + costs_of_rows(logits.T)) / 2
        weights = self.weights[items]
        loss: Tensor = self.config.weight * (weights @ costs) / weights.sum()
        return loss


def _weights(events: Float[Tensor, "items"], rule: str) -> Float[Tensor, "items"]:
    """What each item weighs by its training events, a mean of 1."""
    match rule:
        case "binary":
            known = events[events > 0]
            edge = known.quantile(TAIL) if len(known) else math.inf
            found = torch.where(events <= edge, OF_TAIL, OF_REST)
        case "log":
            found = 1 / (1 + torch.log(events + 1))
        case "sqrt":
            found = (events + 1) ** -0.5
        case "linear":
            found = 1 / (events + 1)
        case _:
            found = torch.ones_like(events)
    return found / found.mean()
