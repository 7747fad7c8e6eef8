"""Sampled candidates, and the test ranking of a recommender."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from llmemb_bench.base.seeds import generator
from llmemb_bench.evaluation.candidates import draw_candidates
from llmemb_bench.evaluation.ranking import Ranks, rank
from llmemb_bench.settings.evaluate import Evaluate
from llmemb_bench.stages.dataset import SplitData
from llmemb_bench.stages.recommender import FittedRecommender
from llmemb_bench.stages.stage import Stage
from llmemb_bench.stages.together import MadeTogether


class Candidates(MadeTogether[NDArray[np.int32]]):
    """[evaluated users, count] the items that every model of a split and seed has to rank."""

    name, version = "candidates", 1

    def __init__(self, split: SplitData, count: int, seed: int) -> None:
        super().__init__(split.cache, [count, seed], [split])
        self.split, self.count, self.seed = split, count, seed

    def make(self, folder: Path) -> None:
        drawn = draw_candidates(self.split.result(), self.count, generator(self.seed, "candidates", self.count))
        np.save(folder / "candidates.npy", drawn, allow_pickle=False)

    def load(self) -> NDArray[np.int32]:
        drawn: NDArray[np.int32] = np.load(self.folder / "candidates.npy", allow_pickle=False)
        return drawn


class TestRanks(Stage[dict[str, Ranks]]):
    """Protocol to ranks, in the spec's order; the catalogue is scored once. Kept in the run folder alone."""

    name = "ranks"

    def __init__(self, recommender: FittedRecommender, candidates: Sequence[Candidates], evaluate: Evaluate) -> None:
        settings = [evaluate.protocols, evaluate.history]
        super().__init__(recommender.cache, settings, [recommender, *candidates])
        self.recommender, self.candidates, self.evaluate = recommender, tuple(candidates), evaluate

    def load(self) -> dict[str, Ranks]:
        drawn = [candidates.result() for candidates in self.candidates]
        split = self.recommender.split.result()
        full, among = rank(self.recommender.result(), split, "test", self.evaluate, drawn)
        sampled = [f"sampled-{candidates.count}" for candidates in self.candidates]
        found = {"full": full} | dict(zip(sampled, among, strict=True))
        return {protocol: found[protocol] for protocol in self.evaluate.protocols}
