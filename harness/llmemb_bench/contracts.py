"""What each kind of plugin promises. Read this file, then write one file.

Axes: `batch` sequences or texts, `len` positions, `dim` the recommender's width, `text_dim` the encoder's,
`items` the catalogue, `rows` the distinct items of a training batch, `targets` its predictions.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from duckdb import DuckDBPyConnection, DuckDBPyRelation
from jaxtyping import Bool, Float, Float64, Int
from torch import Tensor, nn

from llmemb_bench.config import Config, MethodChoice, SpecPath
from llmemb_bench.data.recdata import Attributes, Items, Split
from llmemb_bench.errors import MissingError
from llmemb_bench.ids import PAD, mask_id


class Plugin(ABC):
    """One file of one kind. `config` is what the user wrote, keyword arguments are what the harness knows."""

    config: Config

    @classmethod
    def config_type(cls) -> type[Config]:
        """The settings class: what the plugin annotates `config` with."""
        for owner in cls.__mro__:
            if "config" in inspect.get_annotations(owner):
                return _annotated_config(owner)
        raise TypeError(f"{cls.__name__} does not annotate `config`")

    @classmethod
    def example(cls, folder: Path) -> dict[str, Any]:
        """Settings of a miniature case; files it needs are written into `folder`. The contract checks use it."""
        return {}


def _annotated_config(owner: type) -> type[Config]:
    from typing import get_type_hints

    found: type[Config] = get_type_hints(owner)["config"]
    return found


class TorchPlugin(Plugin, nn.Module):
    """A plugin that holds tensors."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config


# --- datasets ---------------------------------------------------------------------------------------------


class DatasetConfig(Config):
    """Settings that every dataset has; the harness applies them."""

    instruction: str = "The item has the following attributes: "
    """The line that every prompt starts with."""
    attributes: list[str] | None = None
    """Attributes that go into the text, in this order; all of the dataset's when absent."""
    attribute_chars: int | None = None
    """Longest attribute value in characters; longer ones are cut."""
    min_user_events: int = 1
    """Keep users with at least this many events, counted once on the raw events (single-pass core)."""
    min_item_events: int = 1
    """Keep items with at least this many events, counted once on the raw events (single-pass core)."""
    iterate_core: bool = False
    """Repeat the two cuts above until nothing changes (k-core) instead of counting once."""
    min_history: int = 1
    """After the cuts, drop users with fewer events than this."""
    repeats: Literal["keep", "drop"] = "keep"
    """What happens to a later event of the same user with the same item."""
    textless: Literal["refuse", "keep"] = "refuse"
    """An item without any attribute: an error, or encoded as the bare instruction."""


class FilesConfig(DatasetConfig):
    """Settings of a dataset that reads a folder of files."""

    path: SpecPath
    """Folder of the raw files; `${env:NAME}` is allowed."""


class Dataset(Plugin):
    """Raw files in, two relations out; filtering, ids, splits and checks are the harness's."""

    config: DatasetConfig
    obtain: ClassVar[str] = ""
    """Where the files come from, under which terms, and where to put them."""

    def __init__(self, config: DatasetConfig) -> None:
        self.config = config

    @classmethod
    def variant(cls, config: Config) -> str:
        """What tells two uses of this plugin apart in a report, for example the category."""
        return ""

    @abstractmethod
    def files(self) -> Sequence[Path]:
        """The raw files that the relations read; a missing one is a MissingError."""

    @abstractmethod
    def events(self, db: DuckDBPyConnection) -> DuckDBPyRelation:
        """Columns `user, item, time`, in file order; equal times keep that order."""

    @abstractmethod
    def items(self, db: DuckDBPyConnection) -> DuckDBPyRelation | None:
        """Columns `item` and one a text attribute (string or list of strings); None: no texts."""

    def raw(self, folder: Path, *names: str) -> Path:
        """The first of these files that exists in `folder`; the error says how to get it."""
        for name in names:
            if (folder / name).is_file():
                return folder / name
        raise MissingError(f"no {' or '.join(names)} in {folder}", where="dataset", fix=self.obtain)


