"""The way of the data: one cell through its stages, each done once and kept on the shelf.

dataset -> histories -> split
items -> (SCFT) -> encoder -> vectors -> (PCA)
split + vectors + teacher -> trained recommender -> ranks
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor

from llmemb_bench import progress
from llmemb_bench.cache import Shelf, stage_key
from llmemb_bench.contracts import (
    Augmentation,
    Backbone,
    Dataset,
    Encoder,
    Loss,
    Method,
    Objective,
    Parts,
    TextEncoder,
    VectorMethod,
)
from llmemb_bench.data.recdata import Items, RecData
from llmemb_bench.data.split import Split
from llmemb_bench.errors import DataError, SpecError
from llmemb_bench.evaluation.candidates import draw_candidates
from llmemb_bench.evaluation.ranking import Ranks, rank
from llmemb_bench.kinds import DatasetChoice
from llmemb_bench.seeds import generator, torch_seed
from llmemb_bench.spec.check import build, configure
from llmemb_bench.spec.frame import Embeddings, Evaluate, Recommender
from llmemb_bench.spec.resolve import paths_in
from llmemb_bench.store.folders import write_json
from llmemb_bench.text.adapter import tune_and_save
from llmemb_bench.text.encoding import build_encoder, encode
from llmemb_bench.text.manifest import MADE, how_made
from llmemb_bench.text.vectors import ItemVectors, reduce_dim
from llmemb_bench.training.batches import TrainingBatches
from llmemb_bench.training.loop import EVENTS, train
from llmemb_bench.training.monitor import Monitor
from llmemb_bench.training.record import TrainingRecord
from llmemb_bench.training.settings import TrainConfig
from llmemb_bench.training.size import refuse_huge_draws, refuse_huge_weights
from llmemb_bench.training.start import start_weights
from llmemb_bench.world import world

WEIGHTS = "weights.safetensors"
ADAPTER, VECTORS, RECOMMENDER, CANDIDATES = 2, 2, 3, 1
"""Schema version of each stage's result."""


@dataclass(frozen=True)
class TextVectors:
    """Vectors of the catalogue made from its texts, and the key of how they were made."""

    key: str
    vectors: ItemVectors
    folder: Path
    """Where they lie, with how they were made."""
    adapter: Path | None
    """Where the weights that SCFT trained lie, with its log."""


def text_vectors(embeddings: Embeddings, data: RecData, dataset: DatasetChoice, shelf: Shelf) -> TextVectors:
    """Stage 1: encoder (tuned if the spec says so), vectors, reduction."""
    _refuse_textless(embeddings, data, dataset)
    items = data.catalogue
    files = [shelf.fingerprint(path.resolve()) for path in paths_in(embeddings)]
    key = stage_key("vectors", VECTORS, embeddings, [items.key, *files])

    adapter = _adapter(embeddings, items, shelf, files)

    def make(folder: Path) -> None:
        encoder = build_encoder(Encoder, embeddings.encoder)
        if adapter is not None and isinstance(encoder, TextEncoder):
            encoder.load_adapter(adapter)
        made = encode(encoder, items, shelf.kept("vectors", key))
        width = made.shape[1]
        if embeddings.reduce is not None:
            made = reduce_dim(made, embeddings.reduce.dim)
        if world().is_first:
            ItemVectors.of(made).save(folder)
            write_json(folder / MADE, how_made(encoder, items, width, made.shape[1], adapter))

    folder = world().make(shelf, "vectors", key, make)
    return TextVectors(key, ItemVectors.load(folder), folder, adapter)


def _refuse_textless(embeddings: Embeddings, data: RecData, dataset: DatasetChoice) -> None:
    encoder, _ = configure(Encoder, embeddings.encoder)
    config = build(Dataset, dataset).config
    empty = np.flatnonzero(~data.catalogue.attributes.filled().any(axis=1))
    if encoder.needs_text and len(empty) and config.textless == "refuse":
        first = f"the first is '{data.catalogue.ids[empty[0]]}'"
        raise DataError(
            "; ".join([f"{len(empty)} of {len(data.catalogue)} items have no text, {first}", *data.warnings]),
            where="dataset",
            fix="give them text, or set dataset.textless: keep to encode them as the bare instruction",
        )


def _adapter(embeddings: Embeddings, items: Items, shelf: Shelf, files: Sequence[str]) -> Path | None:
    """The folder of the weights that SCFT gave the encoder, now or before; None without SCFT."""
    scft = embeddings.scft
    if scft is None:
        return None
    settings = {"encoder": embeddings.encoder, "scft": scft}
    key = stage_key("adapter", ADAPTER, settings, [items.key, *files])

    def make(folder: Path) -> None:
        augmentations = [build(Augmentation, choice) for choice in scft.augmentations]
        kept = shelf.kept("adapter", key)
        tune_and_save(embeddings.encoder, items, augmentations, build(Loss, scft.loss), scft, folder, kept)

    return world().make(shelf, "adapter", key, make)


