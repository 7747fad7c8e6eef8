"""The contracts of stage 1: encoders, augmentations, contrastive losses.

Axes: `batch` texts, `len` tokens, `items` the catalogue, `text_dim` the encoder's width, `dim` any width.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from llmemb_bench.contracts.plugin import Plugin
from llmemb_bench.registry.config import Config
from llmemb_bench.values.recdata import Attributes, Items


class TorchPlugin(Plugin, nn.Module):
    """A plugin that holds tensors."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config


class Encoder(Plugin):
    """Items in, one vector per item out: an ItemEncoder encodes all at once, a TextEncoder text by text."""

    needs_text: ClassVar[bool] = True
    trainable: ClassVar[bool] = False
    """Whether SCFT can tune it; such an encoder is a TextEncoder."""
    of_catalogue: ClassVar[bool] = False
    """Whether a vector is meant to depend on the other items too (a factorisation of all texts)."""

    @classmethod
    def text_dim_of(cls, config: Config) -> int | None:
        """Width of a vector where the settings alone say it."""
        return None


class ItemEncoder(Encoder):
    """The whole catalogue at once: no tokens, nothing to tune."""

    @abstractmethod
    def encode(self, items: Items) -> Float[np.ndarray, "items text_dim"]:
        """float32 vectors in the order of `items`."""


@dataclass(frozen=True)
class Tokens:
    """Ragged token ids; lengths are known before anything is padded, so batches can be made by length."""

    ids: tuple[tuple[int, ...], ...]
    pad: int

    def lengths(self) -> np.ndarray:
        return np.array([len(ids) for ids in self.ids], dtype=np.int64)

    def batch(self, rows: Sequence[int]) -> tuple[Int[Tensor, "batch len"], Bool[Tensor, "batch len"]]:
        """Ids padded on the right to the longest of these rows, and which of them are real."""
        lengths = np.array([len(self.ids[row]) for row in rows])
        real = np.arange(lengths.max()) < lengths[:, None]  # [batch, len]
        ids = np.full(real.shape, self.pad)
        ids[real] = [token for row in rows for token in self.ids[row]]
        return torch.from_numpy(ids), torch.from_numpy(real)


class TextEncoder(Encoder, TorchPlugin):
    """A language model; its pooled vector never depends on padding, batch or order."""

    trainable = True
    text_dim: int
    """Width of a vector."""
    max_tokens: int
    """Longest text that `forward` takes, in tokens."""

    instruction: str = ""
    """What every text begins with (`Prompt.instruction`); the harness says it as it makes the texts."""

    drops: bool = True
    """Whether a seed changes what tuning sees of a text (dropout)."""

    recomputes: bool = False
    """Whether a backward pass computes states again (gradient checkpointing): no other batch may come in between."""

    def __init__(self, config: Config, *, device: str = "cpu") -> None:
        super().__init__(config)
        self.device = torch.device(device)

    @abstractmethod
    def tokenize(self, texts: Sequence[str]) -> Tokens:
        """Token ids of each text; of one longer than `max_tokens` only its first `max_tokens` + 1, which tells the
        harness to cut it between words."""

    @abstractmethod
    def forward(
        self,
        ids: Int[Tensor, "batch len"],
        real: Bool[Tensor, "batch len"],
        seeds: Sequence[int] | None = None,
    ) -> Float[Tensor, "batch text_dim"]:
        """Pooled by `real`, never by index; padding may stand on either side.

        `seeds` (SCFT gives one a text) drive what is random, so that a text with a seed has one vector, whatever
        stands beside it; None: nothing is random.
        """

    @abstractmethod
    def save_tuned(self, folder: Path) -> None:
        """Write the trained weights as safetensors, and what they belong to as JSON."""

    @abstractmethod
    def load_tuned(self, folder: Path) -> None:
        """Read them back; another base's or an empty adapter is a DataError."""

    def facts(self) -> Mapping[str, object]:
        """What the vectors come from (weights and their hash, dtype, pooling), for the manifest."""
        return {}


class Augmentation(Plugin):
    """An item's attributes in, a view of them out: never empty, never a word that was not there."""

    draws: ClassVar[bool] = True
    """Whether views are drawn; False: an item has the same ones every time, whatever the generator."""

    def __init__(self, config: Config) -> None:
        self.config = config

    @abstractmethod
    def view(self, attributes: Attributes, rng: np.random.Generator) -> Attributes: ...

    def second(self, attributes: Attributes, rng: np.random.Generator) -> Attributes:
        """An item's other view, where it shows something else than the first (title against the rest)."""
        return self.view(attributes, rng)


class Loss(TorchPlugin):
    """Pulls row i of `left` towards row i of `right` and away from the others; used by SCFT and by RAT."""

    has_negatives: ClassVar[bool] = True
    """Whether rows are pushed apart; False: it compares features over a batch, and `alike` says nothing to it."""

    @abstractmethod
    def forward(
        self,
        left: Float[Tensor, "batch dim"],
        right: Float[Tensor, "batch dim"],
        duplicates: Bool[Tensor, "batch batch"] | None = None,
    ) -> Float[Tensor, ""]:
        """`duplicates[i, j]`: rows i and j mean the same (have the same text), so neither is a negative of the other;
        symmetric, False where i = j. None: every other row is a negative."""

    def targets(
        self, left: Float[Tensor, "batch dim"], right: Float[Tensor, "batch dim"]
    ) -> Float[Tensor, "batch batch"]:
        """What each row of `left` is asked to give to each row of `right`; rows sum to one. Its own, all of it, unless
        the loss is soft."""
        return torch.eye(len(left), device=left.device)

    def curves(self) -> dict[str, float]:
        """What training moves in the loss itself, by name (a temperature), for the log."""
        return {}
