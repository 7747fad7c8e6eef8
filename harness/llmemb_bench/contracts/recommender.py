"""What the parts of stage 2 promise: backbones, methods, objectives.

Axes: `batch` sequences, `len` positions, `dim` the recommender's width, `text_dim` the encoder's, `items` the
catalogue, `rows` the distinct items of a training batch, `targets` its predictions.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import torch
from jaxtyping import Bool, Float, Float64, Int
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from llmemb_bench.config import Config, MethodChoice
from llmemb_bench.contracts.batch import Batch, Negatives, Sampling
from llmemb_bench.contracts.text import TorchPlugin
from llmemb_bench.data.split import Split
from llmemb_bench.ids import PAD, mask_id

ITEMS_A_TILE, ITEMS_A_BLOCK = 2048, 1 << 16
WIDEST = 1 << 16
"""Numbers of a vector: the largest language models have a quarter of it."""


Depth = Annotated[int, Field(ge=1, le=256)]
"""Blocks or layers one behind another; deeper than any recommender that was ever trained."""


class BackboneConfig(Config):
    """Settings that every backbone has."""

    dim: Annotated[int, Field(ge=1, le=WIDEST)] = 64
    """Width of item vectors and states."""
    max_len: Annotated[int, Field(ge=1)] = 50
    """Longest history that the model sees, in events; the latest are kept."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """Share of activations dropped in training."""


class Backbone(TorchPlugin):
    """A sequence of vectors in, a state at each position out; never sees an id.

    Real positions come first, padding after them; what stands at padding never matters.
    """

    config: BackboneConfig
    structured: ClassVar[frozenset[str]] = frozenset()
    """Last names of weights whose start means something, so that no other initialisation may overwrite them."""
    positions_a_group: ClassVar[int] = 512
    """Of a training batch: a further group of histories costs about as much as so many positions of padding (measured
    on a CPU)."""
    is_compiled: bool = False
    """Whether `forward`, and nothing else, went through torch.compile: `forward_groups` then calls it."""
    task: ClassVar[Literal["next_item", "cloze"]]
    """`next_item`: position t may use positions <= t and predicts t + 1. `cloze`: predicts hidden items."""

    @abstractmethod
    def forward(
        self, x: Float[Tensor, "batch len dim"], real: Bool[Tensor, "batch len"]
    ) -> Float[Tensor, "batch len dim"]: ...

    def forward_groups(
        self, x: Float[Tensor, "positions dim"], groups: Sequence[Bool[Tensor, "_ _"]]
    ) -> Float[Tensor, "positions dim"]:
        """The same for all groups of a training batch: `x` are their real positions, one behind another, without the
        padding between. A backbone may do better than pad them, as here."""
        parts = torch.split(x, [int(real.sum()) for real in groups])
        return torch.cat([self._padded(part, real) for part, real in zip(parts, groups, strict=True)])

    def _padded(self, x: Float[Tensor, "positions dim"], real: Bool[Tensor, "_ _"]) -> Float[Tensor, "positions dim"]:
        padded = x.new_zeros(*real.shape, x.shape[1]).index_put((real,), x)
        states: Tensor = self(padded, real)[real]
        return states

    def hidden_share(self) -> float:
        """Share of a training history that a cloze task hides."""
        return 0.0

    def shown_shares(self) -> tuple[float, float]:
        """Of the hidden places, the shares that show a random item, and the hidden item itself, instead of the mask."""
        return 0.0, 0.0

    def only_last(self) -> bool:
        """Whether a next-item task predicts the last training event only, instead of one at every position."""
        return False


@dataclass(frozen=True)
class Teacher:
    """The recommender whose item vectors a method is aligned with."""

    method: MethodChoice
    backbone: Any
    """A BackboneChoice, or None for the cell's own."""


@dataclass(frozen=True)
class Parts:
    """What the harness knows when it builds a method; what is not in the method's `needs` is None."""

    n_items: int
    backbone: Backbone | None = None
    text: Float[Tensor, "rows text_dim"] | None = None
    """Item vectors from text; row 0 is padding and zero."""
    teacher: Float[Tensor, "rows dim"] | None = None
    """Item vectors of the trained teacher, row 0 padding and zero; None where a trained method is built to rank."""


class Method(TorchPlugin):
    """How item vectors become a recommender: one row of a comparison table."""

    needs: ClassVar[frozenset[Literal["backbone", "text", "teacher", "training"]]] = frozenset()
    max_len: int | None = None
    """Events of a history that the method looks at; None: all."""

    def __init__(self, config: Config, parts: Parts) -> None:
        super().__init__(config)

    @classmethod
    def teacher(cls, config: Config) -> Teacher | None:
        """Which recommender is trained first, if `needs` says so; None: none for these settings."""
        return None

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return next((weight.device for weight in self.parameters()), torch.device("cpu"))

    @abstractmethod
    def fit_counts(self, split: Split) -> None:
        """See the training histories once, before any training step."""

    def begin_ranking(self) -> None:
        """Called once before a ranking, without gradients: compute the item table here."""
        return

    @abstractmethod
    def states(self, histories: Int[Tensor, "batch len"]) -> Float[Tensor, "batch width"]:
        """One state a history; real items first, then PAD."""

    @abstractmethod
    def scores(self, states: Float[Tensor, "batch width"], items: slice) -> Float[Tensor, "batch block"]:
        """float32 scores of the item ids in the slice."""


