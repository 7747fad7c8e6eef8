"""Whitening: covariance one, in the whole vector or in groups of dimensions (WhitenRec's)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
from jaxtyping import Float
from pydantic import Field

from llmemb_bench.base.errors import Problem
from llmemb_bench.contracts import FitRows, RowsConfig, State
from llmemb_bench.registry.config import Config
from llmemb_plugins.transforms._affine import Affine
from llmemb_plugins.transforms._moments import FLOOR, floored, moments, principal

Square = Float[np.ndarray, "dim dim"]


class WhitenConfig(RowsConfig):
    """Settings of `whiten`, beside the items that it is fitted on."""

    groups: Annotated[int, Field(ge=1)] = 1
    """Equal groups of neighbouring dimensions, each whitened for itself (paper: 1 whitens fully, 4 and more relax)."""
    kind: Literal["zca", "pca", "cholesky"] = "zca"
    """Which of the matrices W with W^T C W = 1: `zca` turns vectors least (paper's), `pca` gives the principal
    directions in their order, `cholesky` a triangular one (paper's other engine)."""
    floor: Annotated[float, Field(gt=0, le=1)] = FLOOR
    """Least eigenvalue, relative to the largest of the group (ours; the paper's is none, and divides by rounding)."""


class Whiten(Affine):
    """(x - mean) W, W^T C W = 1 for the covariance C = X^T X / N (Zhang et al., ICDE 2024, arXiv 2402.10602).

    With C = V L V^T: W = V L^-1/2 V^T (zca), V L^-1/2 (pca), and R^-T for C = R R^T (cholesky). Eigenvalues below the
    floor are raised to it in all three: a direction in which the items do not differ stays short, and a new item that
    does differ in it is not blown up further than the floor allows. Fewer items than dimensions leave such directions.
    """

    config: WhitenConfig

    @classmethod
    def refuses_vectors(cls, config: Config, n_rows: int, dim: int | None) -> Sequence[Problem]:
        groups = WhitenConfig.model_validate(config).groups
        if dim is None or dim % groups == 0:
            return []
        fitting = max(count for count in range(1, min(groups, dim) + 1) if dim % count == 0)
        finding = f"{dim} dimensions do not fall into {groups} equal groups"
        return [Problem("groups", finding, f"groups: {fitting}")]

    def fit(self, rows: FitRows) -> State:
        mean, covariance = moments(rows)
        matrix, size = np.zeros_like(covariance), rows.dim // self.config.groups
        for start in range(0, rows.dim, size):
            block = slice(start, start + size)
            matrix[block, block] = self._whitening(covariance[block, block])
        return {"mean": mean, "matrix": matrix}

    def _whitening(self, covariance: Square) -> Square:
        values, vectors = principal(covariance)
        values = floored(values, self.config.floor)
        match self.config.kind:
            case "zca":
                found = (vectors / np.sqrt(values)) @ vectors.T
            case "pca":
                found = vectors / np.sqrt(values)
            case "cholesky":
                found = np.linalg.inv(np.linalg.cholesky((vectors * values) @ vectors.T)).T
        return np.asarray(found)
