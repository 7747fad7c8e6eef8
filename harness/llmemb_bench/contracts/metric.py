"""What a metric promises."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np
from jaxtyping import Float64, Int

from llmemb_bench.contracts.plugin import Plugin
from llmemb_bench.registry.config import Config


class Metric(Plugin):
    """The worth of a rank; the harness takes the expectation over the tied."""

    def __init__(self, config: Config) -> None:
        self.config = config

    @abstractmethod
    def gain(self, ranks: Int[np.ndarray, "n"]) -> Float64[np.ndarray, "n"]:
        """Worth of a target at these ranks (1 is best); ranks beyond the cut-off are worth nothing."""
