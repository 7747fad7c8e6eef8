"""Long tail: two branches learn from a fitted recommender, then all is tuned together (after MELT, SIGIR 2023)."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from llmemb_bench.base.ids import PAD
from llmemb_bench.contracts import Batch, Extras, Parts, Phase, Upstream, VectorMethod
from llmemb_bench.registry.config import Config
from llmemb_bench.registry.kinds import MethodChoice
from llmemb_bench.values.split import Split


class LongTailConfig(Config):
    """Settings of `long_tail`."""

    base: MethodChoice = MethodChoice("id_only")
    """The recommender that it starts from; it has one table of item vectors."""
    branch_epochs: Annotated[int, Field(ge=1)] = 2
    """Epochs of the branches alone."""
    short: Annotated[int, Field(ge=1)] = 2
    """Events that are left of a shortened history; users with fewer are tail."""
    weight: Annotated[float, Field(ge=0)] = 0.5
    """Share of the branch of users in the loss, at the end of its curriculum."""
    epochs: Annotated[int, Field(ge=1)] = 4
    """Epochs until it has that share."""


class LongTail(VectorMethod):
    """Users: U f(last events) should be f(all events) of the base. Items: V f(events before i) should be its vector.

    At the start of each epoch of tuning the rows of rare items are V f(events before them); users with few events are
    ranked by f + U f.
    """

    config: LongTailConfig

    def __init__(self, config: LongTailConfig, parts: Parts) -> None:
        super().__init__(config, parts)
        self.base = parts.upstream["base"]  # no module: its weights are not among ours
        start = copy.deepcopy(self.base.method).requires_grad_()
        self.backbone, self.table = start.backbone, start.tables()[0]
        self.users_branch, self.items_branch = (nn.Linear(self.dim, self.dim) for _ in range(2))
        self.register_buffer("epoch", torch.zeros(()))

    @classmethod
    def upstream(cls, config: Config) -> Mapping[str, Upstream]:
        return {"base": Upstream(LongTailConfig.model_validate(config).base, same_dim=True)}

    def fit_counts(self, split: Split) -> None:
        self.split = split
        longest = int(split.n_train.max())
        contexts: dict[int, list[int]] = {}
        for history in split.training_histories(np.arange(split.data.n_users), longest).tolist():
            for place, item in enumerate(history[1:], start=1):
                if item != PAD and split.popularity[item] <= 2:
                    contexts.setdefault(item, history[:place][-self.max_len :])
        self.tail = torch.tensor(sorted(contexts))
        self.contexts = torch.zeros(len(contexts), self.max_len, dtype=torch.int64)
        for row, item in enumerate(self.tail.tolist()):
            self.contexts[row, : len(contexts[item])] = torch.tensor(contexts[item])

    def items(self, ids: Tensor) -> Tensor:
        return self.table(ids - 1)

    def tables(self) -> list[nn.Embedding]:
        return [self.table]

    def phases(self) -> Sequence[Phase]:
        branches = Phase(
            name="branches",
            loss=self.branch_loss,
            weights=("users_branch.", "items_branch."),
            epochs=self.config.branch_epochs,
            early_stopping=False,
        )
        return [branches, Phase(name="together", begin_epoch=self.begin_epoch)]

    def extras(self, users: np.ndarray, step: int, rng: np.random.Generator) -> Extras:
        return Extras(histories={"short": self.split.training_histories(users, self.config.short)})

    def branch_loss(self, batch: Batch) -> Tensor:
        """|U f(short) - f(all)|² + |V f(all but the last) - e_last|², each a mean; f and e are the base's."""
        users = batch.users.cpu().numpy()
        whole = torch.from_numpy(self.split.training_histories(users, self.max_len))
        lengths = (whole != PAD).sum(1)
        rows = torch.arange(len(whole))
        last, before = whole[rows, lengths - 1], whole.clone()
        before[rows, lengths - 1] = PAD
        short = torch.from_numpy(self.split.training_histories(users, self.config.short))
        of_users = self.users_branch(self.base.states(short)) - self.base.states(whole)
        of_items = self.items_branch(self.base.states(before)) - self.base.vectors[last]
        return of_users.square().mean() + of_items.square().mean()

    @torch.no_grad()
    def begin_epoch(self, epoch: int) -> None:
        """Later epochs weigh the branch of users more; rare items get the vectors of their contexts."""
        self.epoch.fill_(epoch)
        if len(self.tail):
            self.begin_ranking()
            self.table.weight[self.tail - 1] = self.items_branch(self.states(self.contexts))

    def auxiliary(self, batch: Batch, vectors: Tensor) -> Tensor:
        whole = self.base.states(torch.from_numpy(self.split.training_histories(batch.users.numpy(), self.max_len)))
        short = self.users_branch(self.last_states(batch.histories["short"], vectors))
        share = math.sin(math.pi / 2 * min(float(self.epoch) / self.config.epochs, 1.0))
        distilled = self.items_branch(vectors).square().mean()  # keeps that branch small, so that it has a gradient
        return self.config.weight * share * functional.mse_loss(short, whole) + 1e-4 * distilled

    def ranking_states(self, states: Tensor, lengths: Tensor) -> Tensor:
        few = (lengths < self.config.short)[:, None]
        return torch.where(few, states + self.users_branch(states), states)