# --- text -------------------------------------------------------------------------------------------------


class Encoder(Plugin):
    """Items in, one vector an item out."""

    needs_text: ClassVar[bool] = True
    trainable: ClassVar[bool] = False
    """Whether SCFT can tune it; such an encoder is a TextEncoder."""

    @abstractmethod
    def encode(self, items: Items) -> Float[np.ndarray, "items text_dim"]:
        """float32 vectors in the order of `items`."""


@dataclass(frozen=True)
class Tokens:
    """Ragged token ids; lengths are known before anything is padded, so batches can be made by length."""

    ids: tuple[tuple[int, ...], ...]
    pad: int

    def lengths(self) -> np.ndarray:
        return np.array([len(ids) for ids in self.ids])

    def batch(self, rows: Sequence[int]) -> tuple[Int[Tensor, "batch len"], Bool[Tensor, "batch len"]]:
        """Ids padded on the right to the longest of these rows, and which of them are real."""
        longest = max(len(self.ids[row]) for row in rows)
        ids = torch.full((len(rows), longest), self.pad)
        real = torch.zeros(len(rows), longest, dtype=torch.bool)
        for place, row in enumerate(rows):
            ids[place, : len(self.ids[row])] = torch.tensor(self.ids[row])
            real[place, : len(self.ids[row])] = True
        return ids, real


class TextEncoder(Encoder, TorchPlugin):
    """A language model; its pooled vector never depends on padding, batch or order."""

    trainable = True

    def __init__(self, config: Config, *, device: str = "cpu") -> None:
        super().__init__(config)
        self.device = torch.device(device)

    @abstractmethod
    def tokenize(self, texts: Sequence[str]) -> Tokens:
        """Token ids of each text, cut to the model's length."""

    @abstractmethod
    def forward(
        self, ids: Int[Tensor, "batch len"], real: Bool[Tensor, "batch len"]
    ) -> Float[Tensor, "batch text_dim"]:
        """Pooled by `real`, never by index; padding may stand on either side."""

    @abstractmethod
    def save_adapter(self, folder: Path) -> None:
        """Write the trained weights (LoRA) as safetensors and JSON."""

    @abstractmethod
    def load_adapter(self, folder: Path) -> None:
        """Read them back; another base's or an empty adapter is an error."""

    def encode(self, items: Items) -> Float[np.ndarray, "items text_dim"]:
        from llmemb_bench.text.encoding import encode_texts

        return encode_texts(self, items.texts())


class Augmentation(Plugin):
    """An item's attributes in, a view of them out: never empty, never a word that was not there."""

    def __init__(self, config: Config) -> None:
        self.config = config

    @abstractmethod
    def view(self, attributes: Attributes, rng: np.random.Generator) -> Attributes: ...


class Loss(TorchPlugin):
    """Pulls row i of `left` towards row i of `right` and away from the others; used by SCFT and by RAT."""

    @abstractmethod
    def forward(self, left: Float[Tensor, "batch dim"], right: Float[Tensor, "batch dim"]) -> Float[Tensor, ""]: ...


# --- recommender ------------------------------------------------------------------------------------------


class BackboneConfig(Config):
    """Settings that every backbone has."""

    dim: int = 64
    """Width of item vectors and states."""
    max_len: int = 50
    """Longest history that the model sees, in events; the latest are kept."""
    dropout: float = 0.2
    """Share of activations dropped in training."""


class Backbone(TorchPlugin):
    """A sequence of vectors in, a state at each position out; never sees an id.

    Real positions come first, padding after them; what stands at padding never matters.
    """

    config: BackboneConfig
    task: ClassVar[Literal["next_item", "cloze"]]
    """`next_item`: position t may use positions <= t and predicts t + 1. `cloze`: predicts hidden items."""

    @abstractmethod
    def forward(
        self, x: Float[Tensor, "batch len dim"], real: Bool[Tensor, "batch len"]
    ) -> Float[Tensor, "batch len dim"]: ...

    def hidden_share(self) -> float:
        """Share of a training history that a cloze task hides."""
        return 0.0


