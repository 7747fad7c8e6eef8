"""What training takes of memory, estimated before anything is allocated."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import nn

from llmemb_bench.base.memory import is_out_of_memory, require
from llmemb_bench.contracts import Backbone, Objective
from llmemb_bench.registry.config import Config
from llmemb_bench.settings.train import TrainConfig
from llmemb_bench.values.split import Split

COPIES = 4
"""Of a weight in training: itself, its gradient and Adam's two means."""
BYTES_PER_NEGATIVE = 40
"""An id twice, a logarithm, a score and its gradient."""


def refuse_huge_weights(build: Callable[[], nn.Module], settings: Mapping[str, Config]) -> None:
    """Build a module of weights without numbers (torch's device `meta`), and count them; `settings` by dotted key."""
    try:
        with torch.device("meta"):
            module = build()
        weights = [weight for weight in (*module.parameters(), *module.buffers()) if weight.is_meta]
        size: int | float = sum(weight.numel() * weight.element_size() for weight in weights)
    except Exception as error:
        if not (is_out_of_memory(error) or "overflow" in f"{type(error).__name__} {error}".lower()):
            return  # it computes with its weights as it is built: there is nothing to count
        size = float("inf")
    require(COPIES * size, "training the weights", largest(settings))


def refuse_huge_draws(split: Split, backbone: Backbone, objective: Objective, config: TrainConfig) -> None:
    """The negatives of a step, which are drawn together; all else of a batch goes through the model in parts."""
    longest = min(int(split.n_train.max()), backbone.config.max_len)
    targets = min(int(np.minimum(split.n_train, longest).sum()), config.batch_size * longest)
    count, shared = objective.sampling.count, objective.sampling.shared
    drawn = BYTES_PER_NEGATIVE * count * (1 if shared else targets) + (count * targets if shared else 0)
    require(drawn, f"{count:,} negatives of a step", largest({"recommender.objective": objective.config}))


def largest(settings: Mapping[str, Config]) -> str:
    """The whole number among some settings that is furthest above its default: what to make smaller."""
    found = {
        f"{where}.{name}": value / max(about.default if isinstance(about.default, int) else 1, 1)
        for where, config in settings.items()
        for name, about in type(config).model_fields.items()
        if isinstance(value := getattr(config, name), int) and not isinstance(value, bool)
    }
    return max(found, key=found.__getitem__, default=next(iter(settings)))
