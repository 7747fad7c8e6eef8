"""Item vectors as a table with a padding row, and their reduction."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor

from llmemb_bench.base.errors import DataError, SpecError
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


def refuse_wide(dim: int, n_items: int, text_dim: int | None) -> None:
    """A SpecError where PCA cannot give so many dimensions; of vectors whose width is not known only items count."""
    largest = n_items if text_dim is None else min(n_items, text_dim)
    if dim > largest:
        of_width = "" if text_dim is None else f" with {text_dim} each"
        raise SpecError(
            f"PCA cannot give {dim} dimensions of {n_items} items{of_width}",
            where="embeddings.reduce.dim",
            fix=f"use at most {largest}, or leave 'reduce:' out",
        )


def reduce_dim(vectors: Float[np.ndarray, "items text_dim"], dim: int) -> Float[np.ndarray, "items dim"]:
    """PCA: centred, not whitened (LLMEmb's extraction), with the deterministic sign of scikit-learn's SVD flip. More
    dimensions than there are is a SpecError."""
    from sklearn.decomposition import PCA

    refuse_wide(dim, *vectors.shape)
    reduced = PCA(dim, svd_solver="full").fit_transform(vectors.astype(np.float64))
    return np.asarray(reduced, dtype=np.float32)
