"""Run folders as `run` leaves them, for tests of the store and of reports."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from llmemb_bench.runs.files import write_yaml
from llmemb_bench.runs.schema import SPEC

BASE = {"experiment": "demo", "dataset": "toy", "encoder": "none", "method": "popularity", "backbone": "none"}


USERS = {"overall": 10, "head": 3, "tail": 7, "tail seen": 5, "tail cold": 2, "popularity 0-4": 6}
HEAD = {"n_items": 400, "n_head": 80, "least_events": 7, "n_tied": 0}
TRAINING = {"monitor": "ndcg@10", "protocol": "full", "best_epoch": 3, "epochs": 5, "steps": 50, "teacher": None}


def write_run(
    results: Path,
    *,
    value: float | None = 0.5,
    validation: float | None = None,
    training: dict[str, Any] = TRAINING,
    head: dict[str, Any] = HEAD,
    users: Mapping[str, int] = USERS,
    metrics: Sequence[str] = ("hr@10", "ndcg@10", "mrr@10"),
    settings: dict[str, Any] | None = None,
    **changes: Any,
) -> Path:
    """A run folder as `run` leaves it, with one number in each reported bucket; `settings` is its resolved spec."""
    manifest = {
        **BASE, "seed": 42, "configuration": "c1", "data": "d", "split": "", "warnings": [], "protocol_hash": "p",
        "started": 1.0, "seconds": 1.0, "schema": 4, "training_seconds": None, "teacher_seconds": None,
    } | changes  # fmt: skip
    key = json.dumps(manifest, sort_keys=True) + f"{value} {validation}"
    folder = (
        results
        / "runs"
        / manifest["experiment"]
        / f"{manifest['method'].replace('/', '_')}-{manifest['configuration']}-{manifest['seed']}"
    )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "manifest.json").write_text(json.dumps(manifest | {"key": key}))
    rows = [
        {
            "protocol": protocol,
            "bucket": bucket,
            "metric": metric,
            "value": value,
            "n_users": n_users if value is not None else 0,
        }
        for protocol in ("full", "sampled-100")
        for bucket, n_users in users.items()
        for metric in metrics
    ]
    trained = None if validation is None else training | {"validation_score": validation}
    measured = {"schema": 2, "head": head, "metrics": rows, "training": trained}
    (folder / "metrics.json").write_text(json.dumps(measured))
    write_yaml(folder / SPEC, settings or {})
    return folder
