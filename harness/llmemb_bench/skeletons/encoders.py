"""skeleton: say in one line how items become vectors."""

from __future__ import annotations

import hashlib
from typing import Annotated

import numpy as np
from jaxtyping import Float
from pydantic import Field

from llmemb_bench.contracts import ItemEncoder
from llmemb_bench.registry.config import Config
from llmemb_bench.values.recdata import Items


class SkeletonConfig(Config):
    """Settings of `skeleton`."""

    dim: Annotated[int, Field(ge=1)] = 64
    """Width of a vector."""


class Skeleton(ItemEncoder):
    """Hashed bag of words; replace it. A language model derives from TextEncoder instead."""

    config: SkeletonConfig

    def __init__(self, config: SkeletonConfig) -> None:
        self.config = config

    def encode(self, items: Items) -> Float[np.ndarray, "items text_dim"]:
        vectors = np.zeros((len(items), self.config.dim), dtype=np.float32)
        for row, text in enumerate(items.texts()):
            for word in text.split():
                vectors[row, int(hashlib.sha256(word.encode()).hexdigest(), 16) % self.config.dim] += 1
        return vectors
