"""Some of the dimensions as they are: drawn, at equal steps, or those of most variance (LLMInit's three rules)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from jaxtyping import Float, Float32
from pydantic import Field

from llmemb_bench.base.errors import Problem
from llmemb_bench.base.seeds import generator
from llmemb_bench.contracts import FitOn, FitRows, State, Transform
from llmemb_bench.registry.config import Config, Seed
from llmemb_plugins.transforms._moments import variances


class SelectDimsConfig(Config):
    """Settings of `select_dims`."""

    dim: Annotated[int, Field(ge=1)]
    """Dimensions kept."""
    rule: Literal["random", "uniform", "variance"] = "variance"
    """`random`: drawn without replacement; `uniform`: at equal steps; `variance`: those that vary most over popular
    items."""
    popular: Annotated[float, Field(gt=0, le=1)] = 0.2
    """Share of the items of training that are popular, for `variance` (paper: 0.2)."""
    seed: Seed = 42
    """Seed of the draw, for `random`, whatever the seed of training."""


class SelectDims(Transform):
    """x[chosen], the chosen dimensions in ascending order (arXiv 2503.01814).

    Where we decided: `uniform` takes floor(i D / d) for i < d; `variance` takes the most popular items by training
    events alone, their number rounded up, with all that are as popular as the last of them (so that no order of items
    matters), and of equal variances the first. `variance` is fitted on the items of training; the others know no item.
    """

    config: SelectDimsConfig

    @classmethod
    def fitted_on(cls, config: Config) -> FitOn:
        return "training" if SelectDimsConfig.model_validate(config).rule == "variance" else "all"

    @classmethod
    def dim_of(cls, config: Config, dim: int | None) -> int | None:
        return SelectDimsConfig.model_validate(config).dim

    @classmethod
    def refuses_vectors(cls, config: Config, n_rows: int, dim: int | None) -> Sequence[Problem]:
        wanted = SelectDimsConfig.model_validate(config).dim
        if dim is None or wanted <= dim:
            return []
        return [Problem("dim", f"there are no {wanted} dimensions to select, vectors have {dim}", f"use at most {dim}")]

    @classmethod
    def example(cls, folder: Path) -> Mapping[str, object]:
        return {"dim": 3}

    def fit(self, rows: FitRows) -> State:
        dim, config = rows.dim, self.config
        match config.rule:
            case "random":
                draw = generator(config.seed, "select dims", dim, config.dim)
                chosen = draw.choice(dim, config.dim, replace=False)
            case "uniform":
                chosen = np.arange(config.dim) * dim // config.dim
            case "variance":
                chosen = np.argsort(-self._variances(rows), kind="stable")[: config.dim]
        return {"chosen": np.sort(chosen).astype(np.int64)}

    def _variances(self, rows: FitRows) -> Float[np.ndarray, "dim"]:
        if rows.counts is None:
            raise TypeError("popularity is counted on training events")
        place = math.ceil(self.config.popular * len(rows)) - 1
        least = np.sort(rows.counts)[::-1][place]
        popular = np.flatnonzero(rows.counts >= least).tolist()
        return variances(FitRows([rows.ids[row] for row in popular], rows.vectors[popular]))[1]

    def apply(
        self, state: State, vectors: Float32[np.ndarray, "items dim"], ids: Sequence[str]
    ) -> Float[np.ndarray, "items out"]:
        return vectors[:, state["chosen"]]
