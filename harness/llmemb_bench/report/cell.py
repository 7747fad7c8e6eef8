"""What `run` says of one finished cell."""

from __future__ import annotations

import json
from pathlib import Path

from llmemb_bench.evaluation.measure import MAIN
from llmemb_bench.report.grid import score


def main_numbers(run: Path, cutoff: int) -> str:
    """`HR@10 0.2060, tail 0.0718 · NDCG@10 0.1034, tail 0.0263 (full)`: the numbers of a run folder that one looks at
    first, at one cut-off under the first protocol; other metrics where neither was measured."""
    rows = json.loads((run / "metrics.json").read_text(encoding="utf-8"))["metrics"]
    protocol = rows[0]["protocol"]
    values = {(row["metric"], row["bucket"]): row["value"] for row in rows if row["protocol"] == protocol}
    names = [name for name in dict.fromkeys(metric for metric, _ in values) if name.endswith(f"@{cutoff}")]
    main = [name for name in names if name.rpartition("@")[0] in MAIN] or names
    figures = [f"{name.upper()} {score(values[name, 'overall'])}, tail {score(values[name, 'tail'])}" for name in main]
    return f"{' · '.join(figures)} ({protocol})"
