"""Hit rate: 1 if the target stands within the cut-off."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64, Int

from llmemb_bench.contracts import Metric
from llmemb_bench.registry.config import Config


class HitRateConfig(Config):
    """Nothing to set."""


class HitRate(Metric):
    """HR@k of one target per user (equal to recall@k then)."""

    config: HitRateConfig

    def gain(self, ranks: Int[np.ndarray, "n"]) -> Float64[np.ndarray, "n"]:
        return np.ones(len(ranks))
