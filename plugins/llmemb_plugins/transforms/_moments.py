"""Mean, covariance and principal directions of many vectors, in float64 and in blocks: nothing of rows x rows."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Shaped

from llmemb_bench.contracts import FitRows

Mean = Float[np.ndarray, "dim"]
Covariance = Float[np.ndarray, "dim dim"]

FLOOR = 1e-6
"""Of eigenvalues, relative to the largest: below it there is nothing but rounding of float32 vectors."""


def moments(rows: FitRows, weights: Shaped[np.ndarray, "rows"] | None = None) -> tuple[Mean, Covariance]:
    """Mean and covariance, sum_i w_i (x_i - mean)(x_i - mean)^T with weights that sum to one (1 / rows unless given).

    In two passes, for a difference of large sums loses what matters.
    """
    share = np.full(len(rows), 1 / len(rows)) if weights is None else weights / weights.sum()
    mean, covariance, start = np.zeros(rows.dim), np.zeros((rows.dim, rows.dim)), 0
    for block in rows.blocks():
        mean += share[start : start + len(block)] @ block
        start += len(block)
    start = 0
    for block in rows.blocks():
        centred = block - mean
        covariance += (centred * share[start : start + len(block), None]).T @ centred
        start += len(block)
    return mean, covariance


def variances(rows: FitRows) -> tuple[Mean, Mean]:
    """Mean and variance of each dimension, with 1 / rows."""
    mean = sum((block.sum(0) for block in rows.blocks()), np.zeros(rows.dim)) / len(rows)
    squares = sum((np.square(block - mean).sum(0) for block in rows.blocks()), np.zeros(rows.dim))
    return mean, squares / len(rows)


def principal(covariance: Covariance) -> tuple[Mean, Covariance]:
    """Eigenvalues, the largest first and none negative, and the eigenvectors as columns. Of each eigenvector the entry
    that is largest by amount is positive, so that a direction has one sign (as scikit-learn's PCA has it)."""
    values, vectors = np.linalg.eigh(covariance)
    values, vectors = values[::-1], vectors[:, ::-1]
    largest = np.abs(vectors).argmax(axis=0)
    signs = np.where(vectors[largest, np.arange(len(vectors))] < 0, -1.0, 1.0)
    return np.maximum(values, 0), vectors * signs


def floored(values: Mean, floor: float) -> Mean:
    """Eigenvalues, none below `floor` times the largest; all one where there is no variance at all."""
    largest = values.max()
    return np.maximum(values, floor * largest) if largest > 0 else np.ones_like(values)
