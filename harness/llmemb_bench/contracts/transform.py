"""What a transform promises: item vectors in, item vectors out, fitted once and then the same for every item.

Axes: `rows` the items that it is fitted on, `items` those that it is applied to, `dim` the width that comes in, `out`
the width that goes out.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from jaxtyping import Float, Float32, Int64
from numpy.typing import NDArray

from llmemb_bench.base.errors import Problem
from llmemb_bench.contracts.plugin import Plugin
from llmemb_bench.registry.config import Config

ROWS_PER_BLOCK = 8192
"""Vectors that are computed with at once, in float64."""

FitOn = Literal["all", "training"]
State = Mapping[str, NDArray[Any]]
"""What fitting found, by name; all that `apply` knows of the items it was fitted on. It is kept as safetensors."""


class RowsConfig(Config):
    """Settings of a transform whose result depends on the items that it is fitted on."""

    fit_on: FitOn = "all"
    """Items that it is fitted on: `all`, or `training`, those with events in training (ours: all, as LLMEmb's PCA; with
    `training` the vectors of items that nobody knows yet move no other)."""


@dataclass(frozen=True, eq=False)
class FitRows:
    """The items that a transform is fitted on, in any order."""

    ids: Sequence[str]
    """The dataset's own ids."""
    vectors: Float32[np.ndarray, "rows dim"]
    counts: Int64[np.ndarray, "rows"] | None = None
    """Training events of each; None where it is fitted on all items, for then it may not know them."""

    def __len__(self) -> int:
        return len(self.vectors)

    @property
    def dim(self) -> int:
        """Width of a vector."""
        return int(self.vectors.shape[1])

    def blocks(self) -> Iterator[Float[np.ndarray, "block dim"]]:
        """The vectors in float64, a block at a time and in their order."""
        for start in range(0, len(self), ROWS_PER_BLOCK):
            yield self.vectors[start : start + ROWS_PER_BLOCK].astype(np.float64)


class Transform(Plugin):
    """Fitted on named items, then a function of one item: of its vector and its id, never of the items beside it. So a
    new item has the vector that it would have had among the others.
    """

    is_control: ClassVar[bool] = False
    """Whether it takes the meaning out of the vectors on purpose: a gain that survives it has not used any."""

    def __init__(self, config: Config) -> None:
        self.config = config

    @classmethod
    def fitted_on(cls, config: Config) -> FitOn:
        """Which items it is fitted on."""
        return config.fit_on if isinstance(config, RowsConfig) else "all"

    @classmethod
    def dim_of(cls, config: Config, dim: int | None) -> int | None:
        """Width of what comes out of vectors of width `dim`; None where that is not known yet."""
        return dim

    @classmethod
    def refuses_vectors(cls, config: Config, n_rows: int, dim: int | None) -> Sequence[Problem]:
        """What these settings cannot do with vectors of so many items and such a width (None: not known yet), each with
        the setting's own name for a place: asked before anything is encoded, and again when the width is known."""
        return ()

    @abstractmethod
    def fit(self, rows: FitRows) -> State:
        """What `apply` needs to know, as NumPy arrays."""

    @abstractmethod
    def apply(
        self, state: State, vectors: Float32[np.ndarray, "items dim"], ids: Sequence[str]
    ) -> Float[np.ndarray, "items out"]:
        """The vectors of some items, row by row, in any float: the harness asks block by block and makes float32 of
        them."""