class VectorMethod(Method):
    """A method whose score is the product of a backbone's state and an item's vector (tied weights)."""

    needs: ClassVar[frozenset[Literal["backbone", "text", "teacher", "training"]]] = frozenset({"backbone", "training"})
    loaded: ClassVar[frozenset[str]] = frozenset()
    """Names of weights that come from data, so that no initialisation may overwrite them."""

    def __init__(self, config: Config, parts: Parts) -> None:
        super().__init__(config, parts)
        if parts.backbone is None:
            raise TypeError(f"{type(self).__name__} needs a backbone")
        self.backbone = parts.backbone
        self.dim = self.backbone.config.dim
        # A cloze model reads one place more than the history: the mask that asks for the next item.
        self.max_len = self.backbone.config.max_len - (self.backbone.task == "cloze")
        self.n_items = parts.n_items
        self.mask = nn.Parameter(torch.randn(self.dim) * self.dim**-0.5)
        self._table: Float64[Tensor, "items dim"] | None = None

    @abstractmethod
    def items(self, ids: Int[Tensor, "rows"]) -> Float[Tensor, "rows dim"]:
        """Vectors of item ids 1..n_items, as inputs and as candidates."""

    def tables(self) -> list[nn.Embedding]:
        """Trained tables with a row an item, of which a step touches those of its batch only."""
        return []

    def auxiliary(self, batch: Batch, vectors: Float[Tensor, "rows dim"]) -> Float[Tensor, ""]:
        """Added to the objective; `vectors` are `items(batch.rows)`."""
        return vectors.new_zeros(())

    def curves(self, batch: Batch, vectors: Float[Tensor, "rows dim"]) -> dict[str, float]:
        """What the log tells about `auxiliary` at this batch, by name."""
        return {}

    def doubts(self, curves: Mapping[str, float]) -> list[str]:
        """What a reader of the results must be told, from the curves where training ended (`auxiliary_share` among
        them: its share of the gradient by item vectors)."""
        return []

    def fit_counts(self, split: Split) -> None:
        return

    def encode(
        self, inputs: Int[Tensor, "batch len"], vectors: Float[Tensor, "rows dim"]
    ) -> Float[Tensor, "batch len dim"]:
        """States at every position of some histories; `inputs` is a group of a Batch."""
        table = torch.cat([vectors.new_zeros(1, vectors.shape[1]), vectors, self.mask[None]])
        states: Tensor = self.backbone(nn.functional.embedding(inputs, table), inputs != PAD)
        return states

    def states_of(self, batch: Batch, vectors: Float[Tensor, "rows dim"]) -> Float[Tensor, "targets dim"]:
        """States where the batch predicts; `vectors` are `items(batch.rows)`."""
        reals = [group != PAD for group in batch.inputs]
        inputs = torch.cat([group[real] for group, real in zip(batch.inputs, reals, strict=True)])
        x = functional.embedding(inputs - 1, torch.cat([vectors, self.mask[None]]))
        states = self.backbone.forward_groups(x, reals)
        row = torch.cat([real.flatten() for real in reals]).cumsum(0) - 1  # of each place, among the real ones
        return functional.embedding(row[batch.places], states)

    def catalogue(self) -> Float[Tensor, "items dim"]:
        """Vectors of the whole catalogue, item 1 first."""
        ids = torch.arange(1, self.n_items + 1, device=self.mask.device)
        return torch.cat([self.items(block) for block in torch.split(ids, ITEMS_A_BLOCK)])

    def begin_ranking(self) -> None:
        self._table = self.catalogue().double()

    def states(self, histories: Int[Tensor, "batch len"]) -> Float[Tensor, "batch dim"]:
        if self._table is None:
            raise RuntimeError("begin_ranking() comes first")
        inputs, last = histories, (histories != PAD).sum(1) - 1
        if self.backbone.task == "cloze":  # the mask stands behind the last item
            last = last + 1
            inputs = nn.functional.pad(inputs, (0, 1), value=PAD)
            inputs[torch.arange(len(inputs), device=inputs.device), last] = mask_id(self.n_items)
        states = self.encode(inputs, self._table.float())
        return states[torch.arange(len(states), device=states.device), last]

    def scores(self, states: Float[Tensor, "batch dim"], items: slice) -> Float[Tensor, "batch block"]:
        """Summed in float64, then rounded to float32: the size of a block cannot change a score."""
        if self._table is None:
            raise RuntimeError("begin_ranking() comes first")
        table, wide = self._table[items.start - 1 : items.stop - 1], states.double()
        scores = states.new_empty(len(states), len(table))
        for part, columns in zip(torch.split(table, ITEMS_A_TILE), torch.split(scores, ITEMS_A_TILE, 1), strict=True):
            columns.copy_(wide @ part.T)  # rounded while it is in the cache
        return scores


class Objective(TorchPlugin):
    """States, positives and negatives in, a scalar out: a mean over the targets, so that it can be taken in blocks."""

    sampling: Sampling = Sampling()
    """How negatives are drawn."""
    whole_catalogue: ClassVar[bool] = False
    """Whether `vectors` must hold every item (its row r is then item r + 1)."""

    @abstractmethod
    def forward(
        self,
        states: Float[Tensor, "targets dim"],
        vectors: Float[Tensor, "rows dim"],
        positives: Int[Tensor, "targets"],
        negatives: Negatives,
    ) -> Float[Tensor, ""]: ...
