"""What vectors are worth before any recommender is trained: plain arrays in, one number out, in blocks of rows.

Rows of `units` have length one; no matrix of items x items is ever in memory.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from llmemb_bench.text.geometry import SAME, Vectors, blocks

Rows = NDArray[np.int64]


def places(queries: Vectors, candidates: Vectors, own: Rows, meaning: Rows) -> Rows:
    """[queries] the place, from 1, of each query's own candidate by cosine; whoever is as near stands before it, but
    for candidates of the same `meaning` [candidates], which are no worse an answer."""
    found = np.empty(len(queries), dtype=np.int64)
    for rows in blocks(len(queries), len(candidates)):
        cosines = queries[rows] @ candidates.T
        reached = np.take_along_axis(cosines, own[rows, None], axis=1) - SAME
        others = meaning[own[rows], None] != meaning
        found[rows] = 1 + ((cosines >= reached) & others).sum(axis=1)
    return found


def mean_cosine(units: Vectors) -> float:
    """Of all pairs of rows, exactly: (|sum|^2 - sum of squares) / n (n - 1)."""
    squares = np.square(units, dtype=np.float64).sum()
    whole = units.sum(axis=0, dtype=np.float64)
    return float((whole @ whole - squares) / (len(units) * (len(units) - 1)))


def effective_dim(vectors: Vectors) -> float:
    """(sum of l)^2 / sum of l^2 over the eigenvalues l of the covariance: 1 where all lies on a line, the width where
    all directions vary alike (participation ratio). 0 of vectors that are all the same."""
    centred = vectors - vectors.mean(axis=0, dtype=np.float64)
    products = centred.T @ centred if centred.shape[1] < len(centred) else centred @ centred.T
    squares = np.square(products).sum()
    return float(np.trace(products) ** 2 / squares) if squares > 0 else 0.0


class Cooccurrence:
    """Which items the same users had: weight of i and j = users of both / sqrt(users of i * users of j)."""

    def __init__(self, users: NDArray[np.int64], items: NDArray[np.integer], n_items: int) -> None:
        """Training events alone, as user and row of the item (from 0), in any order."""
        pairs = np.unique(users * n_items + items)  # an item that a user had twice counts once
        self.items, of = pairs % n_items, pairs // n_items
        self.n_items = n_items
        self.counts = np.bincount(self.items, minlength=n_items)
        self._starts = np.searchsorted(of, np.arange(of.max(initial=-1) + 2))
        self._users = of[np.argsort(self.items, kind="stable")]
        self._ends = np.cumsum(self.counts)

    def weights(self, item: int) -> NDArray[np.float64]:
        """[items] of one item with each other one, 0 with itself."""
        users = self._users[self._ends[item] - self.counts[item] : self._ends[item]]
        shared = [self.items[self._starts[user] : self._starts[user + 1]] for user in users]
        together = np.bincount(np.concatenate([*shared, self.items[:0]]), minlength=self.n_items)
        together[item] = 0
        found: NDArray[np.float64] = together / np.sqrt(np.maximum(self.counts * self.counts[item], 1))
        return found

    def paired(self) -> Rows:
        """Items that share a user with another one."""
        sizes = np.diff(self._starts)
        several = np.repeat(sizes > 1, sizes)
        return np.unique(self.items[several])


def agreement(units: Vectors, bought: Cooccurrence, rows: Sequence[int], top: int) -> float:
    """Mean NDCG@top over some items: their nearest items by cosine, gains the weights of co-occurrence; 1 where the
    nearest are those that go together most, in this order."""
    discounts = 1 / np.log2(np.arange(2, top + 2))
    found = []
    for row in rows:
        weights, cosines = bought.weights(row), units @ units[row]
        cosines[row] = -np.inf
        count = min(top, len(units) - 1)
        best = np.sort(np.partition(weights, -count)[-count:])[::-1]
        near = np.argpartition(-cosines, count - 1)[:count]
        near = near[np.argsort(-cosines[near], kind="stable")]
        found.append((weights[near] @ discounts[:count]) / (best @ discounts[:count]))
    return float(np.mean(found))
