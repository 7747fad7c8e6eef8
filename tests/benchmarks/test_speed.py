"""Speed as ratios, both sides measured in one run: `tox -e bench`."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch

from llmemb_bench.base.seeds import torch_seed
from llmemb_bench.contracts import Parts
from llmemb_bench.evaluation.ranking import rank
from llmemb_bench.registry.entries import find
from llmemb_bench.settings.evaluate import Evaluate
from llmemb_bench.values.split import Split
from tests.helpers.splits import make_split


def seconds(work: Callable[[], object], rounds: int = 3) -> float:
    """The median of a few rounds."""
    taken = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return sorted(taken)[rounds // 2]


def compare(benchmark, fast: Callable[[], object], plain: Callable[[], object], share: float = 1.0) -> float:
    """How many times faster, written into the benchmark's record; the plain side does a `share` of the work."""
    benchmark.pedantic(fast, rounds=3)
    ratio = seconds(plain) / share / benchmark.stats.stats.median
    benchmark.extra_info["times_faster"] = round(ratio, 1)
    print(f"\n{benchmark.name}: {ratio:.1f} times")  # noqa: T201  # the figure is the point
    return ratio


def world() -> tuple[Split, torch.nn.Module]:
    rng = np.random.default_rng(0)
    split = make_split([rng.integers(1, 12_001, size=9).tolist() for _ in range(2_000)], 12_000)
    backbone_type, method_type = find("backbones", "sasrec").load(), find("methods", "id_only").load()
    with torch_seed(0):
        backbone = backbone_type(backbone_type.config_type()(dim=64))
        return split, method_type(method_type.config_type()(), Parts(12_000, backbone)).eval()


def test_full_ranking_against_a_sort_of_each_users_scores(benchmark):
    """The plain side scores and sorts one user at a time, with a Python set of seen items."""
    split, method = world()

    @torch.no_grad()
    def plain() -> None:
        method.begin_ranking()
        for row, user in enumerate(split.users("test")[:200].tolist()):
            history = split.data.history(user)[:-1]
            states = method.states(torch.from_numpy(history.astype(np.int64))[None])
            scores = method.scores(states, slice(1, 12_001))[0].tolist()
            seen, target = set(history.tolist()), int(split.targets("test")[row])
            order = sorted(range(1, 12_001), key=lambda item: -scores[item - 1])
            [item for item in order if item not in seen].index(target) if target not in seen else None

    assert compare(benchmark, lambda: rank(method, split, "test", Evaluate()), plain, share=200 / 2_000) > 10
