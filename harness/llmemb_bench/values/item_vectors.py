"""Item vectors as a table with a padding row."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor

from llmemb_bench.base.errors import DataError
from llmemb_bench.base.ids import PAD


@dataclass(frozen=True, eq=False)
class ItemVectors:
    """float32 [items + 1, text_dim]; row i is item i, row 0 is padding and zero."""

    table: Tensor

    def __post_init__(self) -> None:
        if self.table[PAD].any():
            raise DataError("row 0 of a vector table is padding and should be zero", where="item vectors")
        if not torch.isfinite(self.table).all():
            raise DataError("hold numbers that are not finite", where="item vectors")

    @classmethod
    def of(cls, vectors: Float[np.ndarray, "items text_dim"]) -> ItemVectors:
        """From one vector per item, item 1 first."""
        padding = np.zeros((1, vectors.shape[1]), dtype=np.float32)
        return cls(torch.from_numpy(np.ascontiguousarray(np.concatenate([padding, vectors]), dtype=np.float32)))

    def save(self, folder: Path) -> None:
        save_file({"table": self.table}, folder / "vectors.safetensors")

    @classmethod
    def load(cls, folder: Path) -> ItemVectors:
        return cls(load_file(folder / "vectors.safetensors")["table"])
