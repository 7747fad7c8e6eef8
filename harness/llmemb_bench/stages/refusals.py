"""What spec and data together rule out, reported before anything is tuned or trained.

A stage used alone refuses the same in the middle of its work; here it is found hours earlier.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from llmemb_bench.base.errors import DataError, Problem, SpecError
from llmemb_bench.base.ids import n_rows
from llmemb_bench.contracts import (
    CellFacts,
    Encoder,
    Fitted,
    Method,
    Objective,
    Plugin,
    VectorMethod,
)
from llmemb_bench.evaluation.candidates import refuse_scarce
from llmemb_bench.evaluation.measure import check_size
from llmemb_bench.registry.build import build, plugin_of
from llmemb_bench.registry.kinds import DatasetChoice
from llmemb_bench.registry.resolve import choices_in
from llmemb_bench.settings.train import TrainConfig
from llmemb_bench.spec.frame import Embeddings, Spec
from llmemb_bench.stages.cell import CellStages
from llmemb_bench.stages.dataset import SplitData
from llmemb_bench.stages.recommender import FittedRecommender
from llmemb_bench.text.transforms import is_of_training, refuse_vectors, widths
from llmemb_bench.training.negatives import NegativeSampler
from llmemb_bench.training.optimizer import sparse_tables
from llmemb_bench.training.size import refuse_huge_draws, refuse_huge_weights
from llmemb_bench.values.recdata import RecData


def refuse(spec: Spec, stages: CellStages) -> None:
    """Raises SpecError or DataError for a cell that cannot end well; its data are prepared."""
    split, facts = stages.split.result(), facts_of(spec, stages)
    check_size(split, spec.evaluate)
    if problems := list(_of_plugins(spec, facts)):
        raise SpecError.of(problems)
    if spec.embeddings is not None:
        refuse_textless(spec.dataset, spec.embeddings, stages.data.result())
        refuse_transforms(spec.embeddings, stages.split)
    for candidates in stages.candidates:
        refuse_scarce(split, candidates.count, "test", stages.split.scarcest("test"))
    for recommender in _with_upstream(stages.recommender):
        if recommender.is_trained and not recommender.is_made:
            _refuse_training(recommender, facts)


def facts_of(spec: Spec, stages: CellStages) -> CellFacts:
    """What is known of a cell whose data are prepared."""
    data, embeddings = stages.data.result(), spec.embeddings
    width = None
    if embeddings is not None:
        width = widths(embeddings.transforms, _encoded_width(embeddings))[-1]
    return CellFacts(data.n_users, data.n_items, width)


def _of_plugins(spec: Spec, facts: CellFacts) -> Iterator[Problem]:
    for choice in choices_in(spec):
        yield from plugin_of(Plugin, choice).refuses(choice.config, facts)


def refuse_textless(dataset: DatasetChoice, embeddings: Embeddings, data: RecData) -> None:
    """A DataError where an encoder that reads texts would meet items without one."""
    config, needs_text = dataset.config, plugin_of(Encoder, embeddings.encoder).needs_text
    empty = np.flatnonzero(~data.catalogue.attributes.filled().any(axis=1))
    if needs_text and len(empty) and config.textless == "refuse":
        first = f"the first is '{data.catalogue.ids[empty[0]]}'"
        raise DataError(
            "; ".join([f"{len(empty)} of {len(data.catalogue)} items have no text, {first}", *data.warnings]),
            where="dataset",
            fix="give them text, or set dataset.textless: keep to encode them as the bare instruction",
        )


def refuse_transforms(embeddings: Embeddings, split: SplitData) -> None:
    """A SpecError where a transform cannot be fitted on such vectors of these items."""
    chosen, found = embeddings.transforms, split.result()
    counts = found.popularity[1:] if is_of_training(chosen) else None
    refuse_vectors(chosen, _encoded_width(embeddings), found.data.n_items, counts)


def _encoded_width(embeddings: Embeddings) -> int | None:
    return plugin_of(Encoder, embeddings.encoder).text_dim_of(embeddings.encoder.config)


def _with_upstream(recommender: FittedRecommender) -> Iterator[FittedRecommender]:
    for before in recommender.before.values():
        yield from _with_upstream(before)
    yield recommender


def _refuse_training(recommender: FittedRecommender, facts: CellFacts) -> None:
    choices, split = recommender.choices, recommender.split.result()
    config = choices.train or TrainConfig()
    for name, needed in recommender.method_type.upstream(recommender.config).items():
        if needed.same_dim:
            _refuse_other_width(recommender, name)
    if config.monitor_protocol != "full":
        count = int(config.monitor_protocol.removeprefix("sampled-"))
        refuse_scarce(split, count, "validation", recommender.split.scarcest("validation"))
    method = _trial(recommender, facts)
    if method is None or choices.objective is None:
        return
    sparse_tables(method, config)
    objective = build(Objective, choices.objective)
    refuse_huge_draws(split, method.backbone, objective, config)
    NegativeSampler(split, objective.sampling)


def _refuse_other_width(recommender: FittedRecommender, name: str) -> None:
    own, other = recommender.choices.backbone, recommender.before[name].choices.backbone
    if own is None or other is None:
        return
    widths = [choice.config.dim for choice in (own, other)]
    if widths[0] != widths[1]:
        raise SpecError(
            f"the {name}'s backbone has dim {widths[1]}, the recommender's {widths[0]}",
            where="recommender.method",
            fix=f"backbone: {{use: {other.use}, dim: {widths[0]}}} for the {name}",
        )


def _trial(recommender: FittedRecommender, facts: CellFacts) -> VectorMethod | None:
    """The method over numbers that take no memory (torch's device `meta`), so that it refuses now what it would refuse
    when its vectors are there; None where it cannot be built so. A width that nobody knows yet refuses nothing."""
    choices, is_guess = recommender.choices, recommender.text is not None and facts.text_dim is None
    if choices.backbone is None:
        return None
    settings = {"recommender.method": recommender.config, "recommender.backbone": choices.backbone.config}
    refuse_huge_weights(lambda: _built(recommender, facts), settings)
    try:
        with torch.device("meta"):
            method = _built(recommender, facts)
    except SpecError:
        if is_guess:
            return None
        raise
    except Exception:  # it computes with its weights as it is built
        return None
    return method if isinstance(method, VectorMethod) else None


def _built(recommender: FittedRecommender, facts: CellFacts) -> Method:
    """The method on recommenders that nobody has fitted, over text vectors of zeros."""
    upstream = {name: Fitted(_built(before, facts)) for name, before in recommender.before.items()}
    choice = recommender.choices.backbone
    width = facts.text_dim or (choice.config.dim if choice is not None else 1)
    text = torch.zeros(n_rows(facts.n_items), width) if recommender.text is not None else None
    return recommender.built(text, upstream)
