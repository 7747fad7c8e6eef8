"""Mean zero and standard deviation one, in each dimension or in the whole table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float, Float32

from llmemb_bench.contracts import FitRows, RowsConfig, State, Transform
from llmemb_plugins.transforms._moments import variances


class StandardizeConfig(RowsConfig):
    """Settings of `standardize`, beside the items that it is fitted on."""

    per: Literal["dimension", "table"] = "dimension"
    """`dimension`: each has mean 0 and standard deviation 1; `table`: each has mean 0, and one factor for all numbers
    makes their mean square 1, which keeps angles and relative lengths (ours: dimension, as scikit-learn's)."""


class Standardize(Transform):
    """(x - mean) / std, by the population's standard deviation; a dimension without variance becomes zero."""

    config: StandardizeConfig

    def fit(self, rows: FitRows) -> State:
        mean, variance = variances(rows)
        if self.config.per == "table":
            variance = np.full(rows.dim, variance.mean())
        constant = np.sqrt(variance) <= np.finfo(np.float32).eps * np.abs(mean)  # nothing but rounding
        return {"mean": mean, "scale": np.where(constant, 0, 1 / np.sqrt(np.where(constant, 1, variance)))}

    def apply(
        self, state: State, vectors: Float32[np.ndarray, "items dim"], ids: Sequence[str]
    ) -> Float[np.ndarray, "items out"]:
        return (vectors - state["mean"]) * state["scale"]
