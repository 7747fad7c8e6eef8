"""Histories, item vectors and upstream recommenders to a recommender that is ready to rank."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from llmemb_bench.base.errors import DataError, MissingError
from llmemb_bench.base.ids import n_rows
from llmemb_bench.base.seeds import torch_seed
from llmemb_bench.contracts import Backbone, Fitted, Method, Objective, Parts, Trained
from llmemb_bench.data.fetch import MismatchError
from llmemb_bench.processes.world import world
from llmemb_bench.registry.build import build, plugin_of
from llmemb_bench.settings.evaluate import Evaluate
from llmemb_bench.settings.train import TrainConfig
from llmemb_bench.spec.frame import Recommender
from llmemb_bench.stages.dataset import SplitData
from llmemb_bench.stages.stage import Resources
from llmemb_bench.stages.together import MadeTogether
from llmemb_bench.stages.vectors import TextVectors
from llmemb_bench.training.batches import batches_of
from llmemb_bench.training.loop import EVENTS, train
from llmemb_bench.training.monitor import Monitor
from llmemb_bench.training.record import TrainingRecord
from llmemb_bench.training.size import COPIES, refuse_huge_weights
from llmemb_bench.training.start import start_weights

WEIGHTS = "weights.safetensors"


class FittedRecommender(MadeTogether[Method]):
    """A method of one split and seed, and the recommenders that it builds on. What it learns in training is cached;
    what it counts is counted again."""

    name, version = "recommender", 6

    def __init__(
        self,
        split: SplitData,
        text: TextVectors | None,
        before: Mapping[str, FittedRecommender],
        choices: Recommender,
        evaluate: Evaluate,
        seed: int,
    ) -> None:
        settings = {"recommender": choices, "history": evaluate.history, "seed": seed}
        super().__init__(split.cache, settings, [split, *filter(None, [text]), *before.values()])
        self.split, self.text, self.before = split, text, dict(before)
        self.choices, self.evaluate, self.seed = choices, evaluate, seed
        self.method_type, self.config = plugin_of(Method, choices.method), choices.method.config

    @property
    def label(self) -> str:
        """`id_only with sasrec`"""
        return f"{self.choices.method.use} with {self.choices.backbone.use if self.choices.backbone else 'no backbone'}"

    @property
    def is_trained(self) -> bool:
        """Whether there are weights to keep."""
        return issubclass(self.method_type, Trained)

    @property
    def is_made(self) -> bool:
        return not self.is_trained or super().is_made

    @property
    def resources(self) -> Resources:
        """The memory of an id table in training, the largest part of most methods."""
        if not self.is_trained or self.choices.backbone is None:
            return Resources()
        known = self.split.content is not None
        numbers = n_rows(self.split.result().data.n_items) * self._dim() if known else 0
        return Resources(gpu=True, memory_mb=COPIES * 4 * numbers / 1e6 if known else None)

    def _dim(self) -> int:
        return self.choices.backbone.config.dim if self.choices.backbone else 0

    def filling(self) -> AbstractContextManager[Path | None]:
        return super().filling() if self.is_trained else nullcontext()

    def make(self, folder: Path) -> None:
        """Train, on the recommenders that the method builds on."""
        if self.choices.objective is None:
            raise TypeError("a trained method needs an objective")
        split, config = self.split.result(), self.choices.train or TrainConfig()
        method = self._start(config)
        objective = build(Objective, self.choices.objective).to(world().device)
        batches = batches_of(method, split, objective, config)
        monitor = Monitor(method, split, self.evaluate, config, self.seed)
        unfinished = self.cache.unfinished(self.name, self.address)
        with torch_seed(self.seed, "training"):
            end = train(
                method, objective, batches, config, monitor.validate, self.seed, unfinished, monitor.by_popularity
            )
        if world().is_first:
            save_file({name: tensor.contiguous() for name, tensor in method.state_dict().items()}, folder / WEIGHTS)
            (folder / EVENTS).write_text("".join(json.dumps(event) + "\n" for event in end.events))
            before = [record for stage in self.before.values() if (record := stage.record()) is not None]
            record = TrainingRecord.of(end, monitor.name, config.monitor_protocol, before, method.warnings(end.curves))
            record.save(folder)

    def record(self) -> TrainingRecord | None:
        """What training was chosen by and what it cost; None of a method that is not trained."""
        return TrainingRecord.load(self.folder) if self.is_trained else None

    def load(self) -> Method:
        table, upstream = self._table(), self._unfitted()
        with torch_seed(self.seed, "initial weights"):
            method = self.built(table, upstream)
        method.fit_counts(self.split.result())
        if self.is_trained:
            method.to(world().device)
            load_weights(method, self.folder / WEIGHTS)
        return method

    def _start(self, config: TrainConfig) -> Trained:
        """Where training starts."""
        table, upstream = self._table(), self._fitted()
        of_backbone = {"recommender.backbone": self.choices.backbone.config} if self.choices.backbone else {}
        refuse_huge_weights(lambda: self.built(table, upstream), {"recommender.method": self.config, **of_backbone})
        with torch_seed(self.seed, "initial weights"):
            method = self.built(table, upstream)
            if not isinstance(method, Trained):
                raise TypeError(f"{type(method).__name__} is not trained")
            method.fit_counts(self.split.result())
            start_weights(method, config.start)
        return method.to(world().device)

    def built(self, text: Tensor | None, upstream: Mapping[str, Fitted]) -> Method:
        """The method as its class builds it; `text` is float32 [items + 1, width], row 0 padding."""
        backbone = build(Backbone, self.choices.backbone) if self.choices.backbone else None
        return self.method_type(self.config, Parts(self.split.result().data.n_items, backbone, text, upstream))

    def _table(self) -> Tensor | None:
        return self.text.result().table if self.text else None

    def _fitted(self) -> dict[str, Fitted]:
        """The recommenders that it builds on, in memory for as long as somebody holds them."""
        fitted = {name: Fitted(stage.result()) for name, stage in self.before.items()}
        for stage in self.before.values():
            stage.release()
        return fitted

    def _unfitted(self) -> dict[str, Fitted]:
        """The recommenders that it was built on, without what they had learnt: that is for training only, and may be
        gone. A method that did not keep what it scores by among its own weights gets no score that is finite."""
        return {name: Fitted(stage.forgotten()) for name, stage in self.before.items()}

    @torch.no_grad()
    def forgotten(self) -> Method:
        """The method with weights that are no numbers."""
        table, upstream = self._table(), self._unfitted()
        with torch_seed(self.seed, "initial weights"):
            method = self.built(table, upstream)
        method.fit_counts(self.split.result())
        for weight in method.parameters():
            weight.fill_(torch.nan)
        return method


class ServedRecommender(FittedRecommender):
    """That of a finished run: its weights are those of the run folder, and nothing is trained."""

    def __init__(self, run: Path, fitted: FittedRecommender) -> None:
        super().__init__(fitted.split, fitted.text, fitted.before, fitted.choices, fitted.evaluate, fitted.seed)
        self.run = run

    @property
    def folder(self) -> Path:
        return self.run

    def filling(self) -> AbstractContextManager[Path | None]:
        return nullcontext()


def upstream_recommenders(choices: Recommender) -> dict[str, Recommender]:
    """The recommenders that a method builds on, by the names that it gives them."""
    method, config = plugin_of(Method, choices.method), choices.method.config
    return {
        name: choices.model_copy(update={"method": needed.method, "backbone": needed.backbone or choices.backbone})
        for name, needed in method.upstream(config).items()
    }


def load_weights(method: Method, path: Path) -> None:
    """Raises MissingError where there are none, DataError where they cannot be read, MismatchError where they are
    another method's."""
    if not path.is_file():
        raise MissingError(f"no {path.name}", where=str(path.parent), fix="run the spec again")
    try:
        method.load_state_dict(load_file(path))
    except (SafetensorError, OSError) as error:
        raise DataError(f"cannot be read: {str(error).splitlines()[0]}", where=str(path)) from error
    except RuntimeError as error:
        raise MismatchError(
            f"does not fit the method: {' '.join(str(error).split())}",
            where=str(path),
            fix="was a plugin changed after the run? then run the spec again",
        ) from error
