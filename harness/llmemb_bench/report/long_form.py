"""The comparison as CSV in long form: one number a row, under the names of `--format json`."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from llmemb_bench.base.terminal import shown
from llmemb_bench.report.row import Row
from llmemb_bench.report.rows import as_json

INTERVALS = ("interval", "difference_interval", "place")
"""Fields of two numbers."""


def long_csv(rows: Sequence[Row], more: Sequence[Mapping[str, Any]] = ()) -> str:
    """Header and rows; what is not known is empty. `more` holds further fields of each row."""
    flat = [_flat(row) for row in as_json(list(rows), [dict(one) for one in more])["rows"]]
    written = io.StringIO()
    table = csv.DictWriter(written, list(flat[0]), lineterminator="\n")
    table.writeheader()
    table.writerows(flat)
    return written.getvalue()


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in row.items():
        if name in INTERVALS:
            found[f"{name}_low"], found[f"{name}_high"] = value or (None, None)
        elif isinstance(value, list):
            found[name] = shown("; ".join(map(str, value)))
        else:
            found[name] = shown(value) if isinstance(value, str) else value
    return found
