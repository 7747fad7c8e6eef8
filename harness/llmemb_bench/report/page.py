"""One run in a page: what was run, on what, for how long, how it learned, what it reached, what to know of it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from llmemb_bench.base.terminal import shown, table
from llmemb_bench.evaluation.cut import HeadCut
from llmemb_bench.report.grid import score
from llmemb_bench.report.rows import FEW, FEW_TAIL_USERS, REPORTED_BUCKETS
from llmemb_bench.report.sparkline import sparkline
from llmemb_bench.runs.database import warnings_of
from llmemb_bench.runs.stored import StoredRun

CURVES = {
    "SCFT loss": ("scft.jsonl", "loss"),
    "training loss": ("events.jsonl", "loss"),
    "validation": ("events.jsonl", "validation"),
}
"""Name to the file of the run folder and the key of its lines."""


def print_run(run: StoredRun, console: Console) -> None:
    """Facts, curves, numbers, warnings."""
    console.print(Text(shown(run.label), style="bold"))
    facts = table("", "", folded={""})
    facts.show_header = False
    for name, words in (*_facts(run), *_curves(run)):
        facts.add_row(name, words)
    console.print(facts, highlight=False)
    for protocol in run.protocols:
        console.print()
        console.print(_numbers(run, protocol), highlight=False)
    for warning in warnings(run):
        console.print(f"warning: {warning}", style="red", highlight=False)


def as_json(run: StoredRun) -> dict[str, Any]:
    """For programs."""
    curves = {name: _curve(run.folder / file, key) for name, (file, key) in CURVES.items()}
    return {
        "schema": 1,
        "run": run.name,
        "label": run.label,
        "manifest": run.manifest,
        "settings": run.settings,
        "metrics": run.measured["metrics"],
        "training": run.training,
        "curves": {name: curve for name, curve in curves.items() if curve},
        "warnings": warnings(run),
    }


def warnings(run: StoredRun) -> list[str]:
    """What a reader of the numbers must know."""
    found = warnings_of(run.manifest, run.training, run.settings)
    users = {bucket: n for (_, bucket), (_, n) in run.values(run.protocols[0]).items()}
    if users.get("tail", FEW) < FEW:
        found.append(FEW_TAIL_USERS)
    return found


def _facts(run: StoredRun) -> Iterator[tuple[str, str]]:
    manifest, facts = run.manifest, run.manifest.get("dataset_facts") or {}
    yield "run", run.name
    yield "folder", str(run.folder)
    if size := facts.get("size"):
        words = [f"{size[name]:,} {name}" for name in ("users", "items", "events") if name in size]
        yield "data", ", ".join([*words, *filter(None, [manifest["split"]])])
    cut = run.measured["head"]
    yield "head", str(HeadCut(cut["n_items"], cut["n_head"], cut["least_events"], cut["n_tied"]))
    started = datetime.fromtimestamp(manifest["started"], UTC)
    yield "made", ", ".join([f"{started:%Y-%m-%d %H:%M} UTC", *_versions(manifest)])
    yield "time", _time(manifest)
    if record := run.training:
        yield (
            "training",
            (
                f"epoch {record['best_epoch']} of {record['epochs']} was the best ({record['steps']:,} steps): "
                f"{record['monitor']} {score(record['validation_score'])} in validation ({record['protocol']})"
            ),
        )


def _versions(manifest: Mapping[str, Any]) -> list[str]:
    versions = manifest.get("versions") or {}
    return [f"{name} {versions[name]}" for name in ("llmemb-bench", "torch") if name in versions]


def _time(manifest: Mapping[str, Any]) -> str:
    parts = {"training": manifest.get("training_seconds"), "its teacher": manifest.get("teacher_seconds")}
    spent = [f"{name} {seconds:,.1f} s" for name, seconds in parts.items() if seconds]
    return ", ".join([*spent, f"ranking and the rest {manifest['seconds']:,.1f} s"])


def _curves(run: StoredRun) -> Iterator[tuple[str, str]]:
    for name, (file, key) in CURVES.items():
        if values := _curve(run.folder / file, key):
            yield name, f"{sparkline(values)} {values[0]:.4g} to {values[-1]:.4g}"


def _curve(path: Path, key: str) -> list[float]:
    """The values of a key in the lines of a log; empty where there is no log, or it says nothing of it."""
    if not path.is_file():
        return []
    found: list[float] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            value = json.loads(line).get(key)
        except (ValueError, AttributeError):
            continue
        if isinstance(value, int | float):
            found.append(float(value))
    return found


def _numbers(run: StoredRun, protocol: str) -> Any:
    values = run.values(protocol)
    metrics = list(dict.fromkeys(metric for metric, _ in values))
    buckets = [bucket for bucket in REPORTED_BUCKETS if (metrics[0], bucket) in values]
    headings = [metric.upper() for metric in metrics]
    numbers = table(protocol, "users", *headings, right={"users", *headings})
    for bucket in buckets:
        users = values[metrics[0], bucket][1]
        numbers.add_row(bucket, f"{users:,}", *_scores(values, metrics, bucket))
    return numbers


def _scores(
    values: Mapping[tuple[str, str], tuple[float | None, int]], metrics: Sequence[str], bucket: str
) -> list[str]:
    return [score(values.get((metric, bucket), (None, 0))[0]) for metric in metrics]
