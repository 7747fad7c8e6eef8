"""Mean reciprocal rank: 1 / rank within the cut-off."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64, Int

from llmemb_bench.contracts import Metric
from llmemb_bench.registry.config import Config


class MrrConfig(Config):
    """Nothing to set."""


class Mrr(Metric):
    """MRR@k of one target per user."""

    config: MrrConfig

    def gain(self, ranks: Int[np.ndarray, "n"]) -> Float64[np.ndarray, "n"]:
        return 1.0 / ranks
