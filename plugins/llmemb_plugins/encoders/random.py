"""Random vectors by item id: the control that tells text from mere width."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from jaxtyping import Float
from pydantic import Field

from llmemb_bench.base.memory import require
from llmemb_bench.base.seeds import generator
from llmemb_bench.contracts import ItemEncoder
from llmemb_bench.registry.config import Config, Seed
from llmemb_bench.values.recdata import Items


class RandomConfig(Config):
    """Settings of `random`."""

    dim: Annotated[int, Field(ge=1, le=65_536)] = 384
    """Width (ours: MiniLM's); at most four times that of the largest language models."""
    seed: Seed = 42
    """Seed of the draw."""


class Random(ItemEncoder):
    """Standard normal, drawn from the item's own id: the same vector in any catalogue and order."""

    config: RandomConfig
    needs_text = False

    def __init__(self, config: RandomConfig) -> None:
        self.config = config

    @classmethod
    def text_dim_of(cls, config: Config) -> int | None:
        return RandomConfig.model_validate(config).dim

    def encode(self, items: Items) -> Float[np.ndarray, "items text_dim"]:
        require(20 * len(items) * self.config.dim, f"{len(items):,} vectors", "embeddings.encoder.dim")
        rows = [
            generator(self.config.seed, "random vector", item).standard_normal(self.config.dim) for item in items.ids
        ]
        return np.array(rows, dtype=np.float32)
