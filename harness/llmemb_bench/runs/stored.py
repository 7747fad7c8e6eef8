"""One finished run as its folder describes it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmemb_bench.base.errors import DataError
from llmemb_bench.runs.files import read_yaml
from llmemb_bench.runs.schema import MANIFEST, METRICS, SPEC, fault_of_run, manifest_of, refuse_newer


@dataclass(frozen=True)
class StoredRun:
    """What the files of a run folder say."""

    folder: Path
    manifest: dict[str, Any]
    measured: dict[str, Any]
    """Metrics, the cut between head and tail, and how training ended."""
    settings: dict[str, Any]
    """The resolved spec."""

    @property
    def name(self) -> str:
        """`EXPERIMENT/FOLDER`, by which commands know it."""
        return f"{self.manifest['experiment']}/{self.folder.resolve().name}"

    @property
    def label(self) -> str:
        """The run in one line."""
        parts = [self.manifest[part] for part in ("method", "backbone", "encoder") if self.manifest[part] != "none"]
        return f"{' x '.join(parts)} on {self.manifest['dataset']}, seed {self.manifest['seed']}"

    @property
    def training(self) -> dict[str, Any] | None:
        """How training ended; None where nothing was trained."""
        record: dict[str, Any] | None = self.measured["training"]
        return record

    def values(self, protocol: str) -> dict[tuple[str, str], tuple[float | None, int]]:
        """Metric and bucket to value and users."""
        rows = [row for row in self.measured["metrics"] if row["protocol"] == protocol]
        return {(row["metric"], row["bucket"]): (row["value"], row["n_users"]) for row in rows}

    @property
    def protocols(self) -> list[str]:
        """In the order of the spec."""
        return list(dict.fromkeys(row["protocol"] for row in self.measured["metrics"]))


def read_run(folder: Path) -> StoredRun:
    """A run folder; a MissingError where a newer version wrote it, a DataError where it is damaged."""
    refuse_newer(folder)
    again = "run its spec again"
    if fault := fault_of_run(folder, MANIFEST, METRICS, SPEC):
        raise DataError(fault, where=str(folder), fix=again)
    try:
        measured = json.loads((folder / METRICS).read_text(encoding="utf-8"))
        run = StoredRun(folder, manifest_of(folder), measured, read_yaml(folder / SPEC))
        if not (run.label and run.name and run.protocols and "training" in measured):
            raise ValueError("no metrics")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"cannot be read ({error})", where=str(folder), fix=again) from error
    return run
