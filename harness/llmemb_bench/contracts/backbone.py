"""The contract of backbones: vectors of a history in, states out.

Axes: `batch` sequences, `len` positions, `positions` the real ones of several groups one after another, `dim` the
backbone's width.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Annotated, ClassVar

import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor

from llmemb_bench.contracts.task import NextItem, Task
from llmemb_bench.contracts.text import TorchPlugin
from llmemb_bench.registry.config import Config

WIDEST = 1 << 16
"""Numbers of a vector: the largest language models have a quarter of it."""


Depth = Annotated[int, Field(ge=1, le=256)]
"""Blocks or layers in a row; deeper than any recommender that was ever trained."""


class BackboneConfig(Config):
    """Settings that every backbone has."""

    dim: Annotated[int, Field(ge=1, le=WIDEST)] = 64
    """Width of what is read and of states."""
    max_len: Annotated[int, Field(ge=1)] = 50
    """Longest history that the model sees, in events; the latest are kept."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """Share of activations dropped in training."""


class Backbone(TorchPlugin):
    """A sequence of vectors in, a state at each position out; never sees an id.

    Real positions come first, padding after them; what stands at padding never matters.
    """

    config: BackboneConfig
    structured: ClassVar[frozenset[str]] = frozenset()
    """Last parts of the names of weights whose initial values have a meaning and must not be overwritten."""
    positions_per_group: ClassVar[int] = 512
    """Of a training batch: a further group of histories costs about as much as so many positions of padding (measured
    on a CPU)."""
    is_compiled: bool = False
    """Whether `forward`, and nothing else, went through torch.compile: `forward_groups` then calls it."""
    task: Task = NextItem()
    """What it is trained to predict; a backbone whose settings decide it sets `self.task`."""

    def __init_subclass__(cls, **keywords: object) -> None:
        super().__init_subclass__(**keywords)
        if not isinstance(cls.task, Task):
            raise TypeError(
                f"task of {cls.__name__} is {cls.task!r}, should be a Task: NextItem() or Cloze(hidden=0.2)"
            )

    @abstractmethod
    def forward(
        self, x: Float[Tensor, "batch len dim"], real: Bool[Tensor, "batch len"]
    ) -> Float[Tensor, "batch len dim"]:
        """A state at each position."""

    def forward_groups(
        self, x: Float[Tensor, "positions dim"], groups: Sequence[Bool[Tensor, "_ _"]]
    ) -> Float[Tensor, "positions dim"]:
        """The same for all groups of a training batch: `x` are their real positions, one after another, without the
        padding between. A backbone may do better than pad them, as here."""
        return by_group(x, groups, self)


def padded(x: Float[Tensor, "positions width"], real: Bool[Tensor, "batch len"]) -> Float[Tensor, "batch len width"]:
    """The real positions of a group where they stand in it, zeros between."""
    return x.new_zeros(*real.shape, x.shape[1]).index_put((real,), x)


def by_group(
    x: Float[Tensor, "positions _"],
    groups: Sequence[Bool[Tensor, "_ _"]],
    function: Callable[[Tensor, Tensor], Tensor],
) -> Float[Tensor, "positions _"]:
    """`function(x [batch, len, width], real [batch, len])` for each group, from and to real positions alone."""
    parts = torch.split(x, [int(real.sum()) for real in groups])
    return torch.cat([function(padded(part, real), real)[real] for part, real in zip(parts, groups, strict=True)])
