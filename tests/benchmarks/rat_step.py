"""Training, or ranking, of one model on the paper's Yelp file in a process of its own; prints what it cost, as JSON.

python -m tests.benchmarks.rat_step train|rank ours|plain METHOD BACKBONE [key=value ...]
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from llmemb_bench.base.seeds import torch_seed
from llmemb_bench.contracts import Parts
from llmemb_bench.evaluation.candidates import draw_candidates
from llmemb_bench.evaluation.ranking import rank
from llmemb_bench.registry.kinds import DatasetChoice
from llmemb_bench.settings.evaluate import Evaluate
from llmemb_bench.settings.train import TrainConfig
from llmemb_bench.stages.cache import Cache
from llmemb_bench.stages.dataset import PreparedData
from llmemb_bench.testing.recommender import known
from llmemb_bench.training.batches import TrainingBatches
from llmemb_bench.training.gradients import backward
from llmemb_bench.training.optimizer import Optimizer
from llmemb_bench.values.split import Split
from tests.benchmarks.plain_rat import PlainStep, plain_batches
from tests.benchmarks.prepare_files import peak_megabytes
from tests.helpers.plugins import configured, plugin

ROUNDS, PLAIN_STEPS = 3, 6
DIM, TEXT_DIM = 128, 1536
PUBLISHED = {"gru4rec": {"targets": "last"}}


def split() -> Split:
    """The paper's own interactions."""
    folder = Path(os.environ["LLMEMB_BENCH_DATA"])
    choice = DatasetChoice("interactions", {"file": str(folder / "paper-inter" / "yelp" / "inter.txt.gz")})
    with TemporaryDirectory() as cache:
        return Split(PreparedData(Cache(Path(cache)), choice).result())


def model(data: Split, method: str, backbone: str, max_len: int, dropout: float, **settings: object):
    """A method over random text vectors and a random teacher."""
    n_items = data.data.n_items
    method_type, config = configured("methods", method, **settings)
    with torch_seed(0):
        reader = plugin("backbones", backbone, dim=DIM, max_len=max_len, dropout=dropout, **PUBLISHED.get(backbone, {}))
        text, teacher = (
            torch.nn.functional.pad(torch.randn(n_items, width), (0, 0, 1, 0)) for width in (TEXT_DIM, DIM)
        )
        return method_type(config, Parts(n_items, reader, text, {"teacher": known(0.1 * teacher)})).train()


def ours(data: Split, made, config: TrainConfig) -> tuple[Callable[[], object], int]:
    """An epoch, and its users."""
    objective = plugin("objectives", "bce")
    batches = TrainingBatches(data, made.backbone, objective, config)
    optimizer = Optimizer(made, objective, config)

    def epoch() -> None:
        for batch in batches.epoch(0, 1):
            backward(made, objective, batch, config)
            optimizer.step()

    return epoch, len(batches.users) * batches.task.copies


def plain(data: Split, made) -> tuple[Callable[[], object], int]:
    """A few steps, and their users."""
    step = PlainStep(made, align=hasattr(made, "align"))
    optimizer = torch.optim.Adam(made.parameters())
    backbone = made.backbone
    batches = endless(lambda: plain_batches(data, backbone.task, 128))

    def steps() -> None:
        for _ in range(PLAIN_STEPS):
            step.train(next(batches), optimizer)

    return steps, 128 * PLAIN_STEPS


def endless(make_epoch: Callable[[], object]) -> Iterator[list[torch.Tensor]]:
    """One epoch after another."""
    while True:
        yield from make_epoch()


def ranking(data: Split, made, side: str) -> tuple[Callable[[], object], int]:
    """The full ranking of every test user, or the plain one among 100 candidates of some."""
    made.eval()
    if side == "ours":
        return lambda: rank(made, data, "test", Evaluate(), ()), len(data.users("test"))
    candidates = draw_candidates(data, 100, np.random.default_rng(0))
    users = np.random.default_rng(0).permutation(len(candidates))[: 128 * PLAIN_STEPS]
    step = PlainStep(made)

    def directly() -> None:
        for start in range(0, len(users), 128):
            step.rank_sampled(data, users[start : start + 128], candidates)

    return directly, len(users)


def matrix_peak() -> float:
    """float32 GFLOP/s of a large product."""
    left, right = torch.randn(2, 3072, 3072)
    left @ right
    start = time.perf_counter()
    for _ in range(3):
        left @ right
    return 3 * 2 * 3072**3 / (time.perf_counter() - start) / 1e9


def measured(work: Callable[[], object]) -> list[float]:
    """Seconds of each round, after one that warms up."""
    work()
    taken = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return sorted(taken)


if __name__ == "__main__":
    task, side, method, backbone = sys.argv[1:5]
    given = {key: json.loads(value) for key, value in (word.split("=", 1) for word in sys.argv[5:])}
    config = TrainConfig(**{key: given.pop(key) for key in ("precision", "compile") if key in given})
    data = split()
    made = model(data, method, backbone, given.pop("max_len", 200), given.pop("dropout", 0.5), **given)
    if task == "rank":
        work, users = ranking(data, made, side)
    else:
        work, users = ours(data, made, config) if side == "ours" else plain(data, made)
    seconds = measured(work)
    peak = peak_megabytes()
    with FlopCounterMode(display=False) as counted:
        work()
    found = {
        "users_per_second": users / seconds[ROUNDS // 2],
        "slowest": users / seconds[-1],
        "fastest": users / seconds[0],
        "megabytes": peak,
        "gflops": counted.get_total_flops() / seconds[ROUNDS // 2] / 1e9,
        "matrix_peak": matrix_peak(),
    }
    print(json.dumps(found))  # noqa: T201
