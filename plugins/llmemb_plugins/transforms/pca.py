"""PCA: the directions of most variance, centred and not whitened (LLMEmb's extraction step)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

from pydantic import Field

from llmemb_bench.base.errors import Problem
from llmemb_bench.contracts import FitRows, RowsConfig, State
from llmemb_bench.registry.config import Config
from llmemb_plugins.transforms._affine import Affine, too_wide
from llmemb_plugins.transforms._moments import moments, principal


class PcaConfig(RowsConfig):
    """Settings of `pca`, beside the items that it is fitted on."""

    dim: Annotated[int, Field(ge=1)]
    """Dimensions kept; at most the smaller of the items and the width (paper: 1536)."""


class Pca(Affine):
    """(x - mean) V, V the eigenvectors of the covariance with the `dim` largest eigenvalues.

    As scikit-learn's, signs included, but by the covariance in blocks and not by a decomposition of the whole table: a
    million items fit. Directions with less than a 1e8th of the largest standard deviation are rounding either way.
    """

    config: PcaConfig

    @classmethod
    def dim_of(cls, config: Config, dim: int | None) -> int | None:
        return PcaConfig.model_validate(config).dim

    @classmethod
    def refuses_vectors(cls, config: Config, n_rows: int, dim: int | None) -> Sequence[Problem]:
        return too_wide("PCA", PcaConfig.model_validate(config).dim, n_rows, dim)

    @classmethod
    def example(cls, folder: Path) -> Mapping[str, object]:
        return {"dim": 3}

    def fit(self, rows: FitRows) -> State:
        mean, covariance = moments(rows)
        _, vectors = principal(covariance)
        return {"mean": mean, "matrix": vectors[:, : self.config.dim]}
