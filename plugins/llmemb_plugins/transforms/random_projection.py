"""Random projection to fewer dimensions: what a reduction that knows nothing of the vectors keeps."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from llmemb_bench.base.seeds import generator
from llmemb_bench.contracts import FitRows, State
from llmemb_bench.registry.config import Config, Seed
from llmemb_plugins.transforms._affine import Affine


class RandomProjectionConfig(Config):
    """Settings of `random_projection`."""

    dim: Annotated[int, Field(ge=1, le=65_536)]
    """Dimensions that come out; may be more than come in."""
    seed: Seed = 42
    """Seed of the draw, whatever the seed of training."""


class RandomProjection(Affine):
    """x R, R_ij ~ N(0, 1 / dim): squared lengths and distances are kept on average (Johnson and Lindenstrauss 1984;
    Dasgupta and Gupta 2003). Drawn and not fitted, so that it knows no item; nothing is centred."""

    config: RandomProjectionConfig

    @classmethod
    def dim_of(cls, config: Config, dim: int | None) -> int | None:
        return RandomProjectionConfig.model_validate(config).dim

    @classmethod
    def example(cls, folder: Path) -> Mapping[str, object]:
        return {"dim": 5}

    def fit(self, rows: FitRows) -> State:
        dim = self.config.dim
        drawn = generator(self.config.seed, "random projection", rows.dim, dim).standard_normal((rows.dim, dim))
        return {"mean": np.zeros(rows.dim), "matrix": drawn / np.sqrt(dim)}
