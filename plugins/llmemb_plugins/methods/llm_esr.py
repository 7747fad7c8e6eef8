"""LLM-ESR: text and ids as two views of a history, and the states of similar users (Liu et al., NeurIPS 2024)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Annotated, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Int64
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from llmemb_bench.base.errors import DataError, Problem, SpecError
from llmemb_bench.contracts import Batch, CellFacts, Extras, Parts, Phase, Upstream
from llmemb_bench.registry.config import Config
from llmemb_bench.registry.kinds import MethodChoice
from llmemb_bench.values.split import Split
from llmemb_plugins.backbones._dropout import Dropout
from llmemb_plugins.backbones._transformer import Ragged
from llmemb_plugins.methods._adapters import ADAPTERS
from llmemb_plugins.methods._similar_users import MOST_USERS, nearest, profiles
from llmemb_plugins.methods._states import Slices, end_states
from llmemb_plugins.methods._text import TextMethod, of_length, refuse_narrow


class LlmEsrConfig(Config):
    """Settings of `llm_esr`; the backbone's `dim` is the width of each view (paper: 64)."""

    adapter_dim: Annotated[int, Field(ge=1)] | None = None
    """Width between the adapter's two linear layers; absent: half the text vectors' (paper: 768 of 1536)."""
    ids: Literal["text", "upstream", "random"] = "text"
    """Where id vectors start: at the leading principal components of the text vectors (paper), at the item vectors of a
    fitted recommender, or at random."""
    base: MethodChoice = MethodChoice("id_only")
    """That recommender, on the same backbone; it is fitted for `ids: upstream` only."""
    cross: Literal["replace", "add", "none"] = "replace"
    """What a view finds in the other one takes the place of its own vectors (paper's code), is added to them (ours), or
    is left out (the ablation without cross attention)."""
    heads: Annotated[int, Field(ge=1)] = 2
    """Heads of the cross attention; must divide the backbone's `dim` (paper: 2)."""
    attention: Literal["causal", "bidirectional"] = "causal"
    """What of the other view a position finds. `bidirectional` is what the published code trains, where every position
    sees the item that it has to predict: only to repeat it. A cloze task looks both ways in any case."""
    similar: Annotated[int, Field(ge=1)] = 10
    """Similar users whose mean state a user's is drawn to (paper: 10)."""
    weight: Annotated[float, Field(ge=0)] = 0.1
    """Share of that in the loss (paper's alpha: 0.1); 0 is the ablation without self-distillation."""
    refresh: Annotated[int, Field(ge=1)] | Literal["epoch"] = "epoch"
    """Steps between two computations of the similar users' states; 1 makes them anew for each step (paper), at several
    times the cost; `epoch` computes half of them before each epoch, by turns, and all before the first (ours)."""
    start_length: Annotated[float, Field(gt=0)] = 1.0
    """Mean length of adapted text vectors, and of id vectors from text, where training starts (ours)."""