@dataclass(frozen=True)
class Trainer:
    """Trains recommenders of one split and seed; a teacher is a recommender like any other."""

    split: Split
    evaluate: Evaluate
    seed: int
    shelf: Shelf

    def recommender(self, wanted: Recommender, text: TextVectors | None) -> tuple[Method, str]:
        """A fitted method and the key of how it came about."""
        method_type, config = configure(Method, wanted.method)
        needs_text = text if "text" in method_type.needs else None
        teacher = self._teacher(wanted, method_type, text)
        upstream = [self.split.key, needs_text.key if needs_text else "", teacher[1] if teacher else ""]
        settings = {"recommender": wanted, "monitored": self._monitored, "seed": self.seed}
        key = stage_key("recommender", RECOMMENDER, settings, upstream)

        def built() -> Method:
            parts = Parts(
                n_items=self.split.data.n_items,
                backbone=build(Backbone, wanted.backbone) if wanted.backbone else None,
                text=needs_text.vectors.table if needs_text else None,
                teacher=teacher[0] if teacher else None,
            )
            return method_type(config, parts)

        of_backbone = {"recommender.backbone": wanted.backbone.config} if wanted.backbone else {}
        refuse_huge_weights(built, {"recommender.method": config, **of_backbone})
        with torch_seed(self.seed, "initial weights"):
            method = built()
            if isinstance(method, VectorMethod):
                start_weights(method, (wanted.train or TrainConfig()).start)
        method.fit_counts(self.split)
        if isinstance(method, VectorMethod):
            method.to(world().device)
            taught = self._record(teacher[1]) if teacher else None
            make = partial(self._train, method, wanted, key, taught)
            folder = world().make(self.shelf, "recommender", key, make)
            method.load_state_dict(load_file(folder / WEIGHTS))
        return method, key

    @property
    def _monitored(self) -> list[object]:
        """The settings of evaluation that early stopping depends on."""
        return [self.evaluate.cutoffs[0], self.evaluate.history]

    def _teacher(
        self, wanted: Recommender, method: type[Method], text: TextVectors | None
    ) -> tuple[Tensor, str] | None:
        teacher = method.teacher(configure(Method, wanted.method)[1]) if "teacher" in method.needs else None
        if teacher is None:
            return None
        goal = wanted.model_copy(update={"method": teacher.method, "backbone": teacher.backbone or wanted.backbone})
        _refuse_other_width(wanted, goal)
        progress.say(f"teacher: {goal.method.use} with {goal.backbone.use if goal.backbone else 'no backbone'}")
        fitted, key = self.recommender(goal, text)
        if not isinstance(fitted, VectorMethod):
            raise SpecError(f"'{goal.method.use}' has no item vectors to align with", where="recommender.method")
        with torch.no_grad():
            vectors = fitted.eval().catalogue()
        return torch.cat([vectors.new_zeros(1, vectors.shape[1]), vectors]), key

    def _record(self, key: str) -> TrainingRecord:
        return TrainingRecord.load(self.shelf.place("recommender", key))

    def _train(
        self, method: VectorMethod, wanted: Recommender, key: str, teacher: TrainingRecord | None, folder: Path
    ) -> None:
        if wanted.objective is None:
            raise TypeError("a trained method needs an objective")
        config = wanted.train or TrainConfig()
        objective = build(Objective, wanted.objective).to(world().device)
        refuse_huge_draws(self.split, method.backbone, objective, config)
        batches = TrainingBatches(self.split, method.backbone, objective, config)
        monitor = Monitor(method, self.split, self.evaluate, config, self.seed)
        with torch_seed(self.seed, "training"):
            kept = self.shelf.kept("recommender", key)
            end = train(method, objective, batches, config, monitor.validate, self.seed, kept, monitor.by_popularity)
        if world().is_first:
            save_file({name: tensor.contiguous() for name, tensor in method.state_dict().items()}, folder / WEIGHTS)
            (folder / EVENTS).write_text("".join(json.dumps(event) + "\n" for event in end.events))
            doubts = method.doubts(end.curves)
            TrainingRecord.of(end, monitor.name, config.monitor_protocol, teacher, doubts).save(folder)


def _refuse_other_width(wanted: Recommender, teacher: Recommender) -> None:
    """Before hours are spent on a teacher that nobody can be aligned with."""
    if wanted.backbone is None or teacher.backbone is None:
        return
    widths = [build(Backbone, choice).config.dim for choice in (wanted.backbone, teacher.backbone)]
    if widths[0] != widths[1]:
        raise SpecError(
            f"the teacher's backbone has dim {widths[1]}, the recommender's {widths[0]}",
            where="recommender.method",
            fix=f"backbone: {{use: {teacher.backbone.use}, dim: {widths[0]}}} for the teacher",
        )


@dataclass(frozen=True)
class Evaluation:
    """The test ranking of a fitted method under every protocol of a spec."""

    method: Method
    split: Split
    evaluate: Evaluate
    seed: int
    shelf: Shelf

    @cached_property
    def ranks(self) -> dict[str, Ranks]:
        """Protocol to ranks, in the spec's order; the catalogue is scored once."""
        sampled = [protocol for protocol in self.evaluate.protocols if protocol != "full"]
        candidates = [self._candidates(int(protocol.removeprefix("sampled-"))) for protocol in sampled]
        full, among = rank(self.method, self.split, "test", self.evaluate, candidates)
        found = {"full": full} | dict(zip(sampled, among, strict=True))
        return {protocol: found[protocol] for protocol in self.evaluate.protocols}

    def _candidates(self, count: int) -> NDArray[np.int32]:
        key = stage_key("candidates", CANDIDATES, [count, self.seed], [self.split.key])

        def make(folder: Path) -> None:
            drawn = draw_candidates(self.split, count, generator(self.seed, "candidates", count))
            np.save(folder / "candidates.npy", drawn, allow_pickle=False)

        folder = world().make(self.shelf, "candidates", key, make)
        drawn: NDArray[np.int32] = np.load(folder / "candidates.npy", allow_pickle=False)
        return drawn
