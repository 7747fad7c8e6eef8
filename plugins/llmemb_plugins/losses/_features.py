"""Statistics of features over a batch."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor


def off_diagonal_squares(matrix: Float[Tensor, "dim dim"]) -> Float[Tensor, ""]:
    """Sum of the squares beside the diagonal."""
    return (matrix - matrix.diagonal().diag()).square().sum()
