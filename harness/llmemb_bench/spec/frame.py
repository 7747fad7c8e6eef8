"""The frame of a spec: what every experiment declares (design: one YAML file, nested, plugins by `use`)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from llmemb_bench.config import MACHINE, WORDS, Config, Protocol, Seed, distinct
from llmemb_bench.data.settings import SplitConfig
from llmemb_bench.kinds import BackboneChoice, DatasetChoice, EncoderChoice, MethodChoice, MetricChoice, ObjectiveChoice
from llmemb_bench.text.settings import ScftConfig
from llmemb_bench.training.settings import TrainConfig

Name = Annotated[
    str,
    Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$",
        json_schema_extra={WORDS: "name of 1 to 100 letters, digits, '_', '.' and '-', the first a letter or digit"},
    ),
]


class Reduce(Config):
    """PCA of the item vectors, centred and not whitened (LLMEmb's extraction step)."""

    dim: Annotated[int, Field(ge=1)]
    """Dimensions kept; at most the smaller of the catalogue and the encoder's width (paper: 1536)."""


class Embeddings(Config):
    """Stage 1: item texts to item vectors."""

    encoder: EncoderChoice
    """Which encoder makes the vectors."""
    scft: ScftConfig | None = None
    """Supervised contrastive fine-tuning of the encoder; absent: the encoder as it is."""
    reduce: Reduce | None = None
    """Reduction of the vectors; absent: all dimensions."""


class Recommender(Config):
    """Stage 2: item vectors and histories to a recommender."""

    method: MethodChoice
    """How item vectors become a recommender."""
    backbone: BackboneChoice | None = None
    """The sequence model, for methods that train one."""
    objective: ObjectiveChoice | None = None
    """What training minimises, for methods that train."""
    train: TrainConfig | None = None
    """How training goes, for methods that train."""


class Evaluate(Config):
    """What is measured; the whole of it is the protocol that results are stored under."""

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


class Spec(Config):
    """One experiment."""

    version: Literal[1]
    """Version of this format."""
    name: Name
    """Name of the experiment: its rows in reports, its folder under results."""
    seeds: Annotated[list[Seed], Field(min_length=1), AfterValidator(distinct)] = [42]
    """Seeds of stage 2; each gives a run (paper: 42, 43, 44)."""
    dataset: DatasetChoice
    """Which dataset."""
    split: SplitConfig = SplitConfig()
    """Which events train, validate and test."""
    embeddings: Embeddings | None = None
    """Stage 1; absent for methods that need no vectors."""
    recommender: Recommender
    """Stage 2."""
    evaluate: Evaluate = Evaluate()
    """What is measured."""
    matrix: dict[str, Annotated[list[Any], Field(min_length=1), AfterValidator(distinct)]] = {}
    """Dotted key to a list of values: one cell for each combination."""
