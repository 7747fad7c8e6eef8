"""Directions of vectors, and how they lie to each other; needs NumPy alone."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

SHORTEST = 1e-12
"""A vector of no length has no direction; it stays zero."""
SAME = 1e-6
"""Cosines that differ by less are of the same text."""
ENTRIES = 1 << 24
"""Cosines that are in memory together: 64 MB."""

Vectors = NDArray[np.float32]


def unit(vectors: Vectors) -> Vectors:
    """[rows, dim] scaled to length one."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    directions: Vectors = vectors / np.maximum(lengths, SHORTEST)
    return directions


def blocks(rows: int, columns: int) -> Iterator[slice]:
    """Rows of a matrix [rows, columns] that fit into memory together."""
    size = max(1, ENTRIES // max(columns, 1))
    return (slice(start, start + size) for start in range(0, rows, size))


def alignment(one: Vectors, other: Vectors) -> float:
    """Mean squared distance of row i of one to row i of the other, both of unit length (Wang & Isola 2020, eq. of
    l_align, alpha 2)."""
    return float((2 - 2 * (one * other).sum(axis=1, dtype=np.float64)).mean())


def uniformity(units: Vectors) -> float:
    """log mean exp(-2 d^2) over all pairs of rows of unit length (Wang & Isola 2020, eq. of l_uniform, t 2)."""
    total = 0.0
    for rows in blocks(len(units), len(units)):
        near = np.exp(4 * (units[rows] @ units.T) - 4)  # exp(-2 d^2), d^2 = 2 - 2 cos
        total += near.sum(dtype=np.float64) - np.diagonal(near, rows.start).sum(dtype=np.float64)
    return float(np.log(total / (len(units) * (len(units) - 1))))
