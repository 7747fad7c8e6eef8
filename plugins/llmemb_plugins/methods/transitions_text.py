"""Counted transitions and text neighbours, fused by percentiles: the strongest row that trains nothing (ours)."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal

import numpy as np
from jaxtyping import Float32, Float64, Int, Int64
from pydantic import Field
from scipy import sparse
from scipy.stats import rankdata

from llmemb_bench.contracts import Parts
from llmemb_bench.registry.config import Config
from llmemb_bench.values.split import Split
from llmemb_plugins.methods._cosines import cosines, unit_vectors
from llmemb_plugins.methods._histories import ByHistory, exponential, weighted


class TransitionsTextConfig(Config):
    """Settings of `transitions_text`; the numbers are from Beauty's validation."""

    window: Annotated[int, Field(ge=1)] = 20
    """An item follows another when it comes at most this many events later; it counts 1 / distance. 1 counts plain
    transitions (ours)."""
    decay: Annotated[float, Field(gt=0, le=1)] = 0.6
    """Weight of a history event relative to the one after it, in both halves (ours)."""
    text_share: Annotated[float, Field(ge=0, le=1)] = 0.3
    """Share of the text's half; 0 is transitions alone, 1 text alone (ours)."""
    fusion: Literal["logarithms", "percentiles"] = "logarithms"
    """What is added: logarithms, in which the first places of either list differ most, or the percentiles themselves,
    in which a list's second half counts as much as its top (ours)."""


class TransitionsText(ByHistory):
    """Score of item j: -(1 - share) log q_t(j) - share log q_c(j), where q is the share of the catalogue with a better
    score, ties by half: t is the sum over history events i of decay^age(i) * follows(i, j), c that of cosines of texts.

    follows(i, j) is the sum of 1 / distance over the training events of i with a later j, within the window.
    """

    config: TransitionsTextConfig
    needs = frozenset({"text"})

    def __init__(self, config: TransitionsTextConfig, parts: Parts) -> None:
        super().__init__(config, parts)
        self.unit = unit_vectors(parts)
        self.follows = sparse.csr_array((parts.n_items + 1, parts.n_items + 1), dtype=np.float64)

    def fit_counts(self, split: Split) -> None:
        users, items = split.training_events()
        for distance in range(1, self.config.window + 1):
            same = users[:-distance] == users[distance:]
            if not same.any():
                break  # no user has so many events
            pair = (items[:-distance][same], items[distance:][same])
            weights = np.full(len(pair[0]), 1 / distance)
            self.follows = self.follows + sparse.csr_array((weights, pair), shape=self.follows.shape)
        self.follows.setdiag(0)

    def catalogue_scores(self, ids: Int64[np.ndarray, "batch len"]) -> Float64[np.ndarray, "batch ids"]:
        history, share = weighted(ids, self.n_items, exponential(self.config.decay)), self.config.text_share
        scores = np.zeros((len(ids), self.n_items + 1))
        # Ranked in float32, where sums that differ in the order of their terms only are equal.
        texts = cosines(history, self.unit)[:, 1:].astype(np.float32)
        scores[:, 1:] = share * self._worth(rankdata(texts, axis=1))
        transitions = sparse.csr_array(history @ self.follows)
        for row, (start, end) in enumerate(pairwise(transitions.indptr)):
            part = slice(start, end)
            ranks = self._ranks(transitions.indices[part], transitions.data[part].astype(np.float32))
            scores[row, 1:] += (1 - share) * self._worth(ranks)
        return scores

    def _ranks(
        self, items: Int[np.ndarray, "counted"], values: Float32[np.ndarray, "counted"]
    ) -> Float64[np.ndarray, "items"]:
        """As `rankdata` of the whole catalogue, in which nearly all items have no value and are equal."""
        items, values = items[values > 0], values[values > 0]
        without = self.n_items - len(items)
        ranks = np.full(self.n_items, (without + 1) / 2)
        ranks[items - 1] = without + rankdata(values)
        return ranks

    def _worth(self, ranks: Float64[np.ndarray, "*batch items"]) -> Float64[np.ndarray, "*batch items"]:
        """What a place in a list of the catalogue is worth; the best has the largest rank."""
        better: Float64[np.ndarray, "*batch items"] = (self.n_items + 0.5 - ranks) / self.n_items
        return -np.log(better) if self.config.fusion == "logarithms" else 1 - better
