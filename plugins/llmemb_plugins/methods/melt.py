"""MELT: two branches that make few events look like many, for users and for items (Kim et al., SIGIR 2023)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Int64
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from llmemb_bench.base.errors import DataError
from llmemb_bench.base.ids import PAD
from llmemb_bench.contracts import Batch, Extras, Parts, Phase, Upstream
from llmemb_bench.registry.config import Config
from llmemb_bench.registry.kinds import MethodChoice
from llmemb_bench.values.split import Split
from llmemb_plugins.methods._continued import Continued
from llmemb_plugins.methods._states import Slices, end_states

POSITIONS = 1 << 17
"""Positions of contexts in a step at most; of more, some items are left for other steps."""
CONTEXTS = 1 << 16
"""Contexts of tail items whose states are in memory at once."""
SLOPE = math.pi / 100
"""What the curriculum of items rises by for each training event (paper's code)."""

Share = Annotated[float, Field(gt=0, lt=1)]


class MeltConfig(Config):
    """Settings of `melt`."""

    base: MethodChoice = MethodChoice("id_only")
    """The recommender that it starts from, on the same backbone (paper: the same model, trained before)."""
    tail_users: Share = 0.8
    """Quantile of training events a user: users with more are head (paper's code: 0.8 on Amazon, 0.5 on others)."""
    tail_items: Share = 0.78
    """Quantile of training events an item, of those that have any: items with more are head (paper's code: 0.78)."""
    user_weight: Annotated[float, Field(ge=0)] = 0.1
    """Share of the branch of users in the loss (paper's scripts for Amazon: 0.1)."""
    item_weight: Annotated[float, Field(ge=0)] = 0.4
    """Share of the branch of items (paper's script for Beauty: 0.4)."""
    curriculum: Annotated[int, Field(ge=1)] = 180
    """Epochs of the curriculum (paper's script for Beauty: 180, all that it trains)."""


class Melt(Continued):
    """W_U: what a state after few events lacks of the one after all. W_I: an item's vector from states after it.

    Users with more training events than a quantile K of them are head, and so are items. With f the state after some
    events, lengths n cut at `max_len` L, and R drawn from 1 to K - 1:

        L_U = mean over head users of w_u |W_U f(last R events) - f(all events)|² / dim
        L_I = mean over head items of w_i |W_I c - v_i|² / dim,  c = mean over some contexts s of f(s) + W_U f(s)
        w_u = |sin(pi/2 e/E + pi/2 (n - K - 1) / (L - K - 1))|,  w_i = |sin(pi/2 e/E + pi/100 (min(n, K + 50) - K - 1))|

    in epoch e of E. Loss: the objective + user_weight L_U + item_weight L_I; all of it is trained, and nothing is
    detached, as in the published code. Contexts of an item end with it: the training events up to it, and those from it
    on read backwards; from 1 to K of them are drawn for an item at a step. Before each epoch the vector of a tail item
    becomes W_I c over all its contexts; a tail user is ranked by f + W_U f.

    Ours: a step takes the head users of its own batch, each once an epoch, and so many head items that each is drawn
    once an epoch in the mean; tail items' c has the W_U that W_I learnt with (the published code leaves it out there);
    a ranking knows a user's history and not the user, so that "tail" counts the events of the history ranked.
    """

    config: MeltConfig

    def __init__(self, config: MeltConfig, parts: Parts) -> None:
        super().__init__(config, parts)
        self.branch_users, self.branch_items = (nn.Linear(self.dim, self.dim) for _ in range(2))
        for branch in (self.branch_users, self.branch_items):
            nn.init.xavier_normal_(branch.weight)
        self.epoch: Tensor
        self.register_buffer("epoch", torch.zeros(()))

    @classmethod
    def upstream(cls, config: Config) -> Mapping[str, Upstream]:
        return {"base": Upstream(MeltConfig.model_validate(config).base, same_dim=True)}

    def tables(self) -> list[nn.Embedding]:
        return [self.table]

    def fit_counts(self, split: Split) -> None:
        self.split, counts = split, split.popularity
        self.longest = self.task.ranking_length(self.backbone.config.max_len)
        trained = split.n_train[split.n_train >= 2]
        of_users, of_items = split.n_train[split.n_train > 0], counts[counts > 0]
        self.few_of_user = math.floor(np.quantile(of_users, self.config.tail_users)) if len(of_users) else 0
        self.few_of_item = math.floor(np.quantile(of_items, self.config.tail_items)) if len(of_items) else 0
        self.is_head = split.n_train > max(self.few_of_user, 1)
        self.head_items = np.flatnonzero(counts > self.few_of_item)
        for name, heads in (("user", self.is_head.sum()), ("item", len(self.head_items))):
            _refuse_no_heads(name, int(heads), {"user": self.few_of_user, "item": self.few_of_item}[name])
        self.head_share = self.is_head.sum() / len(trained)
        self.items_a_history = len(self.head_items) / len(trained)
        self.contexts = Contexts(split, self.longest)

    # --- training ---

    def phases(self) -> Sequence[Phase]:
        return [Phase(name="train", begin=self.start_as_base, begin_epoch=self.begin_epoch)]

    def extras(self, users: Int64[np.ndarray, "batch"], step: int, rng: np.random.Generator) -> Extras:
        asked = {"contexts": self.contexts.slices(self._drawn(len(users), rng)).padded()}
        heads = users[self.is_head[users]]
        if len(heads):
            whole = Slices.of_users(self.split, heads, self.longest)
            events = np.minimum(rng.integers(1, max(self.few_of_user, 2), size=len(heads)), whole.lengths)
            short = Slices(whole.items, whole.starts + whole.lengths - events, events)
            asked |= {"whole": whole.padded(), "short": short.padded()}
        return Extras(histories=asked)

    def _drawn(self, n_users: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Contexts of some head items, those of an item one after another; at least of one item."""
        count = max(1, min(round(n_users * self.items_a_history), len(self.head_items)))
        drawn: list[NDArray[np.int64]] = []
        room = POSITIONS // self.longest  # contexts
        for item in rng.choice(self.head_items, size=count, replace=False).tolist():
            able = self.contexts.of_item(item)
            some = int(rng.integers(1, max(min(len(able), self.few_of_item), 1) + 1))
            drawn.append(rng.choice(able, size=min(some, room), replace=False))
            room -= len(drawn[-1])
            if room < 1:
                break
        return np.concatenate(drawn)

    def auxiliary(self, batch: Batch, vectors: Float[Tensor, "rows dim"]) -> Float[Tensor, ""]:
        of_items = self._of_items(batch, vectors) * (len(batch.users) / batch.histories_per_step)
        loss = self.config.item_weight * of_items
        if "whole" in batch.histories:
            expected = self.head_share * batch.histories_per_step
            loss = loss + self.config.user_weight * self._of_users(batch, vectors) / expected
        return loss

    def _of_users(self, batch: Batch, vectors: Float[Tensor, "rows dim"]) -> Float[Tensor, ""]:
        """L_U, a sum over the head users of a batch."""
        users = batch.users.cpu().numpy()
        n_events = np.minimum(self.split.n_train[users[self.is_head[users]]], self.longest)
        slope = math.pi / 2 / max(self.longest - self.few_of_user - 1, 1)
        short, whole = (self.last_states(batch.histories[name], vectors) for name in ("short", "whole"))
        gaps: Tensor = (self.branch_users(short) - whole).square().mean(1)
        return self._curriculum(torch.from_numpy(n_events).to(gaps), slope, self.few_of_user) @ gaps

    def _of_items(self, batch: Batch, vectors: Float[Tensor, "rows dim"]) -> Float[Tensor, ""]:
        """L_I."""
        asked = batch.histories["contexts"]
        ends = [group.gather(1, (group != PAD).sum(1, keepdim=True) - 1)[:, 0] for group in asked.inputs]
        rows, item = torch.unique(torch.cat(ends)[asked.order] - 1, return_inverse=True)  # a context ends with its item
        states = self.last_states(asked, vectors)
        gaps = (self._of_contexts(states, item, len(rows)) - vectors[rows]).square().mean(1)
        counts = torch.from_numpy(self.split.popularity).to(rows.device)[batch.rows[rows]]
        weights = self._curriculum(counts.clamp(max=self.few_of_item + 50).to(gaps), SLOPE, self.few_of_item)
        return (weights * gaps).mean()

    def _of_contexts(
        self, states: Float[Tensor, "contexts dim"], item: Int[Tensor, "contexts"], n_items: int
    ) -> Float[Tensor, "items dim"]:
        """W_I of the mean of f + W_U f over the contexts of each item, numbered from 0."""
        sums = states.new_zeros(n_items, self.dim).index_add(0, item, states + self.branch_users(states))
        found: Tensor = self.branch_items(sums / torch.bincount(item, minlength=n_items)[:, None])
        return found

    def _curriculum(self, events: Float[Tensor, "n"], slope: float, few: int) -> Float[Tensor, "n"]:
        progress = math.pi / 2 * float(self.epoch) / self.config.curriculum
        return torch.sin(progress + slope * (events - few - 1)).abs()

    @torch.no_grad()
    def begin_epoch(self, epoch: int) -> None:
        """The vectors of tail items become what their contexts say."""
        self.epoch.fill_(epoch - 1)
        counts = self.split.popularity
        tail = np.flatnonzero((counts > 0) & (counts <= self.few_of_item))
        made = []
        for items in np.split(tail, self.contexts.edges(tail, CONTEXTS)):
            each = [self.contexts.of_item(item) for item in items.tolist()]
            if each:
                states = end_states(self, self.contexts.slices(np.concatenate(each)))
                owner = torch.from_numpy(np.repeat(np.arange(len(each)), [len(found) for found in each]))
                made.append(self._of_contexts(states, owner.to(states.device), len(each)))
        if made:
            self.table.weight[torch.from_numpy(tail - 1).to(self.device)] = torch.cat(made)

    def ranking_states(
        self, states: Float[Tensor, "batch dim"], lengths: Int[Tensor, "batch"]
    ) -> Float[Tensor, "batch dim"]:
        few: Bool[Tensor, "batch 1"] = (lengths <= self.few_of_user)[:, None]
        return torch.where(few, states + self.branch_users(states), states)


class Contexts:
    """Stretches of training histories that end with an item: up to it, and from it on read backwards."""

    def __init__(self, split: Split, longest: int) -> None:
        users, items = split.training_events()
        starts = split.data.offsets[:-1]
        train = np.flatnonzero(split.positions < np.repeat(split.n_train, split.lengths))  # places of the events
        before = np.minimum(train - starts[users] + 1, longest)
        behind = np.minimum(starts[users] + split.n_train[users] - train, longest)
        backward = split.n_train[users] > 1
        n_events = len(split.data.items)
        self._flat = np.concatenate([split.data.items, split.data.items[::-1]])
        self._lengths = np.concatenate([before, behind[backward]])
        self._starts = np.concatenate([train + 1 - before, (2 * n_events - train - behind)[backward]])
        owners = np.concatenate([items, items[backward]])
        self._order = np.argsort(owners, kind="stable")
        self._edges = np.searchsorted(owners[self._order], np.arange(split.data.n_items + 2))

    def of_item(self, item: int) -> NDArray[np.int64]:
        """Numbers of its contexts."""
        return self._order[self._edges[item] : self._edges[item + 1]]

    def slices(self, contexts: NDArray[np.int64]) -> Slices:
        """Some contexts as histories."""
        return Slices(self._flat, self._starts[contexts], self._lengths[contexts])

    def edges(self, items: NDArray[np.int64], most: int) -> NDArray[np.int64]:
        """Where to cut the items so that a part has about so many contexts at most."""
        total = np.cumsum(self._edges[items + 1] - self._edges[items])
        return np.flatnonzero(np.diff(total // most)) + 1


def _refuse_no_heads(name: str, heads: int, few: int) -> None:
    if not heads:
        raise DataError(
            f"no {name} has more training events than the quantile that parts head from tail, which is {few}",
            where=f"recommender.method.tail_{name}s",
            fix="a smaller quantile, or data whose histories differ in length",
        )
