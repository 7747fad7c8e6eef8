"""skeleton: say in one line what a rank is worth."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64, Int

from llmemb_bench.contracts import Metric
from llmemb_bench.registry.config import Config


class SkeletonConfig(Config):
    """Settings of `skeleton`."""


class Skeleton(Metric):
    """Half as much for each rank further down."""

    config: SkeletonConfig

    def gain(self, ranks: Int[np.ndarray, "n"]) -> Float64[np.ndarray, "n"]:
        return 0.5 ** (ranks - 1.0)
