"""skeleton: say in one line what becomes of a vector."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Float32

from llmemb_bench.contracts import FitRows, RowsConfig, State, Transform


class SkeletonConfig(RowsConfig):
    """Settings of `skeleton`, beside the items that it is fitted on."""


class Skeleton(Transform):
    """x - mean; replace it."""

    config: SkeletonConfig

    def fit(self, rows: FitRows) -> State:
        return {"mean": sum(block.sum(0) for block in rows.blocks()) / len(rows)}

    def apply(
        self, state: State, vectors: Float32[np.ndarray, "items dim"], ids: Sequence[str]
    ) -> Float[np.ndarray, "items out"]:
        return vectors - state["mean"]
