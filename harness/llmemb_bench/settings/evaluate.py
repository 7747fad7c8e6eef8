"""Settings of the evaluation."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from llmemb_bench.registry.config import MACHINE, Config, Protocol, distinct
from llmemb_bench.registry.kinds import MetricChoice


class Evaluate(Config):
    """What is measured; all of it together is the evaluation protocol, under whose hash results are stored."""

    cutoffs: Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=1), AfterValidator(distinct)] = [10]
    """Ranks at which a metric stops counting (paper: 10)."""
    protocols: Annotated[list[Protocol], Field(min_length=1), AfterValidator(distinct)] = ["full", "sampled-100"]
    """`full` ranks the whole catalogue, `sampled-N` N uniform items outside the user's events (paper: 100)."""
    metrics: Annotated[list[MetricChoice], Field(min_length=1), AfterValidator(distinct)] | None = None
    """Which metrics; absent: `hr` and `ndcg`. Another one, installed or not, is measured where it is named."""
    history: Literal["mask", "keep"] = "mask"
    """Whether items of the history leave the candidates of the full ranking; the target never does."""
    head_share: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """Share of items, by training popularity, that are head (Pareto cut)."""
    head_ties: Literal["whole", "by_id"] = "whole"
    """Items of equal counts at that cut: `whole` keeps them together, at the count whose share is nearest to
    `head_share`; `by_id` takes the share exactly, the smaller ids first (ours, both)."""
    tail_below: Annotated[int, Field(ge=1)] | None = None
    """Tail is what has fewer training events than this, instead of the Pareto cut (paper: 13 Yelp, 4 else)."""
    popularity: Literal["training", "all"] = "training"
    """Which events tell head from tail: `all`, test events among them, is what the published code counts
    (docs/departures.md 5)."""
    scores_mb: Annotated[int, Field(ge=1), MACHINE] = 256
    """Memory for scores in ranking; no rank depends on it."""
