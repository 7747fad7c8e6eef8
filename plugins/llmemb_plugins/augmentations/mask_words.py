"""Leave out single words, each by its own draw: the rest keeps its order."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field

from llmemb_bench.contracts import Augmentation
from llmemb_bench.registry.config import Config
from llmemb_bench.values.recdata import Attributes


class MaskWordsConfig(Config):
    """Settings of `mask_words`."""

    ratio: Annotated[float, Field(gt=0, lt=1)] = 0.15
    """Chance of each word to be left out (BERT masks 0.15 of its tokens; Wei & Zou 2019 delete 0.1 of the words)."""


class MaskWords(Augmentation):
    """Random deletion (EDA, Wei & Zou 2019): a word is left out, not replaced, since a mask token would be a word that
    was not there, and decoders have none.

    Words are what blanks part. An attribute without a word left is left out; one word of an item always stays.
    """

    config: MaskWordsConfig

    def view(self, attributes: Attributes, rng: np.random.Generator) -> Attributes:
        words = [(place, word) for place, (_, value) in enumerate(attributes) for word in value.split()]
        if not words:
            return attributes
        stays = rng.random(len(words)) >= self.config.ratio
        stays[rng.integers(len(words))] |= not stays.any()
        left: dict[int, list[str]] = {}
        for (place, word), is_left in zip(words, stays, strict=True):
            if is_left:
                left.setdefault(place, []).append(word)
        return tuple((attributes[place][0], " ".join(some)) for place, some in left.items())
