"""Control: the same vectors, each owned by another item. What survives has not used what a vector says of its item."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Float32, Int64

from llmemb_bench.base.seeds import seed_for
from llmemb_bench.contracts import FitRows, RowsConfig, State, Transform
from llmemb_bench.registry.config import Seed


class PermuteConfig(RowsConfig):
    """Settings of `permute`, beside the items that it is fitted on."""

    seed: Seed = 42
    """Seed of the draw, whatever the seed of training."""


class Permute(Transform):
    """A uniformly drawn permutation of the items that it is fitted on: the item whose first hash is the r-th smallest
    owns the vector of the item whose second hash is the r-th smallest.

    So who owns what depends on ids and seed alone, not on the order of rows. Fixed points can occur, one on average
    whatever the size of the catalogue. A new item owns the vector of the fitted item that comes next by the first hash:
    never its own. What is kept is a copy of the fitted vectors and a hash an item.
    """

    config: PermuteConfig
    is_control = True

    def fit(self, rows: FitRows) -> State:
        owned = np.argsort(self._hashes("owned", rows.ids), kind="stable")
        return {"owners": np.sort(self._hashes("owner", rows.ids)), "vectors": rows.vectors[owned]}

    def apply(
        self, state: State, vectors: Float32[np.ndarray, "items dim"], ids: Sequence[str]
    ) -> Float[np.ndarray, "items out"]:
        places = np.searchsorted(state["owners"], self._hashes("owner", ids)) % len(state["owners"])
        return state["vectors"][places]

    def _hashes(self, what: str, ids: Sequence[str]) -> Int64[np.ndarray, "items"]:
        return np.array([seed_for(self.config.seed, what, item) for item in ids], dtype=np.int64)