class LlmEsr(TextMethod):
    """v_i = [c_i; s_i] with a table c and s_i = W2 (W1 E_i + b1) + b2, E frozen (eqs. 3 and 4).

    Views of a history: x_c = drop(sqrt(dim) c + p), x_s = drop(sqrt(dim) s + p) with positions p; each finds in the
    other one A(q, k) = softmax((q Wq) (k Wk)' / sqrt(dim / heads)) (k Wv) Wo + bo, of the positions up to its own; the
    backbone reads A(x_s, x_c) and A(x_c, x_s), and a state h is both of its states side by side (eqs. 5 to 8).

    Loss: the objective + weight * mean over users of |h - mean of g_v over the similar users v|² / (2 dim), where h is
    a user's state at its last target and g_v the state after the training events of v, without dropout and without
    gradient (eq. 10). Similar users: by cosine of the mean text vector of a user's training events; the paper has a
    language model embed a text about the user, which no dataset here has.

    Ours: positions come before the cross attention for every backbone, and a backbone with positions adds its own; text
    vectors are scaled to unit mean square and id vectors from text to `start_length`; g_v has no dropout, so that
    targets of different `refresh` differ in their age alone.
    """

    config: LlmEsrConfig

    def __init__(self, config: LlmEsrConfig, parts: Parts) -> None:
        if parts.backbone is None:
            raise TypeError("llm_esr needs a backbone")
        reader = parts.backbone.config
        super().__init__(config, parts, width=2 * reader.dim)
        if config.ids == "text":
            refuse_narrow(self.source, self.dim, "ids: text")
        if config.cross != "none" and self.dim % config.heads:
            raise SpecError(
                f"the heads of the cross attention share the width {self.dim} evenly, {config.heads} do not",
                where="recommender.method.heads",
                fix="a backbone whose dim is a multiple of heads",
            )
        self.keep_text()
        std = config.start_length * self.dim**-0.5
        self.adapter = ADAPTERS["linear_linear"](self.text_dim, config.adapter_dim, self.dim, std)
        self.table = nn.Embedding(parts.n_items, self.dim)
        nn.init.normal_(self.table.weight, std=0.02)  # as in id_only
        if config.cross != "none":
            self.positions = nn.Embedding(reader.max_len, self.dim)
            nn.init.normal_(self.positions.weight, std=0.02)
            self.dropout = Dropout(reader.dropout)
            self.cross = CrossAttention(self.dim, config.heads)
        self.base = parts.upstream.get("base")
        self.goals: Tensor
        self.register_buffer("goals", torch.zeros(0, self.width))  # of all users, where they are kept

    @classmethod
    def refuses(cls, config: Config, facts: CellFacts) -> Sequence[Problem]:
        settings = LlmEsrConfig.model_validate(config)
        if not settings.weight:
            return ()
        problems = []
        if facts.n_users <= settings.similar:
            told = f"{facts.n_users} users have no {settings.similar} others each"
            problems.append(Problem("recommender.method.similar", told, f"at most {max(facts.n_users - 1, 1)}"))
        if facts.n_users > MOST_USERS:
            told = f"similar users are found exactly, among {MOST_USERS:,} users at most; here are {facts.n_users:,}"
            fix = "weight: 0 leaves self-distillation out; or keep fewer users with dataset.min_user_events"
            problems.append(Problem("recommender.method.weight", told, fix))
        return problems

    @classmethod
    def upstream(cls, config: Config) -> Mapping[str, Upstream]:
        settings = LlmEsrConfig.model_validate(config)
        return {"base": Upstream(settings.base, same_dim=True)} if settings.ids == "upstream" else {}

    def fit_counts(self, split: Split) -> None:
        self.split = split
        self.able = np.flatnonzero(split.n_train > 0)
        if self.config.weight and len(self.able) <= self.config.similar:
            raise DataError(
                f"{len(self.able)} users with training events have no {self.config.similar} others each",
                where="recommender.method.similar",
                fix=f"at most {max(len(self.able) - 1, 1)}",
            )
        if self.config.weight and self.config.refresh != 1:
            self.goals = torch.zeros(split.data.n_users, self.width, device=self.device)

    # --- two views ---

    def items(self, ids: Int[Tensor, "rows"]) -> Float[Tensor, "rows width"]:
        return torch.cat([self.table(ids - 1), self.adapter(functional.embedding(ids - 1, self.text))], dim=1)

    def tables(self) -> list[nn.Embedding]:
        return [self.table]

    def views(
        self, x: Float[Tensor, "positions width"], groups: Sequence[Bool[Tensor, "_ _"]]
    ) -> Sequence[Float[Tensor, "positions dim"]]:
        if self.config.cross == "none":
            return x.chunk(2, dim=1)
        places = torch.cat([torch.arange(real.shape[1], device=x.device).expand(real.shape)[real] for real in groups])
        at = self.positions(places)
        ids, text = (self.dropout(view * math.sqrt(self.dim) + at) for view in x.chunk(2, dim=1))
        causal = self.task.is_causal and self.config.attention == "causal"
        found = self.cross(ids, text, Ragged.of(groups, causal=causal))
        return found if self.config.cross == "replace" else (ids + found[0], text + found[1])

    # --- training ---

    def phases(self) -> Sequence[Phase]:
        by_epoch = self.config.weight and self.config.refresh == "epoch"
        return [Phase(name="train", begin=self.start_ids, begin_epoch=self._begin_epoch if by_epoch else None)]

    @torch.no_grad()
    def start_ids(self) -> None:
        """Give the id vectors what they start from: in training only, and after every other start."""
        if self.base is not None:
            self.table.weight.copy_(self.base.vectors[1:])
        elif self.config.ids == "text":
            components = self.transformed(self.split, "pca", dim=self.dim)
            self.table.weight.copy_(of_length(components, self.config.start_length))

    def _begin_epoch(self, epoch: int) -> None:
        users = self._similar_to_any
        self._refresh(users if epoch == 1 else users[epoch % 2 :: 2])

    @torch.no_grad()
    def _refresh(self, users: Int64[np.ndarray, "users"]) -> None:
        self.goals[torch.from_numpy(users).to(self.device)] = self.states_of_users(users)

    @property
    def _similar_to_any(self) -> Int64[np.ndarray, "users"]:
        return np.unique(self.similar[self.able])

    def states_of_users(self, users: Int64[np.ndarray, "users"]) -> Float[Tensor, "users width"]:
        """States after the training events of some users, without gradient."""
        longest = self.task.ranking_length(self.backbone.config.max_len)
        return end_states(self, Slices.of_users(self.split, users, longest))

    @cached_property
    def similar(self) -> Int64[np.ndarray, "users similar"]:
        """The similar users of each user with training events; found once, where the weights are."""
        vectors = profiles(self.split, self.text)[self.able].to(self.device)
        found = np.zeros((self.split.data.n_users, self.config.similar), dtype=np.int64)
        found[self.able] = self.able[nearest(vectors, self.config.similar).cpu().numpy()]
        return found

    def extras(self, users: Int64[np.ndarray, "batch"], step: int, rng: np.random.Generator) -> Extras:
        if not self.config.weight:
            return Extras()
        return Extras(of_users={"similar": self.similar[users], "step": np.full(len(users), step)})

    @torch.no_grad()
    def prepared(self, batch: Batch, vectors: Float[Tensor, "rows width"]) -> Batch:
        """With the mean state of each user's similar users."""
        if not self.config.weight:
            return batch
        similar, refresh = batch.of_users["similar"], self.config.refresh
        if refresh == 1:
            users, similar = torch.unique(similar, return_inverse=True)
            states = self.states_of_users(users.cpu().numpy())
        else:
            if refresh != "epoch" and int(batch.of_users["step"][0]) % refresh == 0:
                self._refresh(self._similar_to_any)
            states = self.goals
        return replace(batch, of_users={"goal": functional.embedding_bag(similar, states, mode="mean")})

    def history_loss(
        self, batch: Batch, states: Float[Tensor, "targets width"], vectors: Float[Tensor, "rows width"]
    ) -> Float[Tensor, ""] | None:
        if not self.config.weight:
            return None
        return self.config.weight * functional.mse_loss(states[batch.last_targets], batch.of_users["goal"])


class CrossAttention(nn.Module):
    """A(y, x) and A(x, y): what two views find in each other, with weights of its own each way."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.project_ids, self.project_text = (nn.Linear(dim, 3 * dim, bias=False) for _ in range(2))
        """Of each view: what it asks the other one, and its keys and values for the other one."""
        self.out_ids, self.out_text = (nn.Linear(dim, dim) for _ in range(2))

    def forward(
        self, ids: Float[Tensor, "positions dim"], text: Float[Tensor, "positions dim"], sight: Ragged
    ) -> tuple[Float[Tensor, "positions dim"], Float[Tensor, "positions dim"]]:
        of_ids, of_text = self.project_ids(ids).chunk(3, -1), self.project_text(text).chunk(3, -1)
        pairs = ((of_text[0], of_ids[0]), (of_ids[1], of_text[1]), (of_ids[2], of_text[2]))
        parts = tuple(torch.cat(pair, dim=-1) for pair in pairs)  # both ways at once, as further heads
        in_ids, in_text = sight.attend(parts, 2 * self.heads, 0.0).chunk(2, -1)
        return self.out_ids(in_ids), self.out_text(in_text)
