"""Normalised discounted cumulative gain: 1 / log2(rank + 1) within the cut-off."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64, Int

from llmemb_bench.contracts import Metric
from llmemb_bench.registry.config import Config


class NdcgConfig(Config):
    """Nothing to set."""


class Ndcg(Metric):
    """NDCG@k of one target per user (Järvelin & Kekäläinen 2002; the ideal gain is 1)."""

    config: NdcgConfig

    def gain(self, ranks: Int[np.ndarray, "n"]) -> Float64[np.ndarray, "n"]:
        return 1.0 / np.log2(ranks + 1.0)
