"""FAERec: ids and text mixed by a gate, and aligned item by item and feature by feature (arXiv 2604.03688).

Code: ZhifuWei/FAERec.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from llmemb_bench.contracts import Batch, Parts, Phase
from llmemb_bench.registry.config import Config
from llmemb_bench.values.split import Split
from llmemb_plugins._contrast import cosine_logits, costs_of_rows
from llmemb_plugins.losses.barlow_twins import BarlowTwins, BarlowTwinsConfig
from llmemb_plugins.methods._adapters import Mlp
from llmemb_plugins.methods._start import TextStart
from llmemb_plugins.methods._text import distinct_positives, of_length


class CurriculumConfig(Config):
    """How much of the alignment is that of items, over the epochs; the rest is that of features."""

    least: Annotated[float, Field(ge=0, le=1)] = 0.9
    """Least share of the item level (code: 0.9)."""
    most: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Its share where training starts (code: 1)."""
    period: Annotated[int, Field(ge=1)] = 30
    """Epochs from the one over the other and back (code: 30)."""


class FaeRecConfig(Config):
    """Settings of `faerec`."""

    weight: Annotated[float, Field(ge=0)] = 0.2
    """Share of the alignment in the loss (code: 0.2); 0 is the ablation with the gate alone."""
    temperature: Annotated[float, Field(gt=0)] = 0.05
    """Divides the cosines of the item level (code: 0.05)."""
    off_diagonal: Annotated[float, Field(ge=0)] = 0.005
    """What a correlation of two features weighs against that of a feature with itself (code: 0.005)."""
    by_popularity: bool = True
    """Whether the feature level takes the more and the less popular half of the items apart (code)."""
    curriculum: CurriculumConfig = CurriculumConfig()
    """How the two levels take turns."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.3
    """Within the mapper of text vectors (code: 0.3)."""
    gate_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Within the gate (code: 0.1)."""
    start_length: Annotated[float, Field(gt=0)] | None = 1.0
    """Root mean square of the lengths that the id table starts from (ours, so that encoders compare); null: as PCA
    gives them (code)."""


class FaeRec(TextStart):
    """v_i = g * e_i + (1 - g) * t_i, g = sigmoid(W4 drop(gelu(W3 [e_i, t_i]))), t_i = W2 drop(gelu(W1 E_i)), e_i an
    id vector that starts as PCA of E_i; biases throughout. Loss = objective + weight * (a L_item + (1 - a)
    L_feature), with a = least + (most - least) (1 + cos(2 pi epoch / period)) / 2, epochs from 0.

    L_item: InfoNCE of e_i among the t_j. L_feature: `barlow_twins` of e and t, of the more and of the less popular half
    (at the median) of the items. Both over the items that a batch predicts, each once; the code takes those of the
    histories and the negatives, as often as they stand there. The code trains against e_i and ranks against
    LayerNorm(e_i + t_i); here v_i is input and candidate in both, or training and ranking would not score alike. It
    adds positions before the gate, here the backbone adds them behind it.
    """

    config: FaeRecConfig

    def __init__(self, config: FaeRecConfig, parts: Parts) -> None:
        super().__init__(config, parts)
        self.keep_text()
        self.mapper = Mlp(self.text_dim, max(self.text_dim // 2, 1), self.dim, self.dim**-0.5, dropout=config.dropout)
        self.gate = Mlp(2 * self.dim, 2 * self.dim, self.dim, 1.0, dropout=config.gate_dropout)
        nn.init.zeros_(self.gate.second.bias)
        self.features = BarlowTwins(BarlowTwinsConfig(weight=config.off_diagonal))
        self.popularity: Int[Tensor, "items"]
        self.register_buffer("popularity", torch.zeros(parts.n_items, dtype=torch.int64), persistent=False)
        self.epoch: Tensor
        self.register_buffer("epoch", torch.zeros(()))

    def start_vectors(self, split: Split) -> Float[Tensor, "items dim"]:
        return of_length(self.transformed(split, "pca", dim=self.dim), self.config.start_length)

    def fit_counts(self, split: Split) -> None:
        super().fit_counts(split)
        self.popularity = torch.from_numpy(split.popularity[1:].astype("int64"))

    def phases(self) -> Sequence[Phase]:
        return [Phase(name="train", begin_epoch=self.begin_epoch)]

    def begin_epoch(self, number: int) -> None:
        """The curriculum counts epochs from 0."""
        self.epoch.fill_(number - 1)

    def mapped(self, ids: Int[Tensor, "rows"]) -> Float[Tensor, "rows dim"]:
        """t_i."""
        found: Tensor = self.mapper(functional.embedding(ids - 1, self.text))
        return found

    def items(self, ids: Int[Tensor, "rows"]) -> Float[Tensor, "rows dim"]:
        own, text = self.table(ids - 1), self.mapped(ids)
        gate = torch.sigmoid(self.gate(torch.cat([own, text], dim=1)))
        fused: Tensor = gate * own + (1 - gate) * text
        return fused

    def auxiliary(self, batch: Batch, vectors: Float[Tensor, "rows dim"]) -> Float[Tensor, ""]:
        config, ids = self.config, batch.rows[distinct_positives(batch)]
        if not config.weight:
            return vectors.new_zeros(())
        own, text, share = self.table(ids - 1), self.mapped(ids), self._item_share()
        loss = share * costs_of_rows(cosine_logits(own, text, config.temperature)).mean()
        for half in self._halves(ids):
            loss = loss + (1 - share) * self.features(own[half], text[half])
        found: Tensor = config.weight * loss
        return found

    def _item_share(self) -> float:
        """a of this epoch."""
        curriculum = self.config.curriculum
        wave = (1 + math.cos(2 * math.pi * float(self.epoch) / curriculum.period)) / 2
        return curriculum.least + (curriculum.most - curriculum.least) * wave

    def _halves(self, ids: Int[Tensor, "rows"]) -> list[Int[Tensor, "_"]]:
        """Places of the items that the feature level takes together; of fewer than two nothing can be said."""
        popularity = self.popularity[ids - 1]
        is_popular = popularity >= (popularity.median() if self.config.by_popularity else 0)
        found = [torch.nonzero(chosen)[:, 0] for chosen in (is_popular, ~is_popular)]
        return [places for places in found if len(places) > 1]
