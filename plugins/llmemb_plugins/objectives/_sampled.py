"""What objectives with sampled negatives share."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from llmemb_bench.contracts import Objective, Sampling
from llmemb_bench.registry.config import Config


class SampledConfig(Config):
    """How many negatives, and from where."""

    negatives: Annotated[int, Field(ge=1)]
    """Negatives per target."""
    shared: bool = False
    """One draw for all targets of a batch: hundreds of negatives for the price of one product, less variety."""
    popularity: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the negatives drawn by training popularity; the rest is uniform."""

    def sampling(self) -> Sampling:
        """What the harness has to draw."""
        return Sampling(self.negatives, self.shared, self.popularity)


class SampledObjective(Objective):
    """Asks for the negatives that its settings name."""

    config: SampledConfig

    def __init__(self, config: SampledConfig) -> None:
        super().__init__(config)
        self.sampling = config.sampling()
