"""Two views: text and ids read side by side, drawn to the mean state of similar users (after LLM-ESR, NeurIPS 2024)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from llmemb_bench.contracts import Batch, Cosine, Dot, Extras, Parts, VectorMethod, by_group
from llmemb_bench.registry.config import Config
from llmemb_bench.values.split import Split


class TwoViewsConfig(Config):
    """Settings of `two_views`."""

    similar: Annotated[int, Field(ge=1)] = 3
    """Users whose mean state a user is drawn to."""
    weight: Annotated[float, Field(ge=0)] = 0.5
    """Share of that in the loss."""
    temperature: Annotated[float, Field(gt=0)] | None = None
    """Of a cosine between states and vectors; absent: their product."""


class TwoViews(VectorMethod):
    """Vectors [text, id], each as wide as the backbone. Each view of a history attends to the other one's past and adds
    what it finds; one backbone reads both, and a state is both of its states."""

    config: TwoViewsConfig
    needs = frozenset({"backbone", "training", "text"})

    def __init__(self, config: TwoViewsConfig, parts: Parts) -> None:
        similarity = Dot() if config.temperature is None else Cosine(config.temperature)
        super().__init__(config, parts, width=2 * parts.backbone.config.dim, similarity=similarity)
        self.register_buffer("text", parts.text, persistent=False)
        self.adapter = nn.Linear(parts.text.shape[1], self.dim)
        self.table = nn.Embedding(parts.n_items, self.dim)
        self.query, self.key = (nn.Linear(self.dim, self.dim) for _ in range(2))

    def fit_counts(self, split: Split) -> None:
        self.split = split
        users, items = split.training_events()
        profiles = np.zeros((split.data.n_users, self.text.shape[1]))
        np.add.at(profiles, users, self.text.cpu().numpy()[items])
        profiles /= np.maximum(np.linalg.norm(profiles, axis=1, keepdims=True), 1e-12)
        cosines = profiles @ profiles.T
        np.fill_diagonal(cosines, -np.inf)
        self.similar = np.argsort(-cosines, axis=1, kind="stable")[:, : self.config.similar]

    def items(self, ids: Tensor) -> Tensor:
        return torch.cat([self.adapter(self.text[ids]), self.table(ids - 1)], dim=1)

    def tables(self) -> list[nn.Embedding]:
        return [self.table]

    def views(self, x: Tensor, groups: Sequence[Tensor]) -> Sequence[Tensor]:
        return by_group(x, groups, self._mixed).chunk(2, dim=1)

    def _mixed(self, x: Tensor, real: Tensor) -> Tensor:
        text, ids = x.chunk(2, dim=2)
        return torch.cat([text + self._seen(text, ids), ids + self._seen(ids, text)], dim=2)

    def _seen(self, own: Tensor, other: Tensor) -> Tensor:
        """What each position finds in the other view at itself and before."""
        scores = self.query(own) @ self.key(other).transpose(1, 2) * self.dim**-0.5
        later = torch.ones_like(scores[0], dtype=torch.bool).triu(1)
        return scores.masked_fill(later, -torch.inf).softmax(-1) @ other

    def extras(self, users: np.ndarray, step: int, rng: np.random.Generator) -> Extras:
        similar = self.similar[users]  # [batch, similar]
        histories = self.split.training_histories(similar.ravel(), self.max_len)
        return Extras(histories={"similar": histories}, of_users={"similar": similar})

    @torch.no_grad()
    def prepared(self, batch: Batch, vectors: Tensor) -> Batch:
        states = self.last_states(batch.histories["similar"], vectors)
        goal = states.view(*batch.of_users["similar"].shape, -1).mean(1)
        return replace(batch, of_users={**batch.of_users, "goal": goal})

    def history_loss(self, batch: Batch, states: Tensor, vectors: Tensor) -> Tensor:
        own = states[batch.last_targets]
        return self.config.weight * functional.mse_loss(own, batch.of_users["goal"])
