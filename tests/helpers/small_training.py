"""A method, an objective and batches of a small cyclic world."""

from __future__ import annotations

import numpy as np
import torch

from llmemb_bench.base.seeds import torch_seed
from llmemb_bench.contracts import Parts
from llmemb_bench.settings.train import TrainConfig
from llmemb_bench.testing.recommender import known
from llmemb_bench.training.batches import TrainingBatches
from tests.helpers.plugins import configured, plugin
from tests.helpers.splits import make_split


def world(backbone="sasrec", objective="bce", method="id_only", n_items=12, given=None, dropout=0.0, **settings):
    rng = np.random.default_rng(0)
    split = make_split([((np.arange(7) + rng.integers(n_items)) % n_items + 1).tolist() for _ in range(40)], n_items)
    with torch_seed(0):
        found, config = configured("methods", method, **settings)
        text = torch.nn.functional.pad(torch.randn(n_items, 10), (0, 0, 1, 0))
        teacher = torch.nn.functional.pad(torch.randn(n_items, 16), (0, 0, 1, 0))
        reader = plugin("backbones", backbone, dim=16, max_len=8, dropout=dropout)
        made = found(config, Parts(n_items, reader, text, {"teacher": known(teacher)}))
    goal = plugin("objectives", objective, **(given or {}))
    return made, goal, TrainingBatches(split, reader, goal, TrainConfig(batch_size=16))
