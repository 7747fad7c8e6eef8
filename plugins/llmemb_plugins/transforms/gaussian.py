"""Control: vectors drawn from a normal distribution of the same mean and covariance, without any meaning."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Float32

from llmemb_bench.base.seeds import generator
from llmemb_bench.contracts import FitRows, RowsConfig, State, Transform
from llmemb_bench.registry.config import Seed
from llmemb_plugins.transforms._moments import moments, principal


class GaussianConfig(RowsConfig):
    """Settings of `gaussian`, beside the items that it is fitted on."""

    seed: Seed = 42
    """Seed of the draws, whatever the seed of training."""


class Gaussian(Transform):
    """mean + V L^1/2 z, z ~ N(0, 1) drawn from the item's own id, C = V L V^T the covariance of the fitted vectors.

    Mean and covariance are kept, and of the lengths their mean square alone: they decide the mean cosine and the
    spectrum, and so what an adapter or a PCA after it can do, which is what a control should leave as it was. Items of
    one text get different vectors.
    """

    config: GaussianConfig
    is_control = True

    def fit(self, rows: FitRows) -> State:
        mean, covariance = moments(rows)
        values, vectors = principal(covariance)
        return {"mean": mean, "factor": (vectors * np.sqrt(values)).T}

    def apply(
        self, state: State, vectors: Float32[np.ndarray, "items dim"], ids: Sequence[str]
    ) -> Float[np.ndarray, "items out"]:
        dim = len(state["mean"])
        drawn = [generator(self.config.seed, "gaussian vector", item).standard_normal(dim) for item in ids]
        return np.array(drawn) @ state["factor"] + state["mean"]
