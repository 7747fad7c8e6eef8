"""All of an item's attributes in random order: nothing is lost, only the reading order changes."""

from __future__ import annotations

import numpy as np

from llmemb_bench.contracts import Augmentation
from llmemb_bench.registry.config import Config
from llmemb_bench.values.recdata import Attributes


class ShuffleAttributesConfig(Config):
    """Settings of `shuffle_attributes`: none."""


class ShuffleAttributes(Augmentation):
    """What is left of LLMEmb's augmentation without its dropping: the ablation `drop_attributes` with ratio 0."""

    config: ShuffleAttributesConfig

    def view(self, attributes: Attributes, rng: np.random.Generator) -> Attributes:
        return tuple(attributes[place] for place in rng.permutation(len(attributes)))
