"""An epoch of each method with work of its own between epochs, beside one of `id_only` (`-m slow`)."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from torch.nn import functional

from llmemb_bench.base.seeds import torch_seed
from llmemb_bench.contracts import Parts
from llmemb_bench.settings.train import TrainConfig
from llmemb_bench.testing.recommender import known
from llmemb_bench.training.batches import batches_of
from llmemb_bench.training.gradients import backward
from llmemb_bench.training.optimizer import Optimizer
from tests.helpers.plugins import configured, plugin
from tests.helpers.splits import make_split

USERS, ITEMS, TEXT_DIM, DIM, ROUNDS = 1500, 3000, 384, 64, 5
BOUNDS = {"llm_esr": 3.0, "llm_esr, exact": 12.0, "llm_esr, no retrieval": 2.7, "melt": 4.0}
"""Of processor seconds against `id_only`, with SASRec of 64, one negative and text of 384."""
SETTINGS = {"llm_esr, exact": {"refresh": 1}, "llm_esr, no retrieval": {"weight": 0}}


class Epochs:
    """A method, and its epoch again and again."""

    def __init__(self, name: str) -> None:
        rng = np.random.default_rng(0)
        lengths = rng.integers(5, 14, size=USERS)
        chances = 1 / np.arange(1, ITEMS + 1) ** 0.7
        chances /= chances.sum()
        split = make_split([(rng.choice(ITEMS, n, replace=False, p=chances) + 1).tolist() for n in lengths], ITEMS)
        found, config = configured("methods", name.split(",")[0], **SETTINGS.get(name, {}))
        with torch_seed(0):
            text, base = (functional.pad(torch.randn(ITEMS, n), (0, 0, 1, 0)) for n in (TEXT_DIM, DIM))
            upstream = {"base": known(base)} if name == "melt" else {}
            if upstream:
                upstream["base"].method.backbone = plugin("backbones", "sasrec", dim=DIM, dropout=0.2)
            reader = plugin("backbones", "sasrec", dim=DIM, dropout=0.2)
            self.method = found(config, Parts(ITEMS, reader, text, upstream))
        self.method.fit_counts(split)
        self.objective, self.config = plugin("objectives", "bce"), TrainConfig(batch_size=128)
        self.batches = batches_of(self.method, split, self.objective, self.config)
        self.optimizer = Optimizer(self.method, self.objective, self.config)
        [self.phase], self.done = self.method.phases(), 0

    def seconds(self) -> float:
        start = time.process_time()
        if self.phase.begin_epoch:
            self.method.eval()
            with torch.no_grad():
                self.phase.begin_epoch(self.done + 1)
        self.method.train()
        for batch in self.batches.epoch(0, 1):
            backward(self.method, self.objective, batch, self.config)
            self.optimizer.step()
        self.done += 1
        return time.process_time() - start


@pytest.mark.slow
def test_an_epoch_costs_at_most_so_many_of_id_only():
    epochs = {name: Epochs(name) for name in ["id_only", *BOUNDS]}
    rounds = [{name: epoch.seconds() for name, epoch in epochs.items()} for _ in range(ROUNDS)][1:]  # one warms up
    usual = {name: min(taken[name] for taken in rounds) for name in epochs}
    ratios = {name: usual[name] / usual["id_only"] for name in BOUNDS}
    assert {name: ratio for name, ratio in ratios.items() if ratio > BOUNDS[name]} == {}, ratios
