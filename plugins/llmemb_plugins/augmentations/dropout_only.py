"""The same text twice: the two vectors of an item differ by dropout alone (SimCSE)."""

from __future__ import annotations

import numpy as np

from llmemb_bench.contracts import Augmentation
from llmemb_bench.registry.config import Config
from llmemb_bench.values.recdata import Attributes


class DropoutOnlyConfig(Config):
    """Settings of `dropout_only`: none; how much is dropped is `encoder.lora.dropout`."""


class DropoutOnly(Augmentation):
    """An item as it is (Gao et al. 2021, unsupervised SimCSE, section 3).

    SimCSE has the dropout of the whole base, 0.1; here bases have none and LoRA's is what differs (docs/adr/0003), so
    tuning without it is refused. Held-out recall says nothing here: a view is the text that it should find.
    """

    config: DropoutOnlyConfig
    draws = False

    def view(self, attributes: Attributes, rng: np.random.Generator) -> Attributes:
        return attributes
