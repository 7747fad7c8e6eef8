"""AlphaFuse's decomposition: principal directions of unit variance, with room for ids in those of least variance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, model_validator

from llmemb_bench.base.errors import Problem
from llmemb_bench.contracts import FitRows, RowsConfig, State
from llmemb_bench.registry.config import Config
from llmemb_plugins.transforms._affine import Affine, too_wide
from llmemb_plugins.transforms._moments import FLOOR, floored, moments, principal


class NullSpaceConfig(RowsConfig):
    """Settings of `null_space`, beside the items that it is fitted on."""

    dim: Annotated[int, Field(ge=1)] = 128
    """Dimensions kept, the principal ones in the order of their variance (code: 128)."""
    empty: Annotated[int, Field(ge=0)] = 0
    """Of these the last so many become zero, for ids alone to stand there (code: 0, ids are added to the text; with
    `cover` 64)."""
    threshold: Annotated[float, Field(gt=0)] | None = None
    """In place of `empty`: dimensions whose variance, times `scale` squared, is at most this become zero (code's
    null_thres)."""
    standardize: bool = True
    """Whether each dimension is divided by its standard deviation (code)."""
    scale: Annotated[float, Field(gt=0)] = 40.0
    """What vectors are multiplied by first (code); without effect on the vectors where they are standardised."""
    weights: Literal["items", "events"] = "items"
    """Whether each item counts alike in mean and covariance (code), or as often as training has it (code's
    item_frequency_flag); the latter needs `fit_on: training`."""
    floor: Annotated[float, Field(gt=0, le=1)] = FLOOR
    """Least eigenvalue to divide by, relative to the largest (ours; the code divides by zero)."""

    @model_validator(mode="after")
    def _consistent(self) -> NullSpaceConfig:
        if self.weights == "events" and self.fit_on != "training":
            raise ValueError("should have fit_on: training, for the weights are counts of training events")
        if self.threshold is not None and self.empty:
            raise ValueError("should have a threshold or a number of empty dimensions, not both")
        if self.empty >= self.dim:
            raise ValueError("should leave some of the dimensions to the text: empty must be less than dim")
        return self


class NullSpace(Affine):
    """(s x - s mean) U_d S_d^-1/2, U S U^T = s^2 C the covariance with 1 / (N - 1) (Hu et al., SIGIR 2025; code of
    Hugo-Chinn/AlphaFuse).

    The table that comes out is the frozen half of AlphaFuse; the ids, trained, are its method's. Where we decided:
    weighted by events, the covariance is sum p_i x_i x_i^T with p summing to one; the code divides it by the items once
    more, which only `threshold` and `standardize: false` feel. `threshold` empties dimensions among the `dim` that are
    kept; the code takes the count over all dimensions off `dim`, which comes out negative.
    """

    config: NullSpaceConfig

    @classmethod
    def dim_of(cls, config: Config, dim: int | None) -> int | None:
        return NullSpaceConfig.model_validate(config).dim

    @classmethod
    def refuses_vectors(cls, config: Config, n_rows: int, dim: int | None) -> Sequence[Problem]:
        return too_wide("null_space", NullSpaceConfig.model_validate(config).dim, n_rows, dim)

    @classmethod
    def example(cls, folder: Path) -> Mapping[str, object]:
        return {"dim": 3, "empty": 1}

    def fit(self, rows: FitRows) -> State:
        config, by_events = self.config, self.config.weights == "events"
        mean, covariance = moments(rows, rows.counts if by_events else None)
        correction = 1.0 if by_events else len(rows) / max(len(rows) - 1, 1)
        values, vectors = principal(config.scale**2 * correction * covariance)
        matrix = config.scale * vectors[:, : config.dim]
        if config.standardize:
            matrix /= np.sqrt(floored(values, config.floor)[: config.dim])
        if config.threshold is not None:
            matrix[:, values[: config.dim] <= config.threshold] = 0
        elif config.empty:
            matrix[:, -config.empty :] = 0
        return {"mean": mean, "matrix": matrix, "variances": values}
