"""The rows of a comparison: mean and spread over seeds for each configuration."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

from llmemb_bench.errors import DataError
from llmemb_bench.report.choice import with_choice
from llmemb_bench.report.row import Row
from llmemb_bench.store.database import open_store

REPORTED_BUCKETS = ("overall", "head", "tail", "tail seen", "tail cold")
"""The store holds more: five popularity and five history groups, and every registered metric."""

# A report shows the newest configuration of each labelled row: seeds of an older one must not enter its mean.
_QUERY = """
with newest as (
    select *, first_value(configuration) over (
        partition by experiment, dataset, encoder, method, backbone order by finished desc
    ) as current
    from runs
)
select experiment, dataset, encoder, method, backbone, data, split, protocol_hash,
       list_sort(list_distinct(flatten(list(warnings)))) as warnings, protocol, bucket, metric,
       avg(value) as mean, stddev_samp(value) as std, list(seed order by seed) as seeds,
       max(n_users)::bigint as n_users, n_items, head_items, head_least_events, head_tied, monitor,
       avg(validation_score), avg(steps), avg(teacher_steps)
from newest join metrics using (folder)
where configuration = current and list_contains($buckets, bucket) and regexp_matches(metric, '^(hr|ndcg)@')
  and (len($experiments) = 0 or list_contains($experiments, experiment))
  and (len($seeds) = 0 or list_contains($seeds, seed))
group by all
order by dataset, data, protocol, protocol_hash, experiment, min(finished), bucket, metric
"""


def read_rows(results: Path, experiments: list[str], seeds: list[int]) -> list[Row]:
    """Every reported number, tables together, in the order the runs were made; empty lists leave nothing out."""
    with open_store(results) as db:
        wanted = {"experiments": experiments, "seeds": seeds, "buckets": REPORTED_BUCKETS}
        found = db.execute(_QUERY, wanted).fetchall()
    if not found:
        raise DataError("no run in the store fits", where=str(results), fix="llmemb-bench report, without a filter")
    return with_choice([Row(*values) for values in found])


def as_json(rows: list[Row]) -> dict[str, Any]:
    """The stable machine form of a report."""
    hidden = ("data", "protocol_hash")
    plain = [{key: value for key, value in asdict(row).items() if key not in hidden} for row in rows]
    return {"schema": 2, "rows": [_finite(row) for row in plain]}


def _finite(row: dict[str, Any]) -> dict[str, Any]:
    return {key: None if isinstance(value, float) and math.isnan(value) else value for key, value in row.items()}
