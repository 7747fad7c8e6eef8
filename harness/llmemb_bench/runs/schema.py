"""Whether a run folder can be trusted: its schema and its seal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from llmemb_bench.base.errors import MissingError
from llmemb_bench.base.seal import SEAL, fault

MANIFEST, METRICS, SPEC = "manifest.json", "metrics.json", "spec.resolved.yaml"
PER_USER = "per_user.parquet"
RUN = 5
"""Schema version of a run folder."""
SEALED = 5
"""Schema of the first run folders that have a seal."""


def manifest_of(run: Path) -> dict[str, Any]:
    """The manifest of a run folder; empty where there is none to read."""
    try:
        return dict(json.loads((run / MANIFEST).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, RecursionError):
        return {}


def schema_of(run: Path) -> int:
    """The schema of a run folder; 0 where its manifest does not say."""
    schema = manifest_of(run).get("schema")
    return schema if isinstance(schema, int) else 0


def newer(run: Path) -> str:
    """Says that a later version wrote a run folder; empty where none did."""
    schema = schema_of(run)
    return f"a newer version of llmemb-bench wrote it (schema {schema}, this one knows {RUN})" if schema > RUN else ""


def refuse_newer(run: Path) -> None:
    """A MissingError for a run folder that this version cannot read and must not replace."""
    if reason := newer(run):
        fix = "pip install --upgrade llmemb-bench, or choose another folder with --results DIR"
        raise MissingError(reason, where=str(run), fix=fix)


def fault_of_run(run: Path, *names: str) -> str:
    """What is wrong with a run folder, or with some of its files; one from before there were seals is believed."""
    is_old = 0 < schema_of(run) < SEALED and not (run / SEAL).exists()
    return "" if is_old else fault(run, names)
