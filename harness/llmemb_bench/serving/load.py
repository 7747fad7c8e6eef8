"""A finished run as it ranked: the weights of its folder over its data; nothing is trained again.

The cache saves time where it is still there. Where it is gone, data are prepared and texts encoded anew; what took
training comes from the run folder or not at all.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import torch

from llmemb_bench.base.errors import DataError, MissingError, SpecError
from llmemb_bench.contracts import Method
from llmemb_bench.data.fetch import MismatchError
from llmemb_bench.processes.world import world
from llmemb_bench.registry.config import SpecText
from llmemb_bench.registry.resolve import folders_in
from llmemb_bench.runs.schema import MANIFEST, PER_USER, SPEC, fault_of_run, refuse_newer
from llmemb_bench.serving.scoring import Histories, score, scores_at_once, states_of, without_history
from llmemb_bench.spec.check import check
from llmemb_bench.spec.frame import Spec, as_transforms
from llmemb_bench.spec.source import read
from llmemb_bench.stages.cache import Cache
from llmemb_bench.stages.cell import CellStages, Graph
from llmemb_bench.values.recdata import Items
from llmemb_bench.values.split import Split

FOLDERS = "folders"
"""Key of the manifest: where each relative path of the spec starts from."""
USERS_CHECKED = 64
MOVED = 0.01
"""Share of the catalogue that a rank may move, for other processors round otherwise."""


@dataclass(frozen=True, eq=False)
class LoadedRun:
    """A run with its data, ready to rank."""

    folder: Path
    manifest: Mapping[str, Any]
    spec: Spec
    split: Split
    method: Method

    @property
    def masks_history(self) -> bool:
        """Whether items of a history are left out, as in the run's evaluation."""
        return self.spec.evaluate.history == "mask"

    @property
    def label(self) -> str:
        """The run in one line."""
        parts = [self.manifest[part] for part in ("method", "backbone", "encoder") if self.manifest[part] != "none"]
        return f"{' · '.join(parts)} on {self.manifest['dataset']}, seed {self.manifest['seed']}"


def load_run(folder: Path, results: Path, spec_folder: Path | None = None) -> LoadedRun:
    """Data, method and weights of a run folder; raises MismatchError where they are not those of the run.

    Relative paths of the spec start from `spec_folder`, or from where they did when the run was made.
    """
    manifest = read_manifest(folder)
    refuse_newer(folder)
    if wrong := fault_of_run(folder):
        raise MismatchError(wrong, where=str(folder), fix="run the spec again, which makes it again")
    spec = _spec_of(folder, manifest, spec_folder)
    stages = _stages(folder, spec, Cache(_cache_of(folder, results)), spec_folder)
    split = stages.split.result()
    if split.key != manifest["data"]:
        raise MismatchError(
            "the data are not those of the run",
            where=str(folder),
            fix="bring back the files as they were, or run the spec again",
        )
    method = stages.recommender.result().to(world().device).eval()
    run = LoadedRun(folder, manifest, spec, split, method)
    _refuse_other_ranks(run)
    return run


def _cache_of(folder: Path, results: Path) -> Path:
    """The cache beside the run, or that of `results` if the run has been moved away from its own."""
    folder = folder.resolve()
    if len(folder.parents) < 3 or folder.parents[1].name != "runs":
        return results / ".cache"
    own = folder.parents[2] / ".cache"
    return own if own.is_dir() else results / ".cache"


def read_manifest(folder: Path) -> dict[str, Any]:
    """What a run folder says of itself; a DataError where it says nothing, or is no run."""
    path = folder / MANIFEST
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"cannot be read: {error}", where=str(path), fix="run the spec again") from error
    wanted = ("data", "key", "experiment", "dataset", "method", "backbone", "encoder", "seed")
    if not isinstance(found, dict) or not set(wanted) <= found.keys():
        raise DataError("is not the manifest of a run", where=str(path), fix="name a folder below results/runs")
    return found


def _spec_of(folder: Path, manifest: Mapping[str, Any], spec_folder: Path | None) -> Spec:
    if not (folder / SPEC).is_file():
        raise MissingError(f"no {SPEC}", where=str(folder), fix="run the spec again")
    document = read(folder / SPEC)
    recorded = {text: Path(start) for text, start in manifest.get(FOLDERS, {}).items()}

    def placed(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: placed(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [placed(inner) for inner in value]
        if isinstance(value, SpecText):
            return SpecText(value, spec_folder or recorded.get(str(value), value.folder))
        return value

    document.value = placed(document.value)
    embeddings = document.value.get("embeddings") or {}
    if "reduce" in embeddings:  # an earlier version made the run
        embeddings["transforms"] = as_transforms(embeddings.pop("reduce"))
    spec, problems = check(document)
    if spec is None:
        raise SpecError.of(problems)
    return spec


def _stages(folder: Path, spec: Spec, cache: Cache, spec_folder: Path | None) -> CellStages:
    """The stages of a finished run, its data prepared."""
    try:
        stages = Graph(cache, run=folder).cell(spec, spec.seeds[0])
        stages.data.result()
    except MissingError as error:
        if spec_folder is not None or not folders_in(spec.dataset):
            raise
        problem = error.problems[0]
        fix = f"{problem.fix}; or, if the files have moved, --spec-folder FOLDER"
        raise MissingError(problem.finding, where=problem.where, fix=fix) from error
    return stages


def _refuse_other_ranks(run: LoadedRun) -> None:
    """Rank the test targets of some users again: weights, vectors, data and code together are those of the run."""
    split, recorded = run.split, _recorded(run.folder / PER_USER)
    count = min(len(recorded), scores_at_once(split.data.n_items))
    if count == 0:
        return
    users, recorded = split.users("test")[:count], recorded[:count]
    histories = Histories(split.data.items, split.data.offsets[users], split.input_lengths("test")[:count])
    targets = torch.from_numpy(split.targets("test")[:count].astype(np.int64))[:, None]
    with torch.no_grad():
        run.method.begin_ranking()
        scores = score(run.method, states_of(run.method, histories), split.data.n_items).cpu()
    target_scores = scores.gather(1, targets)
    if run.masks_history:
        without_history(scores, histories)
    moved = np.abs((scores > target_scores).sum(1).numpy() - recorded)
    if (moved > max(1, MOVED * split.data.n_items)).mean() > 0.1 or not torch.isfinite(target_scores).all():
        raise MismatchError(
            f"ranks {count} users differently from the run, by a median of {int(np.median(moved))} ranks",
            where=str(run.folder),
            fix="were texts, vectors or a plugin changed after the run? then run the spec again",
        )


def _recorded(path: Path) -> np.ndarray:
    """Candidates above the target in the full ranking of the first users; none where the run has no full ranking."""
    query = "select n_greater from read_parquet(?) where protocol = 'full' limit ?"
    with duckdb.connect() as db:
        try:
            found = db.execute(query, [str(path), USERS_CHECKED]).fetchnumpy()["n_greater"]
        except duckdb.Error as error:
            raise DataError(f"cannot be read: {str(error).splitlines()[0]}", where=str(path)) from error
    return np.asarray(found, dtype=np.int64)


def catalogue_of(folder: Path, results: Path) -> Items:
    """The items of a run's dataset, from the cache or prepared anew; a BenchError where their files are gone."""
    spec = _spec_of(folder, read_manifest(folder), None)
    return _stages(folder, spec, Cache(_cache_of(folder, results)), None).data.result().catalogue
