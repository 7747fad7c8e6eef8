"""`run`: every cell of a spec through the pipeline, each result in a folder of its own and in the store."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from llmemb_bench import progress
from llmemb_bench.cache import Shelf, stage_key, write_sealed
from llmemb_bench.contracts import Dataset, VectorMethod
from llmemb_bench.data.split import Split
from llmemb_bench.data.stages import described, prepared
from llmemb_bench.data.statistics import warnings
from llmemb_bench.defects import as_failure
from llmemb_bench.errors import BenchError
from llmemb_bench.evaluation.buckets import bucket_facts
from llmemb_bench.evaluation.measure import check_size, measure, metrics_of, protocol_of
from llmemb_bench.hashing import digest
from llmemb_bench.pipeline import WEIGHTS, Evaluation, TextVectors, Trainer, text_vectors
from llmemb_bench.report.cell import main_numbers
from llmemb_bench.seal import fault
from llmemb_bench.signals import Terminated, interruptible
from llmemb_bench.spec.cells import Cell
from llmemb_bench.spec.check import build
from llmemb_bench.spec.frame import Spec
from llmemb_bench.spec.resolve import folders_in, resolve
from llmemb_bench.store.database import compare, enter
from llmemb_bench.store.folders import write_json, write_per_user, write_yaml
from llmemb_bench.store.schema import MANIFEST, METRICS, RUN, SPEC, manifest_of, refuse_newer
from llmemb_bench.text.adapter import LOG
from llmemb_bench.text.manifest import MADE, versions
from llmemb_bench.training.loop import EVENTS
from llmemb_bench.training.record import TrainingRecord
from llmemb_bench.world import world

SERIES = 1
"""Of the hash that says which runs may be averaged."""
PACKAGES = ("llmemb-bench", "torch", "transformers", "peft", "numpy", "scikit-learn", "duckdb")


@dataclass
class Outcome:
    """How the cells of a spec ended."""

    done: int = 0
    kept: int = 0
    """Cells whose results were there already."""
    failed: int = 0
    error: BenchError | None = None
    """The first failure."""
    is_told: bool = True
    """Whether this process tells the user."""


def run_cells(cells: Sequence[Cell], results: Path) -> Outcome:
    """Run what is missing; a cell that fails is reported and does not stop the others."""
    outcome, told = Outcome(is_told=world().is_first), set[str]()
    if world().is_first:
        compare(results)
    for place, cell in enumerate(cells, start=1):
        labels = cell.labels
        progress.say(
            f"[{place}/{len(cells)}] {cell.spec.name}: {labels.method} x {labels.backbone} x {labels.encoder}"
            f" on {labels.dataset}, seed {cell.seed}"
        )
        start = time.monotonic()
        try:
            fresh, folder = run_cell(cell, results)
        except (KeyboardInterrupt, Terminated):
            raise
        except BaseException as raised:  # a plugin is foreign code: whatever it raises ends its cell alone
            if world().size > 1:
                raise  # the others wait in the middle of this cell; who started them all ends them
            error = cell.located(as_failure(raised))
            outcome.failed += 1
            outcome.error = outcome.error or error
            fresh_lines = [line for line in map(str, error.problems) if line not in told]
            for line in fresh_lines or ["as before, for the same reason"]:  # cells share stages, and so their failures
                progress.alert(f"error: {line}")
            told.update(fresh_lines)
        else:
            outcome.done += 1
            outcome.kept += not fresh
            took = f"in {time.monotonic() - start:.1f} s" if fresh else "(was there already)"
            if outcome.is_told:
                progress.say(f"    {main_numbers(folder, cell.spec.evaluate.cutoffs[0])} {took}")
    return outcome


@interruptible()
def run_cell(cell: Cell, results: Path) -> tuple[bool, Path]:
    """One cell from raw files to its run folder; whether something was left to do, and the folder."""
    start = time.time()
    spec, shelf = cell.spec, Shelf(results / ".cache")
    refuse_newer(results / "runs" / spec.name / cell.folder)
    metrics_of(spec.evaluate)  # before hours are spent on a ranking that one of them cannot judge
    data = world().first(lambda: prepared(spec.dataset, shelf))
    split = Split(data, spec.split)
    check_size(split, spec.evaluate)
    text = text_vectors(spec.embeddings, data, spec.dataset, shelf) if spec.embeddings else None
    method, key = Trainer(split, spec.evaluate, cell.seed, shelf).recommender(spec.recommender, text)
    run_key = stage_key("run", RUN, [spec.evaluate, spec.name, asdict(cell.labels)], [key])
    series = _series(spec, split, text)
    place = _place(results, cell, series)
    fresh = world().agreed(not _is_complete(place, run_key))
    ranks = Evaluation(method, split, spec.evaluate, cell.seed, shelf).ranks if fresh else {}
    if not world().is_first:
        return fresh, place
    if fresh:
        trained = shelf.place("recommender", key)
        record = TrainingRecord.load(trained) if isinstance(method, VectorMethod) else None

        def make(folder: Path) -> None:
            write_yaml(folder / SPEC, resolve(spec) | {"seeds": [cell.seed], "matrix": {}})
            write_per_user(folder / "per_user.parquet", split, ranks)
            told = record and record.without_seconds()
            write_json(folder / METRICS, measure(split, spec.evaluate, ranks) | {"training": told})
            if record is not None:
                _copy_training(trained, folder)
            if text is not None:
                _copy_text(text, folder)
            write_json(folder / MANIFEST, _manifest(cell, split, shelf, run_key, series, start, record))

        write_sealed(place, make, lambda: _has_key(place, run_key))
    enter(results, place)
    return fresh, place


def _series(spec: Spec, split: Split, text: TextVectors | None) -> str:
    """Hash of all that a number comes from but the seed: settings, files and plugins. What else is measured beside it
    is none of that."""
    evaluate = spec.evaluate.model_copy(update={"protocols": [], "metrics": None})
    fixed = spec.model_copy(update={"evaluate": evaluate, "seeds": [], "matrix": {}})
    return stage_key("series", SERIES, fixed, [split.key, text.key if text else ""])


def _place(results: Path, cell: Cell, series: str) -> Path:
    """The run folder of a cell. Two specs in different folders may give the same relative paths to different files
    under one name: the second does not take the first one's place."""
    place, folders = results / "runs" / cell.spec.name / cell.folder, folders_in(cell.spec)
    manifest = manifest_of(place)
    if manifest.get("folders", folders) == folders or manifest.get("series", series) == series:
        return place
    return place.with_name(f"{place.name}-{digest(folders)[:8]}")


