"""The contract of methods: how item vectors become a recommender.

Axes: `batch` histories, `len` positions, `positions` the real ones of several groups one after another, `dim` the
backbone's width, `width` that of item vectors and states, `text_dim` the encoder's, `items` the catalogue, `rows` the
distinct items of a training batch, `targets` its predictions.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int, Int64
from torch import Tensor, nn
from torch.nn import functional

from llmemb_bench.base.errors import SpecError
from llmemb_bench.base.ids import PAD, mask_id
from llmemb_bench.contracts.backbone import Backbone, padded
from llmemb_bench.contracts.batch import Batch, Extras, Histories
from llmemb_bench.contracts.phase import Phase
from llmemb_bench.contracts.similarity import Dot, Similarity
from llmemb_bench.contracts.task import Task
from llmemb_bench.contracts.text import TorchPlugin
from llmemb_bench.registry.config import Config
from llmemb_bench.registry.kinds import BackboneChoice, MethodChoice
from llmemb_bench.values.split import Split

ITEMS_PER_TILE, ITEMS_PER_BLOCK = 2048, 1 << 16

Need = Literal["backbone", "text", "training"]
"""What a method requires."""


@dataclass(frozen=True)
class Upstream:
    """A recommender that another builds on; it is fitted first."""

    method: MethodChoice
    backbone: BackboneChoice | None = None
    """None: the cell's own."""
    same_dim: bool = False
    """Whether its backbone must be as wide as the cell's."""


@dataclass(frozen=True, eq=False)
class Fitted:
    """A complete fitted recommender, for one that builds on it. Its weights are frozen: to train them further, take a
    `copy.deepcopy` and set `requires_grad_()`."""

    method: Method

    def __post_init__(self) -> None:
        self.method.eval().requires_grad_(False)

    @cached_property
    def vectors(self) -> Float[Tensor, "rows width"]:
        """Its item vectors; row 0 is padding and zero. A method without vectors is a SpecError."""
        if not isinstance(self.method, VectorMethod):
            raise SpecError(f"a {type(self.method).__name__} has no item vectors", where="recommender.method")
        with torch.no_grad(), self.method.device:
            vectors = self.method.eval().catalogue()
        return torch.cat([vectors.new_zeros(1, vectors.shape[1]), vectors])

    @torch.no_grad()
    def states(self, histories: Int[Tensor, "batch len"]) -> Float[Tensor, "batch width"]:
        """Its states of histories of item ids, PAD after them; of long ones it looks at the latest events."""
        self.method.eval()
        self._begun  # noqa: B018  # once
        return self.method.states(latest(histories, self.method.max_len).to(self.method.device))

    @cached_property
    def _begun(self) -> bool:
        self.method.begin_ranking()
        return True


def latest(histories: Int[Tensor, "batch len"], longest: int | None) -> Int[Tensor, "batch _"]:
    """The latest events of each history, PAD after them; None: all."""
    if longest is None or histories.shape[1] <= longest:
        return histories
    gone = ((histories != PAD).sum(1, keepdim=True) - longest).clamp(min=0)
    return histories.gather(1, gone + torch.arange(longest, device=histories.device))


@dataclass(frozen=True)
class Parts:
    """What a method is built from; what the method does not ask for is absent."""

    n_items: int
    backbone: Backbone | None = None
    text: Float[Tensor, "rows text_dim"] | None = None
    """Item vectors from text; row 0 is padding and zero."""
    upstream: Mapping[str, Fitted] = field(default_factory=dict)
    """The recommenders that `Method.upstream` names, fitted."""

    @property
    def teacher(self) -> Float[Tensor, "rows width"] | None:
        """Item vectors of the upstream recommender `teacher`; row 0 is padding and zero."""
        return self.upstream["teacher"].vectors if "teacher" in self.upstream else None


class Method(TorchPlugin):
    """How item vectors become a recommender: one row of a comparison table."""

    needs: ClassVar[frozenset[Need]] = frozenset()
    """`training` for a subclass of Trained, and for no other."""
    max_len: int | None = None
    """Events of a history that the method looks at; None: all."""

    def __init_subclass__(cls, **keywords: object) -> None:
        super().__init_subclass__(**keywords)
        if "training" in cls.needs and not hasattr(cls, "phases"):
            raise TypeError(
                f"{cls.__name__} needs 'training' and has no phases(): derive it from VectorMethod or Trained"
            )
        if "training" not in cls.needs and hasattr(cls, "phases"):
            raise TypeError(f"{cls.__name__} has phases() and would never be trained: add 'training' to its needs")

    def __init__(self, config: Config, parts: Parts) -> None:
        super().__init__(config)

    @classmethod
    def upstream(cls, config: Config) -> Mapping[str, Upstream]:
        """By name, the recommenders that it builds on with these settings."""
        return {}

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return next((weight.device for weight in self.parameters()), torch.device("cpu"))

    @abstractmethod
    def fit_counts(self, split: Split) -> None:
        """See the training histories once, before weights get where `train.start` has them and before any step."""

    def begin_ranking(self) -> None:
        """Called once before ranking, without gradients: compute the item table here."""
        return

    @abstractmethod
    def states(self, histories: Int[Tensor, "batch len"]) -> Float[Tensor, "batch width"]:
        """One float32 state per history, where the weights are; real items first, then PAD."""

    @abstractmethod
    def scores(self, states: Float[Tensor, "batch width"], items: slice) -> Float[Tensor, "batch block"]:
        """float32 scores of the item ids in the slice, where the states are."""


