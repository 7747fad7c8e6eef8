"""skeleton: say in one line what a view of an item is."""

from __future__ import annotations

import numpy as np

from llmemb_bench.contracts import Augmentation
from llmemb_bench.registry.config import Config
from llmemb_bench.values.recdata import Attributes


class SkeletonConfig(Config):
    """Settings of `skeleton`."""


class Skeleton(Augmentation):
    """The attributes in random order."""

    config: SkeletonConfig

    def view(self, attributes: Attributes, rng: np.random.Generator) -> Attributes:
        return tuple(attributes[index] for index in rng.permutation(len(attributes)))
