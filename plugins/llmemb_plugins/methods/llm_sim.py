"""LLMSeqSim: items whose texts are nearest to those of the history, nothing trained (Harte et al., RecSys 2023)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from pydantic import Field

from llmemb_bench.base.errors import Problem
from llmemb_bench.contracts import CellFacts, Method, Parts
from llmemb_bench.registry.build import plugin_of
from llmemb_bench.registry.config import Config
from llmemb_bench.registry.kinds import MethodChoice
from llmemb_bench.values.split import Split
from llmemb_plugins.methods._cosines import cosines, unit_vectors
from llmemb_plugins.methods._histories import ByHistory, Weight, weighted

WEIGHTS: Mapping[str, Weight] = {
    "mean": lambda age: np.ones(len(age)),
    "harmonic": lambda age: 1 / (age + 1),
    "harmonic_squared": lambda age: 1 / (age + 1) ** 2,
    "last": lambda age: np.where(age == 0, 1.0, 0.0),
}


class HybridConfig(Config):
    """Who ranks for a user whose last item is frequent."""

    method: MethodChoice = MethodChoice("cooccurrence")
    """A method that needs neither backbone, nor text, nor training (theirs: a trained one, or session neighbours)."""
    quantile: Annotated[float, Field(ge=0, le=1)] = 0.5
    """An item is frequent at this quantile of all items' training events, or above (theirs: 0.25, 0.5 or 0.75, chosen
    on validation)."""


class LlmSimConfig(Config):
    """Settings of `llm_sim`."""

    weights: Literal["mean", "harmonic", "harmonic_squared", "last"] = "harmonic"
    """Of a history's events: all alike, 1 / (age + 1) with age 0 for the latest (theirs for Beauty), its square, or the
    latest event alone."""
    hybrid: HybridConfig | None = None
    """The popularity hybrid; absent: text ranks for everybody."""


class LlmSim(ByHistory):
    """Score of item j: cosine(sum over history events i of weight(age(i)) * e_i, e_j), e text vectors at length one.

    Providers' vectors, the paper's, have length one already. With `hybrid` another list ranks for users whose last item
    is frequent (authors' repository, popularity hybrid).
    """

    config: LlmSimConfig
    needs = frozenset({"text"})

    def __init__(self, config: LlmSimConfig, parts: Parts) -> None:
        super().__init__(config, parts)
        self.unit = unit_vectors(parts)
        self.frequent = np.zeros(parts.n_items + 1, dtype=bool)
        hybrid = config.hybrid
        self.other = plugin_of(Method, hybrid.method)(hybrid.method.config, Parts(parts.n_items)) if hybrid else None

    @classmethod
    def refuses(cls, config: Config, facts: CellFacts) -> Sequence[Problem]:
        hybrid = LlmSimConfig.model_validate(config).hybrid
        needs = plugin_of(Method, hybrid.method).needs if hybrid else ()
        if hybrid is None or not needs:
            return ()
        finding = (
            f"'{hybrid.method.use}' needs {', '.join(sorted(needs))}; the other half of llm_sim's hybrid gets none"
        )
        return [Problem("recommender.method.hybrid.method", finding, "a method that only counts, as cooccurrence")]

    def fit_counts(self, split: Split) -> None:
        if self.other is not None and self.config.hybrid is not None:
            self.other.fit_counts(split)
            bound = np.quantile(split.popularity[1:], self.config.hybrid.quantile)
            self.frequent = split.popularity >= bound

    def begin_ranking(self) -> None:
        if self.other is not None:
            self.other.begin_ranking()

    def catalogue_scores(self, ids: Int64[np.ndarray, "batch len"]) -> Float[np.ndarray, "batch ids"]:
        scores = cosines(weighted(ids, self.n_items, WEIGHTS[self.config.weights]), self.unit)
        if self.other is not None:
            last = ids[np.arange(len(ids)), np.maximum((ids > 0).sum(1) - 1, 0)]
            rows = self.frequent[last] & (last > 0)
            scores[rows, 1:] = self._others(self.other, ids[rows])
        return scores

    def _others(self, other: Method, ids: Int64[np.ndarray, "rows len"]) -> Float64[np.ndarray, "rows items"]:
        states = other.states(torch.from_numpy(ids))
        scores: Float64[np.ndarray, "rows items"] = other.scores(states, slice(1, self.n_items + 1)).double().numpy()
        return scores
