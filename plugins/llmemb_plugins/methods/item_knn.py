"""Item neighbours by cosine of their users, with shrinkage (Sarwar et al. 2001; Deshpande and Karypis 2004)."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from jaxtyping import Float64, Int64
from pydantic import Field
from scipy import sparse

from llmemb_bench.contracts import Parts
from llmemb_bench.registry.config import Config
from llmemb_bench.values.split import Split
from llmemb_plugins.methods._histories import ByHistory, bought, exponential, weighted

ITEMS_A_BLOCK = 1024
"""Items whose neighbours are found together; bounds the memory of similarities that are not kept."""


class ItemKnnConfig(Config):
    """Settings of `item_knn`."""

    neighbours: Annotated[int, Field(ge=1)] = 100
    """How many neighbours an item of the history has; all that are as near as the last of them count too, so that no
    numbering of the items decides (Dacrema et al. 2019 search 5 to 1000; ours)."""
    shrink: Annotated[float, Field(ge=0)] = 10.0
    """Added to the product of the two lengths, against neighbours by a user or two (Dacrema et al. 2019 search 0 to
    1000; ours, between 0 and 50, which validation prefers on MovieLens 100K and on Beauty)."""
    decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Weight of a history event relative to the one after it (1: published, the order of a history says nothing)."""


class ItemKnn(ByHistory):
    """Score of item j: sum over history events i with j among i's neighbours of decay^age(i) * s(i, j), where
    s(i, j) = |U_i and U_j| / (sqrt(|U_i| |U_j|) + shrink) and U_i are the users with a training event of i.

    Neighbours are those of the history's items (Deshpande and Karypis, section 4), not those of the candidate.
    """

    config: ItemKnnConfig

    def __init__(self, config: ItemKnnConfig, parts: Parts) -> None:
        super().__init__(config, parts)
        self.near = sparse.csr_array((parts.n_items + 1, parts.n_items + 1), dtype=np.float64)

    def fit_counts(self, split: Split) -> None:
        users = bought(split)
        lengths = np.sqrt(users.sum(0))
        of_items = sparse.csr_array(users.T)
        starts = range(0, self.n_items + 1, ITEMS_A_BLOCK)
        blocks = [self._near(of_items[start : start + ITEMS_A_BLOCK], users, lengths, start) for start in starts]
        self.near = sparse.csr_array(sparse.vstack(blocks))

    def _near(
        self, block: sparse.csr_array, users: sparse.csr_array, lengths: Float64[np.ndarray, "ids"], start: int
    ) -> sparse.csr_array:
        """[block, ids] similarities of each item of a block to its neighbours; `start` is the id of the first."""
        both = sparse.coo_array(block @ users)
        first, second = both.row + start, both.col
        similar = both.data / (lengths[first] * lengths[second] + self.config.shrink)
        similar[first == second] = 0
        found = sparse.csr_array((similar, (both.row, second)), shape=both.shape)
        for row in range(len(found.indptr) - 1):
            values = found.data[found.indptr[row] : found.indptr[row + 1]]
            if len(values) > self.config.neighbours:
                values[values < np.partition(values, -self.config.neighbours)[-self.config.neighbours]] = 0
        found.eliminate_zeros()
        return found

    def catalogue_scores(self, ids: Int64[np.ndarray, "batch len"]) -> Float64[np.ndarray, "batch ids"]:
        scores: Float64[np.ndarray, "batch ids"]
        scores = (weighted(ids, self.n_items, exponential(self.config.decay)) @ self.near).toarray()
        return scores
