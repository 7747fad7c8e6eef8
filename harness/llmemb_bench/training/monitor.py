"""What training may see of an evaluation: one validation score, and where counting popularity would stand."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from llmemb_bench.base.seeds import generator
from llmemb_bench.contracts import Method, Metric
from llmemb_bench.evaluation.candidates import draw_candidates
from llmemb_bench.evaluation.expectation import expected
from llmemb_bench.evaluation.ranking import Ranks, rank, rank_by_counts
from llmemb_bench.registry.build import build
from llmemb_bench.settings.evaluate import Evaluate
from llmemb_bench.settings.train import TrainConfig
from llmemb_bench.values.split import Split


@dataclass(frozen=True)
class ValidationScore:
    """What training may see of an evaluation; test scores have no such type."""

    value: float


@dataclass(frozen=True)
class Monitor:
    """The validation ranking that chooses the best epoch."""

    method: Method
    split: Split
    evaluate: Evaluate
    config: TrainConfig
    seed: int

    @property
    def name(self) -> str:
        """`ndcg@10`"""
        return f"{self.config.monitor.use}@{self.config.monitor_cutoff}"

    def validate(self) -> ValidationScore:
        """Of the method as it is."""
        full, among = rank(self.method, self.split, "validation", self.evaluate, self._candidates)
        return self._score(among[0] if among else full)

    @cached_property
    def by_popularity(self) -> ValidationScore:
        """Of ranking by training counts: what a model gives that has learnt nothing of anybody's taste."""
        counted = rank_by_counts(self.split.popularity, self.split, "validation", self.evaluate, self._candidates)
        return self._score(counted)

    def _score(self, ranks: Ranks) -> ValidationScore:
        metric = build(Metric, self.config.monitor)
        return ValidationScore(float(expected(metric, self.config.monitor_cutoff, ranks).mean()))

    @cached_property
    def _candidates(self) -> list[NDArray[np.int32]]:
        """Drawn once, so that epochs are compared on the same items; none for a full ranking."""
        protocol = self.config.monitor_protocol
        if protocol == "full":
            return []
        count = int(protocol.removeprefix("sampled-"))
        draws = generator(self.seed, "validation candidates", count)
        return [draw_candidates(self.split, count, draws, "validation")]
