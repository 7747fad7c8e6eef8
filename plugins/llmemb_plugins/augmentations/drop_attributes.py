"""Attribute-level augmentation: shuffle an item's attributes and leave some out (LLMEmb's)."""

from __future__ import annotations

import math
from typing import Annotated

import numpy as np
from pydantic import Field

from llmemb_bench.contracts import Augmentation
from llmemb_bench.registry.config import Config
from llmemb_bench.values.recdata import Attributes


class DropAttributesConfig(Config):
    """Settings of `drop_attributes`."""

    ratio: Annotated[float, Field(ge=0, lt=1)] = 0.4
    """Share of attributes left out, rounded down (paper's code: 0.4)."""


class DropAttributes(Augmentation):
    """Shuffle, then keep all but the last floor(ratio * n); one attribute always stays.

    Drawn anew at every call; the published code drew once for all epochs and lost items of one attribute.
    """

    config: DropAttributesConfig

    def view(self, attributes: Attributes, rng: np.random.Generator) -> Attributes:
        n_kept = len(attributes) - math.floor(self.config.ratio * len(attributes))
        return tuple(attributes[index] for index in rng.permutation(len(attributes))[:n_kept])
