"""One view is the title, the other all the rest: the title must find what it is the title of (EncodeRec)."""

from __future__ import annotations

import numpy as np

from llmemb_bench.contracts import Augmentation
from llmemb_bench.registry.config import Config
from llmemb_bench.values.recdata import Attributes


class TitleAgainstRestConfig(Config):
    """Settings of `title_against_rest`."""

    title: str | None = None
    """The attribute that stands against the others; absent, or where an item lacks it: the item's first one."""


class TitleAgainstRest(Augmentation):
    """EncodeRec's pair: title and description, of one item, are each other's positives.

    An item of one attribute is the same in both views. After an augmentation that moves or drops attributes, name the
    title, or the first one is another every time.
    """

    config: TitleAgainstRestConfig
    draws = False

    def view(self, attributes: Attributes, rng: np.random.Generator) -> Attributes:
        place = self._place(attributes)
        return attributes[place : place + 1]

    def second(self, attributes: Attributes, rng: np.random.Generator) -> Attributes:
        place = self._place(attributes)
        return attributes[:place] + attributes[place + 1 :] or attributes

    def _place(self, attributes: Attributes) -> int:
        names = [name for name, _ in attributes]
        return names.index(self.config.title) if self.config.title in names else 0
