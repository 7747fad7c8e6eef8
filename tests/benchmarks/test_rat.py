"""Stage 2 against the published step's work: `pytest tests/benchmarks/test_rat.py --benchmark-only -m ""`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from llmemb_bench.base.ids import PAD
from llmemb_bench.settings.train import TrainConfig
from llmemb_bench.training.batches import TrainingBatches
from llmemb_bench.training.gradients import backward
from tests import ROOT
from tests.benchmarks.plain_rat import PlainStep
from tests.benchmarks.rat_step import model
from tests.helpers.plugins import plugin
from tests.helpers.splits import make_split


@pytest.mark.parametrize("backbone", ["sasrec", "bert4rec", "gru4rec"])
@pytest.mark.parametrize("method", ["llmemb", "id_only"])
def test_the_plain_step_has_the_loss_and_the_gradient_of_the_fast_one(method, backbone):
    rng = np.random.default_rng(0)
    split = make_split([rng.integers(1, 41, size=length).tolist() for length in rng.integers(3, 30, size=20)], 40)
    settings = {"alignment": {"repeats": True, "weight": 0.3}} if method == "llmemb" else {}
    made, objective = model(split, method, backbone, 200, 0.0, **settings), plugin("objectives", "bce")
    batch = next(TrainingBatches(split, made.backbone, objective, TrainConfig(batch_size=128)).epoch(0, 1))
    batch = replace(batch, targets_per_step=float(len(batch.target_positions)))  # the plain side's mean is over its own
    value = backward(made, objective, batch, TrainConfig())
    fast = {name: weight.grad.clone() for name, weight in made.named_parameters() if weight.grad is not None}
    made.zero_grad()
    loss = PlainStep(made, align=method == "llmemb").loss(*padded(batch, 40))
    torch.testing.assert_close(value.loss, loss.detach(), atol=1e-5, rtol=1e-4)
    torch.autograd.backward(loss)
    for name, weight in made.named_parameters():
        if name in fast and weight.grad is not None:
            torch.testing.assert_close(fast[name], weight.grad, atol=1e-4, rtol=1e-3)


def padded(batch, n_items: int) -> list[torch.Tensor]:
    """The same batch as [users, 200] ids: inputs, positives, negatives."""
    ids = torch.cat([torch.tensor([PAD]), batch.rows, torch.tensor([n_items + 1])])
    inputs, positives, negatives = [], [], []
    start = 0
    for group in batch.inputs:
        wanted, unwanted = torch.zeros(2, group.numel(), dtype=torch.int64)
        here = (batch.target_positions >= start) & (batch.target_positions < start + group.numel())
        wanted[batch.target_positions[here] - start] = batch.rows[batch.positives[here]]
        unwanted[batch.target_positions[here] - start] = batch.rows[batch.negatives.rows[here, 0]]
        for found, part in ((inputs, ids[group]), (positives, wanted), (negatives, unwanted)):
            found.append(torch.nn.functional.pad(part.view(group.shape), (0, 200 - group.shape[1])))
        start += group.numel()
    return [torch.cat(found) for found in (inputs, positives, negatives)]


def run(*words: str) -> dict[str, float]:
    """What a process of its own measured."""
    folder = os.environ.get("LLMEMB_BENCH_DATA", ROOT.parent / "shared" / "data")
    command = [sys.executable, "-W", "ignore", "-m", "tests.benchmarks.rat_step", *words]
    environment = os.environ | {"LLMEMB_BENCH_DATA": str(folder)}
    ran = subprocess.run(command, check=True, capture_output=True, text=True, env=environment, cwd=ROOT)
    return json.loads(ran.stdout)


def say(benchmark, **figures: float) -> None:
    benchmark.extra_info.update({name: round(value, 3) for name, value in figures.items()})
    print(f"\n{benchmark.name}: " + ", ".join(f"{name} {value:.3g}" for name, value in figures.items()))  # noqa: T201


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "backbone", "times"),
    [("llmemb", "sasrec", 50), ("llmemb", "gru4rec", 15), ("llmemb", "bert4rec", 30), ("id_only", "sasrec", 15)],
)
def test_training_against_the_published_steps_work(method, backbone, times, benchmark, real_data):
    fast = benchmark.pedantic(lambda: run("train", "ours", method, backbone), rounds=1)
    slow = run("train", "plain", method, backbone)
    say(
        benchmark,
        users_per_second=fast["users_per_second"],
        plain_users_per_second=slow["users_per_second"],
        times_faster=fast["users_per_second"] / slow["users_per_second"],
        share_of_memory=fast["megabytes"] / slow["megabytes"],
        megabytes=fast["megabytes"],
        plain_megabytes=slow["megabytes"],
        gflops=fast["gflops"],
        share_of_matrix_peak=fast["gflops"] / fast["matrix_peak"],
    )
    assert fast["users_per_second"] > times * slow["users_per_second"]
    assert fast["megabytes"] < 0.5 * slow["megabytes"]


@pytest.mark.slow
def test_full_ranking_against_the_plain_ranking_among_a_hundred(benchmark, real_data):
    fast = benchmark.pedantic(lambda: run("rank", "ours", "llmemb", "sasrec"), rounds=1)
    slow = run("rank", "plain", "llmemb", "sasrec")
    say(
        benchmark,
        users_per_second=fast["users_per_second"],
        plain_users_per_second=slow["users_per_second"],
        times_faster=fast["users_per_second"] / slow["users_per_second"],
    )
    assert fast["users_per_second"] > 50 * slow["users_per_second"]


@pytest.mark.slow
def test_ids_alone_at_fifty_events_as_the_peers_run_it(benchmark, real_data):
    """The other side is in `peers/`: RecTools and RecBole, each in an environment of its own."""
    words = ("id_only", "sasrec", "max_len=50", "dropout=0.2")
    trained = benchmark.pedantic(lambda: run("train", "ours", *words), rounds=1)
    ranked = run("rank", "ours", *words)
    say(
        benchmark,
        train_users_per_second=trained["users_per_second"],
        rank_users_per_second=ranked["users_per_second"],
        megabytes=trained["megabytes"],
    )


@pytest.mark.slow
def test_a_million_items_and_users(benchmark):
    """Neither a step nor a score gets slower, nor a user or item larger, from ten thousand to a million."""
    script = [sys.executable, "-W", "ignore", "-m", "tests.benchmarks.scale"]

    def at(size: int) -> dict[str, float]:
        ran = subprocess.run([*script, str(size)], check=True, capture_output=True, text=True, cwd=ROOT)
        return json.loads(ran.stdout)

    small, middle = at(10**4), at(10**5)
    large = benchmark.pedantic(lambda: at(10**6), rounds=1)
    for name, found in (("small", small), ("middle", middle), ("large", large)):
        say(benchmark, **{f"{name}_{key}": value for key, value in found.items()})
    assert large["peak_mb"] < 16 * 1024
    assert large["step_ms"] < 2 * small["step_ms"]
    assert large["rank_ns_per_score"] < 1.3 * small["rank_ns_per_score"]
    assert large["bytes_per_user_and_item"] < middle["bytes_per_user_and_item"]