@dataclass(frozen=True)
class Batch:
    """One training batch; every catalogue item in it stands once in `rows`."""

    rows: Int[Tensor, "rows"]
    """Item ids (1-based, distinct)."""
    inputs: Int[Tensor, "batch len"]
    """0 padding, r + 1 for `rows[r]`, `len(rows) + 1` for the mask."""
    places: Int[Tensor, "targets"]
    """Where in the flattened inputs a prediction is made."""
    positives: Int[Tensor, "targets"]
    """The item to predict there, as an index into `rows`."""
    negatives: Int[Tensor, "targets negatives"]
    """Sampled items, likewise; no item of the user's training history."""


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
    """Item vectors of the trained teacher; row 0 is padding and zero."""


class Method(TorchPlugin):
    """How item vectors become a recommender: one row of a comparison table."""

    needs: ClassVar[frozenset[Literal["backbone", "text", "teacher", "training"]]] = frozenset()
    max_len: int | None = None
    """Events of a history that the method looks at; None: all."""

    def __init__(self, config: Config, parts: Parts) -> None:
        super().__init__(config)

    @classmethod
    def teacher(cls, config: Config) -> Teacher | None:
        """Which recommender is trained first, if `needs` says so."""
        return None

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

    def auxiliary(self, batch: Batch, vectors: Float[Tensor, "rows dim"]) -> Float[Tensor, ""]:
        """Added to the objective; `vectors` are `items(batch.rows)`."""
        return vectors.new_zeros(())

    def fit_counts(self, split: Split) -> None:
        return

    def encode(
        self, inputs: Int[Tensor, "batch len"], vectors: Float[Tensor, "rows dim"]
    ) -> Float[Tensor, "batch len dim"]:
        """States at every position; `inputs` as in Batch."""
        table = torch.cat([vectors.new_zeros(1, vectors.shape[1]), vectors, self.mask[None]])
        states: Tensor = self.backbone(nn.functional.embedding(inputs, table), inputs != PAD)
        return states

    def catalogue(self) -> Float[Tensor, "items dim"]:
        """Vectors of the whole catalogue, item 1 first."""
        return self.items(torch.arange(1, self.n_items + 1, device=self.mask.device))

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
        return (states.double() @ self._table[items.start - 1 : items.stop - 1].T).float()


class Objective(TorchPlugin):
    """States, positives and negatives in, a scalar out."""

    n_negatives: int = 0
    """Sampled negatives a target."""
    whole_catalogue: ClassVar[bool] = False
    """Whether `vectors` must hold every item (its row r is then item r + 1)."""

    @abstractmethod
    def forward(
        self,
        states: Float[Tensor, "targets dim"],
        vectors: Float[Tensor, "rows dim"],
        positives: Int[Tensor, "targets"],
        negatives: Int[Tensor, "targets negatives"],
    ) -> Float[Tensor, ""]: ...


# --- metrics ----------------------------------------------------------------------------------------------


class Metric(Plugin):
    """The worth of a rank; the harness takes the expectation over the tied."""

    def __init__(self, config: Config) -> None:
        self.config = config

    @abstractmethod
    def gain(self, ranks: Int[np.ndarray, "n"]) -> Float64[np.ndarray, "n"]:
        """Worth of a target at these ranks (1 is best); ranks beyond the cut-off are worth nothing."""


CONTRACTS: dict[str, type[Plugin]] = {
    "datasets": Dataset,
    "encoders": Encoder,
    "augmentations": Augmentation,
    "losses": Loss,
    "backbones": Backbone,
    "methods": Method,
    "objectives": Objective,
    "metrics": Metric,
}
"""Kind (the folder's name) to the class that its plugins derive from."""