class Trained(Method):
    """A method with weights that are trained, in phases."""

    needs: ClassVar[frozenset[Need]] = frozenset({"training"})
    loaded: ClassVar[frozenset[str]] = frozenset()
    """Names of weights that come from data, which no initialisation may overwrite."""

    @abstractmethod
    def phases(self) -> Sequence[Phase]:
        """What training does, one phase after another; at least one, each with a name of its own."""

    def tables(self) -> list[nn.Embedding]:
        """Trained tables with one row per item, of which a step touches only the rows of its batch."""
        return []

    def warnings(self, curves: Mapping[str, float]) -> list[str]:
        """What a reader of the results must know, from the curves at the end of training."""
        return []

    def fit_counts(self, split: Split) -> None:
        return


class VectorMethod(Trained):
    """A method that scores by similarity of a backbone's state and an item's vector (tied weights)."""

    needs: ClassVar[frozenset[Need]] = frozenset({"backbone", "training"})

    def __init__(
        self,
        config: Config,
        parts: Parts,
        *,
        width: int | None = None,
        task: Task | None = None,
        similarity: Similarity | None = None,
    ) -> None:
        """`width` of item vectors (None: the backbone's), `task` (None: the backbone's), `similarity` (None: Dot)."""
        super().__init__(config, parts)
        if parts.backbone is None:
            raise TypeError(f"{type(self).__name__} needs a backbone")
        self.backbone = parts.backbone
        self.dim = self.backbone.config.dim
        self.width = width or self.dim
        self.task = task or self.backbone.task
        self.max_len = self.task.ranking_length(self.backbone.config.max_len)
        self.similarity = similarity or Dot()
        self.n_items = parts.n_items
        self.mask = nn.Parameter(torch.randn(self.width) * self.width**-0.5)
        self._inputs: Float[Tensor, "items width"] | None = None
        self._table: Float64[Tensor, "items width"] | None = None

    # --- what a method says ---

    @abstractmethod
    def items(self, ids: Int[Tensor, "rows"]) -> Float[Tensor, "rows width"]:
        """Vectors of item ids 1..n_items, as inputs and as candidates."""

    def views(
        self, x: Float[Tensor, "positions width"], groups: Sequence[Bool[Tensor, "_ _"]]
    ) -> Sequence[Float[Tensor, "positions dim"]]:
        """What the backbone reads, once for each view; a state is its states side by side, as wide as an item's vector.

        `x` are the vectors of the real positions of some groups of histories, one after another, and `groups` which
        positions are real; `by_group` takes them a group at a time.
        """
        return (x,)

    def ranking_states(
        self, states: Float[Tensor, "batch width"], lengths: Int[Tensor, "batch"]
    ) -> Float[Tensor, "batch width"]:
        """The states that ranking uses, where they differ from those of training; `lengths` are in events."""
        return states

    def phases(self) -> Sequence[Phase]:
        return [Phase(name="train")]

    def extras(self, users: Int64[np.ndarray, "batch"], step: int, rng: np.random.Generator) -> Extras:
        """What a batch of these users (rows of the data) holds besides their histories. `step` counts from 0 in its
        phase; every draw uses `rng`."""
        return Extras()

    def prepared(self, batch: Batch, vectors: Float[Tensor, "rows width"]) -> Batch:
        """The batch with weights of its targets, or with what is computed once for all its micro-batches."""
        return batch

    def auxiliary(self, batch: Batch, vectors: Float[Tensor, "rows width"]) -> Float[Tensor, ""]:
        """Added to the objective; `vectors` are `items(batch.rows)`. Of the whole batch, at once."""
        return vectors.new_zeros(())

    def history_loss(
        self, batch: Batch, states: Float[Tensor, "targets width"], vectors: Float[Tensor, "rows width"]
    ) -> Float[Tensor, ""] | None:
        """Added to the objective too: a mean over the histories of a micro-batch, from their `states_of`.
        Every history has the same weight in an epoch, however many are in its batch."""
        return None

    def curves(self, batch: Batch, vectors: Float[Tensor, "rows width"]) -> dict[str, float]:
        """What the log reports about `auxiliary` at this batch, by name. `warnings` gets these values too, and
        `auxiliary_share`, its share of the gradient with respect to item vectors."""
        return {}

    # --- what follows from it ---

    def read(
        self, inputs: Sequence[Int[Tensor, "_ _"]], vectors: Float[Tensor, "rows width"]
    ) -> tuple[Float[Tensor, "positions width"], list[Bool[Tensor, "_ _"]]]:
        """States at the real positions of groups of histories, one after another, and which positions are real; ids
        are 0 for padding, r + 1 for row r of the vectors, and one more for the mask."""
        reals = [group != PAD for group in inputs]
        ids = torch.cat([group[real] for group, real in zip(inputs, reals, strict=True)])
        x = functional.embedding(ids - 1, torch.cat([vectors, self.mask[None]]))
        views = self.views(x, reals)  # in one pass: small histories cost less together
        states = self.backbone.forward_groups(views[0] if len(views) == 1 else torch.cat([*views]), reals * len(views))
        return _side_by_side(states.chunk(len(views))), reals

    def states_of(self, batch: Batch, vectors: Float[Tensor, "rows width"]) -> Float[Tensor, "targets width"]:
        """States where the batch predicts; `vectors` are `items(batch.rows)`."""
        states, reals = self.read(batch.inputs, vectors)
        row = torch.cat([real.flatten() for real in reals]).cumsum(0) - 1  # of each place, among the real ones
        return functional.embedding(row[batch.target_positions], states)

    def last_states(self, asked: Histories, vectors: Float[Tensor, "rows width"]) -> Float[Tensor, "histories width"]:
        """States at the end of the histories that `extras` asked for, in its order; with their gradient, unless under
        `torch.no_grad()`."""
        made = [self.task.ranking_inputs(group, mask_id(len(vectors))) for group in asked.inputs]
        states, reals = self.read([inputs for inputs, _ in made], vectors)
        lengths = torch.cat([real.sum(1) for real in reals])
        ends = lengths.cumsum(0) - lengths + torch.cat([last for _, last in made])
        return functional.embedding(ends[asked.order], states)

    def catalogue(self) -> Float[Tensor, "items width"]:
        """Vectors of the whole catalogue, item 1 first."""
        ids = torch.arange(1, self.n_items + 1, device=self.mask.device)
        return torch.cat([self.items(block) for block in torch.split(ids, ITEMS_PER_BLOCK)])

    def candidates(self) -> Float[Tensor, "items width"]:
        """What is multiplied with a state for the score of each item, item 1 first."""
        return self.similarity.of_vectors(self.catalogue())

    def begin_ranking(self) -> None:
        self._inputs = self.catalogue()
        self._table = self.similarity.of_vectors(self._inputs.double())

    def states(self, histories: Int[Tensor, "batch len"]) -> Float[Tensor, "batch width"]:
        if self._inputs is None:
            raise RuntimeError("begin_ranking() comes first")
        inputs, last = self.task.ranking_inputs(histories, mask_id(self.n_items))
        states = self._encoded(inputs, self._inputs)[torch.arange(len(inputs), device=inputs.device), last]
        return self.similarity.of_states(self.ranking_states(states, (histories != PAD).sum(1)))

    def _encoded(
        self, inputs: Int[Tensor, "batch len"], vectors: Float[Tensor, "rows width"]
    ) -> Float[Tensor, "batch len width"]:
        """States at every position of some histories."""
        table = torch.cat([vectors.new_zeros(1, vectors.shape[1]), vectors, self.mask[None]])
        real = inputs != PAD
        views = self.views(functional.embedding(inputs[real], table), [real])
        return _side_by_side([self.backbone(padded(view, real), real) for view in views])

    def scores(self, states: Float[Tensor, "batch width"], items: slice) -> Float[Tensor, "batch block"]:
        """Summed in float64, then rounded to float32: the size of a block cannot change a score."""
        if self._table is None:
            raise RuntimeError("begin_ranking() comes first")
        table, wide = self._table[items.start - 1 : items.stop - 1], states.double()
        scores = states.new_empty(len(states), len(table))
        for part, columns in zip(
            torch.split(table, ITEMS_PER_TILE), torch.split(scores, ITEMS_PER_TILE, 1), strict=True
        ):
            columns.copy_(wide @ part.T)  # rounded while it is in the cache
        return scores


def _side_by_side(states: Sequence[Float[Tensor, "*_ dim"]]) -> Float[Tensor, "*_ width"]:
    return states[0] if len(states) == 1 else torch.cat(list(states), dim=-1)
