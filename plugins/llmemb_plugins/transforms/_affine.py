"""Transforms that subtract a mean and multiply by a matrix, and what their settings ask of the vectors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Float32

from llmemb_bench.base.errors import Problem
from llmemb_bench.contracts import State, Transform


class Affine(Transform):
    """(x - mean) @ matrix, in float64; fitting finds `mean` [dim] and `matrix` [dim, out]."""

    def apply(
        self, state: State, vectors: Float32[np.ndarray, "items dim"], ids: Sequence[str]
    ) -> Float[np.ndarray, "items out"]:
        return (vectors.astype(np.float64) - state["mean"]) @ state["matrix"]


def too_wide(name: str, wanted: int, n_rows: int, dim: int | None) -> list[Problem]:
    """What is wrong where `name` cannot give so many directions of so many items, `dim` numbers each."""
    largest = n_rows if dim is None else min(n_rows, dim)
    if wanted <= largest:
        return []
    of_width = "" if dim is None else f" with {dim} each"
    return [
        Problem("dim", f"{name} cannot give {wanted} dimensions of {n_rows} items{of_width}", f"use at most {largest}")
    ]
