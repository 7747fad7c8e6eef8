"""Similarity of item texts."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64
from scipy import sparse

from llmemb_bench.contracts import Parts


def unit_vectors(parts: Parts) -> Float64[np.ndarray, "ids text_dim"]:
    """The item vectors at length one; those of no length stay."""
    if parts.text is None:
        raise TypeError("needs text vectors")
    text = parts.text.double().numpy()
    lengths = np.linalg.norm(text, axis=1, keepdims=True)
    return text / np.where(lengths > 0, lengths, 1)


def cosines(history: sparse.csr_array, unit: Float64[np.ndarray, "ids text_dim"]) -> Float64[np.ndarray, "batch ids"]:
    """[batch, ids] cosine of each history's weighted sum of unit vectors with each item's vector."""
    states = history @ unit
    lengths = np.linalg.norm(states, axis=1, keepdims=True)
    found: Float64[np.ndarray, "batch ids"] = (states / np.where(lengths > 0, lengths, 1)) @ unit.T
    return found
