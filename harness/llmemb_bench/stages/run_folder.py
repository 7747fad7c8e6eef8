"""The folder of a finished cell: what it ranked and measured, the weights, and what all of it was made from."""

from __future__ import annotations

import os
import platform
import time
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

from llmemb_bench.base.folders import sealed_folder
from llmemb_bench.base.hashing import digest
from llmemb_bench.base.seal import fault
from llmemb_bench.contracts import Dataset
from llmemb_bench.data.statistics import warnings
from llmemb_bench.evaluation.buckets import bucket_facts, buckets_of
from llmemb_bench.evaluation.measure import evaluation_protocol, measure
from llmemb_bench.registry.build import build
from llmemb_bench.registry.resolve import folders_in, resolve
from llmemb_bench.runs.files import write_json, write_per_user, write_yaml
from llmemb_bench.runs.schema import MANIFEST, METRICS, PER_USER, RUN, SPEC, manifest_of, refuse_newer
from llmemb_bench.spec.cells import Cell
from llmemb_bench.stages.cell import CellStages
from llmemb_bench.stages.keys import stage_key
from llmemb_bench.stages.recommender import WEIGHTS
from llmemb_bench.stages.stage import Stage
from llmemb_bench.text.adapter import LOG
from llmemb_bench.text.manifest import MADE, versions
from llmemb_bench.text.transforms import controls
from llmemb_bench.training.loop import EVENTS
from llmemb_bench.training.record import TrainingRecord

SERIES = 2
"""Of the hash that says which runs may be averaged."""
PACKAGES = ("llmemb-bench", "torch", "transformers", "peft", "numpy", "scikit-learn", "duckdb")


class RunFolder(Stage[Path]):
    """A cell's result, in `runs` and not in the cache: its name is meant for people to read."""

    name, version = "run", RUN

    def __init__(self, results: Path, cell: Cell, stages: CellStages) -> None:
        settings = [cell.spec.evaluate, cell.spec.name, asdict(cell.labels)]
        super().__init__(stages.ranks.cache, settings, [stages.ranks])
        self.results, self.cell, self.stages = results, cell, stages
        self.start = time.time()

    @cached_property
    def series(self) -> str:
        """Hash of all that a number comes from but the seed: settings, files and plugins. What else is measured beside
        it is none of that."""
        spec = self.cell.spec
        evaluate = spec.evaluate.model_copy(update={"protocols": [], "metrics": None})
        fixed = spec.model_copy(update={"evaluate": evaluate, "seeds": [], "matrix": {}})
        text = self.stages.text
        return stage_key("series", SERIES, fixed, [self.stages.split.identity, text.identity if text else ""])

    @cached_property
    def path(self) -> Path:
        """Where it lies. Two specs in different folders may give the same relative paths to different files under one
        name: the second does not take the first one's place."""
        path, folders = self.results / "runs" / self.cell.spec.name / self.cell.folder, folders_in(self.cell.spec)
        manifest = manifest_of(path)
        if manifest.get("folders", folders) == folders or manifest.get("series") in (None, self.series):
            return path
        return path.with_name(f"{path.name}-{digest(folders)[:8]}")

    @property
    def is_made(self) -> bool:
        """Whether it is whole and of these settings; raises MissingError where a newer version wrote it."""
        refuse_newer(self.path)
        return not fault(self.path) and self._is_of_these_settings()

    def _is_of_these_settings(self) -> bool:
        return bool(manifest_of(self.path).get("key") == self.identity)

    def fill(self) -> None:
        with sealed_folder(self.path, self._is_of_these_settings) as folder:
            if folder is not None:
                self.make(folder)

    def load(self) -> Path:
        return self.path

    def make(self, folder: Path) -> None:
        """Write every file but the seal."""
        spec, split, record = self.cell.spec, self.stages.split.result(), self.stages.recommender.record()
        ranks = self.stages.ranks.result()
        write_yaml(folder / SPEC, resolve(spec) | {"seeds": [self.cell.seed], "matrix": {}})
        write_per_user(folder / PER_USER, split, ranks, buckets_of(split, spec.evaluate)["head"])
        training = record and record.without_seconds()
        write_json(folder / METRICS, measure(split, spec.evaluate, ranks) | {"training": training})
        self._copy(folder)
        write_json(folder / MANIFEST, self._manifest(record))

    def _copy(self, folder: Path) -> None:
        """Weights and curves of training, how the item vectors were made, and the curves of SCFT."""
        recommender, text = self.stages.recommender, self.stages.text
        if recommender.is_trained:
            for name in (WEIGHTS, EVENTS):
                (folder / name).write_bytes((recommender.folder / name).read_bytes())
        if text is not None:
            (folder / "vectors.json").write_bytes((text.folder / MADE).read_bytes())
            if text.adapter is not None:
                (folder / LOG).write_bytes((text.adapter.folder / LOG).read_bytes())

    def _manifest(self, record: TrainingRecord | None) -> dict[str, Any]:
        cell, split = self.cell, self.stages.split.result()
        dataset = build(Dataset, cell.spec.dataset)
        of_texts = warnings(dataset, split.data) if cell.spec.embeddings else []
        protocol = evaluation_protocol(cell.spec.split, cell.spec.evaluate)
        return {
            "schema": RUN,
            "key": self.identity,
            "experiment": cell.spec.name,
            **asdict(cell.labels),
            "controls": controls(cell.spec.embeddings.transforms) if cell.spec.embeddings else [],
            "seed": cell.seed,
            "configuration": cell.configuration,
            "series": self.series,
            "folders": folders_in(cell.spec),
            "data": split.key,
            "split": cell.spec.split.label,
            "dataset_facts": self.stages.facts.result() | {"buckets": bucket_facts(split, cell.spec.evaluate)},
            "warnings": [*of_texts, *(record.doubts if record else [])],
            "protocol": protocol,
            "protocol_hash": digest(protocol),
            "started": self.start,
            "seconds": round(time.time() - self.start, 3),
            **_seconds(record),
            "versions": versions(PACKAGES),
            "machine": _machine(),
        }


def _seconds(record: TrainingRecord | None) -> dict[str, float | None]:
    """What training took, and its teacher's: of this machine, so in the manifest alone."""
    if record is None:
        return {"training_seconds": None, "teacher_seconds": None}
    taught = sum(teacher.seconds for teacher in record.teachers)
    return {"training_seconds": record.seconds, "teacher_seconds": round(taught, 3)}


def _machine() -> dict[str, Any]:
    import torch

    return {
        "python": platform.python_version(),
        "system": platform.system(),
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
    }
