"""What the parts of stage 1 promise: encoders, augmentations, contrastive losses.

Axes: `batch` texts, `len` tokens, `items` the catalogue, `text_dim` the encoder's width, `dim` any width.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from llmemb_bench.config import Config
from llmemb_bench.contracts.plugin import Plugin
from llmemb_bench.data.recdata import Attributes, Items


class TorchPlugin(Plugin, nn.Module):
    """A plugin that holds tensors."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config


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
