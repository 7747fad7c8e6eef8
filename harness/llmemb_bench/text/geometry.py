"""Directions of vectors; needs NumPy alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SHORTEST = 1e-12
"""A vector of no length has no direction; it stays zero."""


def unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """[rows, dim] scaled to length one."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    directions: NDArray[np.float32] = vectors / np.maximum(lengths, SHORTEST)
    return directions
