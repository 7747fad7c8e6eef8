"""The contract of metrics."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np
from jaxtyping import Float64, Int

from llmemb_bench.contracts.plugin import Plugin
from llmemb_bench.registry.config import Config


class Metric(Plugin):
    """The gain of a rank; the harness takes the expectation over ties."""

    def __init__(self, config: Config) -> None:
        self.config = config

    @abstractmethod
    def gain(self, ranks: Int[np.ndarray, "n"]) -> Float64[np.ndarray, "n"]:
        """Gain of a target at these ranks (1 is best); ranks beyond the cut-off gain nothing."""
