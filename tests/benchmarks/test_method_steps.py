"""A step of each method over text vectors beside one of `id_only` (`-m slow`)."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from torch.nn import functional

from llmemb_bench.base.seeds import torch_seed
from llmemb_bench.contracts import Parts
from llmemb_bench.settings.train import TrainConfig
from llmemb_bench.training.batches import batches_of
from llmemb_bench.training.gradients import backward
from llmemb_bench.training.optimizer import Optimizer
from tests.helpers.plugins import configured, plugin
from tests.helpers.splits import make_split

ITEMS, WIDTH, DIM, ROUNDS = 3000, 384, 64, 12
BOUNDS = {
    ("llm2x", ""): 1.2,
    ("llm_init", ""): 1.2,
    ("alphafuse", ""): 1.3,
    ("morec", ""): 1.7,
    ("sailrec", ""): 1.9,
    ("rlmrec", "contrastive"): 1.9,
    ("rlmrec", "generative"): 2.3,
    ("whitenrec", ""): 2.4,
    ("whitenrec_plus", ""): 3.5,
    ("unisrec", ""): 4.0,
    ("faerec", ""): 3.6,
}
"""Of processor seconds against `id_only`, with SASRec of 64, full cross-entropy and text of 384 (ours: a third above
what was measured)."""


class Stepper:
    """A method and one batch of it, taken again and again."""

    def __init__(self, name: str, form: str) -> None:
        rng = np.random.default_rng(0)
        lengths = rng.integers(5, 14, size=600)
        split = make_split([(rng.choice(ITEMS, size=length, replace=False) + 1).tolist() for length in lengths], ITEMS)
        found, config = configured("methods", name, **({"form": form} if form else {}))
        with torch_seed(0):
            text = functional.pad(torch.randn(ITEMS, WIDTH), (0, 0, 1, 0))
            self.method = found(config, Parts(ITEMS, plugin("backbones", "sasrec", dim=DIM, dropout=0.2), text))
        self.method.fit_counts(split)
        self.method.train()
        self.objective, self.config = plugin("objectives", "cross_entropy"), TrainConfig(batch_size=128)
        self.batch = next(iter(batches_of(self.method, split, self.objective, self.config).epoch(0, 1)))
        self.optimizer = Optimizer(self.method, self.objective, self.config)

    def seconds(self) -> float:
        start = time.process_time()
        backward(self.method, self.objective, self.batch, self.config)
        self.optimizer.step()
        return time.process_time() - start


@pytest.mark.slow
def test_each_step_costs_at_most_so_many_of_id_only():
    steppers = {key: Stepper(*key) for key in [("id_only", ""), *BOUNDS]}
    rounds = [{key: stepper.seconds() for key, stepper in steppers.items()} for _ in range(ROUNDS)]
    usual = {key: float(np.quantile([taken[key] for taken in rounds], 0.25)) for key in steppers}
    ratios = {key: usual[key] / usual["id_only", ""] for key in BOUNDS}
    assert {key: ratio for key, ratio in ratios.items() if ratio > BOUNDS[key]} == {}, ratios