def _is_complete(place: Path, run_key: str) -> bool:
    """Whether a run folder is whole and of these settings."""
    return not fault(place) and _has_key(place, run_key)


def _has_key(place: Path, run_key: str) -> bool:
    return bool(manifest_of(place).get("key") == run_key)


def _seconds(record: TrainingRecord | None) -> dict[str, float | None]:
    """What training took, and its teacher's: of this machine, so in the manifest alone."""
    if record is None:
        return {"training_seconds": None, "teacher_seconds": None}
    taught = sum(teacher.seconds for teacher in record.teachers)
    return {"training_seconds": record.seconds, "teacher_seconds": round(taught, 3)}


def _copy_training(source: Path, folder: Path) -> None:
    for name in (WEIGHTS, EVENTS):
        (folder / name).write_bytes((source / name).read_bytes())


def _copy_text(text: TextVectors, folder: Path) -> None:
    """How the item vectors were made, and the curves of SCFT."""
    (folder / "vectors.json").write_bytes((text.folder / MADE).read_bytes())
    if text.adapter is not None:
        (folder / LOG).write_bytes((text.adapter / LOG).read_bytes())


def _manifest(
    cell: Cell,
    split: Split,
    shelf: Shelf,
    run_key: str,
    series: str,
    start: float,
    record: TrainingRecord | None,
) -> dict[str, Any]:
    dataset = build(Dataset, cell.spec.dataset)
    of_texts = warnings(dataset, split.data) if cell.spec.embeddings else []
    protocol = protocol_of(cell.spec.split, cell.spec.evaluate)
    return {
        "schema": RUN,
        "key": run_key,
        "experiment": cell.spec.name,
        **asdict(cell.labels),
        "seed": cell.seed,
        "configuration": cell.configuration,
        "series": series,
        "folders": folders_in(cell.spec),
        "data": split.key,
        "split": cell.spec.split.label,
        "dataset_facts": described(split, shelf) | {"buckets": bucket_facts(split, cell.spec.evaluate)},
        "warnings": [*of_texts, *(record.doubts if record else [])],
        "protocol": protocol,
        "protocol_hash": digest(protocol),
        "started": start,
        "seconds": round(time.time() - start, 3),
        **_seconds(record),
        "versions": versions(PACKAGES),
        "machine": {
            "python": platform.python_version(),
            "system": platform.system(),
            "processor": platform.machine(),
            "cores": os.cpu_count(),
            "torch_threads": torch.get_num_threads(),
        },
    }
