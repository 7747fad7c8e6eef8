"""N items x N users in a process of its own: training with sampled softmax and ranking of a user sample; prints JSON.

python -m tests.benchmarks.scale 1000000
"""

from __future__ import annotations

import json
import sys
import time

import numpy as np
import torch

from llmemb_bench.base.seeds import torch_seed
from llmemb_bench.contracts import Parts
from llmemb_bench.evaluation.ranking import rank
from llmemb_bench.settings.evaluate import Evaluate
from llmemb_bench.settings.train import TrainConfig
from llmemb_bench.training.batches import TrainingBatches
from llmemb_bench.training.loop import ValidationScore, train
from llmemb_bench.values.recdata import Items, RecData
from llmemb_bench.values.split import Split
from llmemb_bench.values.strings import Strings
from tests.benchmarks.prepare_files import peak_megabytes
from tests.helpers.plugins import configured, plugin

EVENTS, SAMPLE = 10, 1024
BATCH, WARM_UP, STEPS = 512, 10, 200


def world(n_users: int, items: Items, seed: int) -> Split:
    """About ten events a user over items of a long tail."""
    rng = np.random.default_rng(seed)
    lengths = rng.poisson(EVENTS - 3, size=n_users) + 3
    total, n_items = int(lengths.sum()), len(items)
    events = (n_items * rng.random(total) ** 3).astype(np.int32) + 1
    users = Strings.of(f"user{user}" for user in range(n_users))
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return Split(RecData(offsets, events, np.arange(total, dtype=np.int64), users, items))


def main(size: int) -> dict[str, float]:
    """What it took."""
    ids = Strings.of(f"item{item}" for item in range(size))
    catalogue = Items.of([], [])
    items = Items(ids, catalogue.attributes, catalogue.prompt)
    split, sample = world(size, items, 0), world(SAMPLE, items, 1)
    method_type, settings = configured("methods", "id_only")
    with torch_seed(0):
        backbone = plugin("backbones", "sasrec", dim=64, max_len=50)
        method = method_type(settings, Parts(size, backbone))
    objective = plugin("objectives", "sampled_softmax", negatives=512, shared=True)
    config = TrainConfig(batch_size=BATCH, rows="touched", steps=WARM_UP)
    start = time.perf_counter()
    batches = TrainingBatches(split, backbone, objective, config)
    prepared = time.perf_counter() - start
    seconds = []
    for steps in (WARM_UP, WARM_UP, WARM_UP + STEPS):  # the same start again, so that preparation can be subtracted
        start = time.perf_counter()
        train(method, objective, batches, config.model_copy(update={"steps": steps}), lambda: ValidationScore(0.0), 0)
        seconds.append(time.perf_counter() - start)
    trained = peak_megabytes()
    start = time.perf_counter()
    rank(method, sample, "test", Evaluate())
    ranked = time.perf_counter() - start
    return {
        "items": size,
        "users": size,
        "events": len(split.data.items),
        "preparing_s": prepared,
        "step_ms": 1e3 * (seconds[2] - seconds[1]) / STEPS,
        "epoch_s": (seconds[2] - seconds[1]) / STEPS * len(batches),
        "training_peak_mb": trained,
        "bytes_per_user_and_item": 2**20 * trained / size,
        "rank_ms_per_user": 1e3 * ranked / SAMPLE,
        "rank_ns_per_score": 1e9 * ranked / SAMPLE / size,
        "peak_mb": peak_megabytes(),
    }


if __name__ == "__main__":
    torch.set_num_threads(2)
    print(json.dumps(main(int(sys.argv[1]))))  # noqa: T201
