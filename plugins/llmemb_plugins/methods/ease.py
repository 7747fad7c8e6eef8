"""EASE: the best linear item-to-item model with a zero diagonal, in closed form (Steck, WWW 2019)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from jaxtyping import Float64, Int64
from pydantic import Field
from scipy.linalg import lapack

from llmemb_bench.base.errors import Problem
from llmemb_bench.base.memory import require
from llmemb_bench.contracts import CellFacts, Parts
from llmemb_bench.registry.config import Config
from llmemb_bench.values.split import Split
from llmemb_plugins.methods._histories import ByHistory, bought, exponential, weighted

ITEMS_A_BLOCK = 1024


class EaseConfig(Config):
    """Settings of `ease`."""

    l2: Annotated[float, Field(gt=0)] = 500.0
    """Weight of the squared norm, against pairs by a user or two (paper: 500 for MovieLens 20M, 1000 and 200 for its
    other two data sets)."""


class Ease(ByHistory):
    """Score of item j: sum over the distinct items i of the history of B_ij, where B_ij = -P_ij / P_jj off the diagonal
    and 0 on it, P = (X^T X + l2 I)^-1, and X are the training events, users by items, ones and zeros (eqs. 3, 8 and
    algorithm 1).

    One float64 matrix of items by items, inverted in place: a catalogue that it does not fit is refused.
    """

    config: EaseConfig

    def __init__(self, config: EaseConfig, parts: Parts) -> None:
        super().__init__(config, parts)
        self.weights = np.zeros((0, 0))

    @classmethod
    def refuses(cls, config: Config, facts: CellFacts) -> Sequence[Problem]:
        """A DataError where the matrix is larger than this machine's memory."""
        _require_memory(facts.n_items)
        return ()

    def fit_counts(self, split: Split) -> None:
        _require_memory(self.n_items)
        users, width = bought(split), self.n_items + 1
        gram = np.zeros((width, width))
        for start in range(0, width, ITEMS_A_BLOCK):
            part = slice(start, start + ITEMS_A_BLOCK)
            gram[part] = (users[:, part].T @ users).toarray()
        gram[np.diag_indices(width)] += self.config.l2
        self.weights = _inverted(gram)
        self.weights /= -self.weights.diagonal().copy()
        np.fill_diagonal(self.weights, 0)

    def catalogue_scores(self, ids: Int64[np.ndarray, "batch len"]) -> Float64[np.ndarray, "batch ids"]:
        history = weighted(ids, self.n_items, exponential(1.0))
        history.sum_duplicates()
        history.data[:] = 1
        scores: Float64[np.ndarray, "batch ids"] = history @ self.weights
        return scores


def _require_memory(n_items: int) -> None:
    what = f"the matrix of {n_items:,} by {n_items:,} items of ease"
    require(8 * (n_items + 1) ** 2, what, "recommender.method", "item_knn, or a larger dataset.min_item_events")


def _inverted(matrix: Float64[np.ndarray, "ids ids"]) -> Float64[np.ndarray, "ids ids"]:
    """The inverse of a symmetric positive definite matrix, in its place."""
    turned = matrix.T  # the same numbers, laid out as LAPACK takes them without a copy
    factor, _ = lapack.dpotrf(turned, lower=1, overwrite_a=1)
    inverse, _ = lapack.dpotri(factor, lower=1, overwrite_c=1)
    for start in range(0, len(inverse), ITEMS_A_BLOCK):  # LAPACK fills one triangle
        end = start + ITEMS_A_BLOCK
        corner = inverse[start:end, start:end]
        corner[:] = np.tril(corner) + np.tril(corner, -1).T
        inverse[start:end, end:] = inverse[end:, start:end].T
    return np.asarray(inverse.T)
