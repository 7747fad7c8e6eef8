"""What both peers share: the events, the settings, the clock and the JSON. Standard library and torch only."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import re
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from statistics import median

import torch

THREADS = 2
MAX_LEN, BATCH, HIDDEN, LAYERS, HEADS, DROPOUT = 50, 128, 128, 2, 1, 0.2
HELD_OUT = 2
"""Last events of a user that are not trained on: validation and test."""
ROUNDS = 3

Histories = dict[str, list[str]]


def histories() -> Histories:
    """Items of each user, oldest first, of the Yelp file that the LLMEmb paper uses (`user item` lines)."""
    found: Histories = defaultdict(list)
    with gzip.open(Path(os.environ["LLMEMB_BENCH_DATA"]) / "paper-inter" / "yelp" / "inter.txt.gz", "rt") as lines:
        for line in lines:
            user, item = line.split()
            found[user].append(item)
    return found


def trained_users(events: Histories) -> int:
    """Users of whom an epoch trains something: a pair of history and next item needs two training events."""
    return sum(len(items) - HELD_OUT >= 2 for items in events.values())


def training_pairs(events: Histories) -> int:
    """Pairs of a history and its next item in all training events."""
    return sum(max(len(items) - HELD_OUT - 1, 0) for items in events.values())


def rounds(work: Callable[[], object]) -> list[float]:
    """Seconds of each round."""
    taken = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return taken


def peak_megabytes() -> int:
    """Most memory that this process has held; Linux only."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) // 1024


def training(users: int, steps_per_epoch: int, steps_per_round: int, taken: list[float]) -> dict[str, object]:
    """Rates of training out of the seconds of each round of `measured_steps`, scaled to an epoch; the median."""
    rates = [steps_per_round / seconds for seconds in taken]
    epoch = steps_per_epoch / median(rates)
    return {
        "train_users": users,
        "train_users_per_second": round(users / epoch, 1),
        "epoch_seconds": round(epoch, 2),
        "steps_per_epoch": steps_per_epoch,
        "steps_per_second": round(median(rates), 2),
        "steps_per_second_range": [round(min(rates), 2), round(max(rates), 2)],
        "measured_steps": steps_per_round,
        "rounds": len(rates),
        "train_peak_mb": peak_megabytes(),
    }


def ranking(users: int, taken: list[float]) -> dict[str, object]:
    """Rates of ranking out of the seconds of each round."""
    rates = [users / seconds for seconds in taken]
    return {
        "rank_users": users,
        "rank_users_per_second": round(median(rates), 1),
        "rank_users_per_second_range": [round(min(rates), 1), round(max(rates), 1)],
    }


def report(peer: str, setting: str, measure: Callable[[], dict[str, object]]) -> None:
    """Run with a fixed number of threads and print the figures; what the peer prints goes to stderr."""
    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    wall, cpu = time.perf_counter(), time.process_time()
    with contextlib.redirect_stdout(sys.stderr):
        figures = measure()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    about = {"peer": peer, "version": version(peer), "setting": setting}
    around = {
        "peak_mb": peak_megabytes(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "cores_kept_busy": round(cpu / wall, 2),
        "total_seconds": round(wall, 1),
    }
    print(json.dumps(about | figures | around, indent=2))  # noqa: T201
