"""The start of a trained id table: the SVD of the vectors, cut to its width and brought to its scale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from llmemb_bench.base.errors import Problem
from llmemb_bench.contracts import FitRows, RowsConfig, State
from llmemb_bench.registry.config import Config
from llmemb_plugins.transforms._affine import Affine, too_wide
from llmemb_plugins.transforms._moments import FLOOR, floored, moments, principal


class SvdInitConfig(RowsConfig):
    """Settings of `svd_init`, beside the items that it is fitted on."""

    dim: Annotated[int, Field(ge=1)]
    """Width of the id table."""
    standardize: bool = True
    """Whether each dimension has the same variance (code of AlphaFuse's LLMInit); else that of its singular value."""
    std: Annotated[float, Field(gt=0)] = 1.0
    """Root of the mean square of all numbers (code: 1, that of a fresh nn.Embedding)."""


class SvdInit(Affine):
    """std c (X - mean) V_d, X - mean = U S V^T: U_d S_d, or U_d alone where standardised; c makes the mean square 1.

    Sources differ: AlphaFuse's LLMInit takes these with unit variance, LLMInit itself (arXiv 2503.01814) selects
    dimensions (`select_dims`), LLM2X takes PCA as it is (`pca`). Ours is the first, with the scale as a setting: it
    matters, for the table is trained.
    """

    config: SvdInitConfig

    @classmethod
    def dim_of(cls, config: Config, dim: int | None) -> int | None:
        return SvdInitConfig.model_validate(config).dim

    @classmethod
    def refuses_vectors(cls, config: Config, n_rows: int, dim: int | None) -> Sequence[Problem]:
        return too_wide("SVD", SvdInitConfig.model_validate(config).dim, n_rows, dim)

    @classmethod
    def example(cls, folder: Path) -> Mapping[str, object]:
        return {"dim": 3}

    def fit(self, rows: FitRows) -> State:
        mean, covariance = moments(rows)
        values, vectors = principal(covariance)
        kept, matrix = values[: self.config.dim], vectors[:, : self.config.dim]
        if self.config.standardize:
            divided = floored(values, FLOOR)[: self.config.dim]
            kept, matrix = kept / divided, matrix / np.sqrt(divided)
        square = kept.mean()
        return {"mean": mean, "matrix": matrix * (self.config.std / np.sqrt(square) if square > 0 else 1.0)}
