"""The frame of a spec: what every experiment declares (design: one YAML file, nested, plugins by `use`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from llmemb_bench.registry.config import WORDS, Config, Seed, distinct
from llmemb_bench.registry.kinds import (
    BackboneChoice,
    DatasetChoice,
    EncoderChoice,
    MethodChoice,
    ObjectiveChoice,
    TransformChoice,
)
from llmemb_bench.settings.evaluate import Evaluate
from llmemb_bench.settings.scft import ScftConfig
from llmemb_bench.settings.split import SplitConfig
from llmemb_bench.settings.train import TrainConfig

Name = Annotated[
    str,
    Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$",
        json_schema_extra={WORDS: "name of 1 to 100 letters, digits, '_', '.' and '-', the first a letter or digit"},
    ),
]


Matrix = dict[str, Annotated[list[Any], Field(min_length=1), AfterValidator(distinct)]]


class Embeddings(Config):
    """Stage 1: item texts to item vectors."""

    encoder: EncoderChoice
    """Which encoder makes the vectors."""
    scft: ScftConfig | None = None
    """Supervised contrastive fine-tuning of the encoder; absent: the encoder as it is."""
    transforms: list[TransformChoice] = []
    """What becomes of the vectors, one after the other (paper: `[{use: pca, dim: 1536}]`); empty: they stay as they
    are."""


def as_transforms(reduce: object) -> list[dict[str, Any]]:
    """What a spec with the former key `embeddings.reduce` meant: `{dim: 64}` is `[{use: pca, dim: 64}]`."""
    if reduce is None:
        return []
    return [{"use": "pca", "dim": reduce.get("dim") if isinstance(reduce, Mapping) else reduce}]


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
    matrix: Matrix = {}
    """Dotted key to a list of values: one cell for each combination."""
