"""LLMInit: an id table that starts as some of the text vectors' own dimensions (arXiv 2503.01814)."""

from __future__ import annotations

from typing import Annotated, Literal

from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from llmemb_bench.registry.config import Config, Seed
from llmemb_bench.values.split import Split
from llmemb_plugins.methods._start import TextStart
from llmemb_plugins.methods._text import of_length


class LlmInitConfig(Config):
    """Settings of `llm_init`."""

    rule: Literal["random", "uniform", "variance"] = "variance"
    """Which dimensions: drawn, at equal steps, or those that vary most over popular items (paper's best)."""
    popular: Annotated[float, Field(gt=0, le=1)] = 0.2
    """Share of the items of training that are popular, for `variance` (paper: 0.2)."""
    seed: Seed = 42
    """Seed of the draw, for `random`, whatever the seed of training."""
    start_length: Annotated[float, Field(gt=0)] | None = 1.0
    """Root mean square of the lengths that training starts from (ours, so that encoders compare); null: as the text
    vectors have them (code)."""


class LlmInit(TextStart):
    """V_i starts as (E_i)_S for a set S of `dim` dimensions, and all of V is trained.

    The paper starts a graph recommender's users as the mean of their items; a sequential one has no user table. What
    AlphaFuse's repository and EnsRec call LLMInit is an SVD: `llm2x` with `reduction: svd_init`. How ties and
    remainders are decided: transform `select_dims`.
    """

    config: LlmInitConfig

    def start_vectors(self, split: Split) -> Float[Tensor, "items dim"]:
        config = self.config
        chosen = {"rule": config.rule, "popular": config.popular, "seed": config.seed}
        return of_length(self.transformed(split, "select_dims", dim=self.dim, **chosen), config.start_length)
