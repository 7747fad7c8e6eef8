"""WhitenRec's pieces: its settings, frozen whitened vectors, and the projector that both of its forms share."""

from __future__ import annotations

from typing import Annotated

from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from llmemb_bench.base.errors import SpecError
from llmemb_bench.contracts import Parts
from llmemb_bench.contracts.transform import FitOn
from llmemb_bench.registry.config import Config
from llmemb_bench.values.split import Split
from llmemb_plugins.methods._adapters import Projector
from llmemb_plugins.methods._text import TextMethod, cosine_or_product


class WhitenedConfig(Config):
    """What both forms are set by."""

    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """Of the projector's inputs, before each of its layers (code)."""
    temperature: Annotated[float, Field(gt=0)] | None = 0.07
    """Divides the cosine of state and vector (code: 0.07); null: their product."""
    fit_on: FitOn = "training"
    """Items that mean and covariance are taken of: those of training events (ours: an item that nobody knows moves no
    other), or all (code)."""
    floor: Annotated[float, Field(gt=0, le=1)] = 1e-6
    """Least eigenvalue, relative to the largest of its group (ours; the code divides by rounding)."""


class Whitened(TextMethod):
    """v_i = sum_G P(white_G(E_i)) over some numbers of groups G, P the projector."""

    config: WhitenedConfig
    groups: tuple[int, ...]

    def __init__(self, config: WhitenedConfig, parts: Parts, groups: tuple[int, ...]) -> None:
        super().__init__(config, parts, similarity=cosine_or_product(config.temperature))
        self.groups = groups
        for count in groups:
            refuse_uneven(self.text_dim, count)
            self.register_buffer(f"white_{count}", self.source, persistent=False)  # until its mean is known
        self.projector = Projector(self.text_dim, self.dim, self.dim**-0.5 / len(groups), config.dropout)

    def fit_counts(self, split: Split) -> None:
        settings = {"fit_on": self.config.fit_on, "floor": self.config.floor}
        for count in self.groups:
            setattr(self, f"white_{count}", self.transformed(split, "whiten", groups=count, **settings))

    def items(self, ids: Int[Tensor, "rows"]) -> Float[Tensor, "rows dim"]:
        projected = [
            self.projector(functional.embedding(ids - 1, self.get_buffer(f"white_{count}"))) for count in self.groups
        ]
        total: Tensor = sum(projected[1:], projected[0])
        return total


def refuse_uneven(text_dim: int, groups: int) -> None:
    """A SpecError where the dimensions do not fall into so many equal groups."""
    if text_dim % groups:
        fitting = max(count for count in range(1, min(groups, text_dim) + 1) if text_dim % count == 0)
        raise SpecError(
            f"the text vectors' {text_dim} dimensions do not fall into {groups} equal groups",
            where="recommender.method.groups",
            fix=f"groups: {fitting}",
        )
