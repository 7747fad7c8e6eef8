"""The rows of a comparison: mean and spread over seeds for each series of runs."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import duckdb

from llmemb_bench.base.errors import BenchError, DataError, Problem, SpecError
from llmemb_bench.report.choice import with_choice
from llmemb_bench.report.naming import with_own_labels
from llmemb_bench.report.row import HIDDEN, Row
from llmemb_bench.runs.database import open_store

REPORTED_BUCKETS = ("overall", "head", "tail", "tail seen", "tail cold")
"""The store holds more: five popularity and five history groups."""
FEW = 30
"""Tail users below which a mean over them says little."""
FEW_TAIL_USERS = f"fewer than {FEW} tail users, so their numbers say little"
FEW_SEEDS = 10
"""Seeds that an error lists; of more it says how many."""

# Everything in the store is reported: each series is a row, under the labels that it was run with last. Where runs of
# one series measured other things (`protocols`, `metrics`), a number that several of them hold is taken once.
_QUERY = """
with named as (
    select * replace (
        first_value(dataset) over newest as dataset, first_value(encoder) over newest as encoder,
        first_value(method) over newest as method, first_value(backbone) over newest as backbone
    ), min(finished) over (partition by dataset, data, protocol_hash) as began
    from runs
    window newest as (partition by experiment, series, split_part(method, ' (', 1) order by finished desc)
), numbers as (
    select * from named join metrics using (folder)
    where list_contains($buckets, bucket)
      and (len($experiments) = 0 or list_contains($experiments, experiment))
      and (len($seeds) = 0 or list_contains($seeds, seed))
    qualify row_number() over (
        partition by experiment, dataset, encoder, method, backbone, series, data, protocol_hash,
                     seed, protocol, bucket, metric
        order by finished desc, folder
    ) = 1
)
select experiment, dataset, encoder, method, backbone, data, split, protocol_hash,
       list_sort(list_distinct(flatten(list(warnings)))) as warnings, protocol, bucket, metric,
       avg(value) as mean, stddev_samp(value) as std, list(seed order by seed) as seeds,
       max(n_users)::bigint as n_users, n_items, head_items, head_least_events, head_tied, monitor,
       avg(validation_score) as validation, avg(steps) as steps, avg(teacher_steps) as teacher_steps,
       series, arg_max(settings, finished) as settings, list(folder order by seed) as folders
from numbers
group by all
order by dataset, min(began), data, protocol_hash, protocol, experiment, min(finished), series,
         bucket, min(split_part(metric, '@', 1)), min(split_part(metric, '@', -1)::bigint)
"""

_SEEDS = "select experiment, list_sort(list(distinct seed)) from runs group by experiment order by experiment"


def read_rows(
    results: Path, experiments: list[str], seeds: list[int], buckets: Sequence[str] = REPORTED_BUCKETS
) -> list[Row]:
    """Every number of some buckets, tables together, in the order the runs were made; empty lists of experiments and
    seeds leave nothing out. A SpecError for a name that is not there."""
    with open_store(results) as db:
        _refuse_unknown(db, results, experiments, buckets)
        wanted = {"experiments": experiments, "seeds": seeds, "buckets": list(buckets)}
        found = db.execute(_QUERY, wanted)
        names = [column[0] for column in found.description]
        rows = [dict(zip(names, values, strict=True)) for values in found.fetchall()]
        if not rows:
            raise _nothing_fits(db, results)
    read = [Row(**row | {"settings": json.loads(row["settings"])}) for row in rows]
    return with_choice(with_own_labels([_warned(row) for row in read]))


def _refuse_unknown(
    db: duckdb.DuckDBPyConnection, results: Path, experiments: Sequence[str], buckets: Sequence[str]
) -> None:
    """A SpecError for experiments and buckets of which the store holds none, saying what there is."""
    there = dict(db.execute(_SEEDS).fetchall())
    unknown = [name for name in dict.fromkeys(experiments) if there and name not in there]
    if unknown:
        fix = f"name one of them; there are: {_in_words(there)}"
        raise SpecError.of([Problem(str(results), f"no experiment is called '{name}'", fix) for name in unknown])
    if further := [bucket for bucket in buckets if bucket not in REPORTED_BUCKETS]:
        known = [name for (name,) in db.execute("select distinct bucket from metrics order by 1").fetchall()]
        problems = [
            Problem("--bucket", f"no bucket is called '{bucket}'", f"one of: {', '.join(known)}")
            for bucket in further
            if bucket not in known
        ]
        if problems:
            raise SpecError.of(problems)


def _nothing_fits(db: duckdb.DuckDBPyConnection, results: Path) -> BenchError:
    there = dict(db.execute(_SEEDS).fetchall())
    if not there:
        return DataError("no run in the store", where=str(results), fix="llmemb-bench run specs/quickstart.yaml")
    finding = f"no run in the store matches; there are: {_in_words(there)}"
    return SpecError(finding, where=str(results), fix="name one of them")


def _in_words(there: Mapping[str, Sequence[int]]) -> str:
    return "; ".join(f"{experiment} ({_seeds(seeds)})" for experiment, seeds in there.items())


def _seeds(seeds: Sequence[int]) -> str:
    return f"seeds {', '.join(map(str, seeds))}" if len(seeds) <= FEW_SEEDS else f"{len(seeds)} seeds"


def _warned(row: Row) -> Row:
    """The row, with a word where the mean is one over very few users."""
    if row.bucket != "tail" or row.n_users >= FEW:
        return row
    return replace(row, warnings=[*row.warnings, FEW_TAIL_USERS])


def as_json(rows: list[Row], more: Sequence[dict[str, Any]] = ()) -> dict[str, Any]:
    """The stable machine form of a report; `more` holds further fields of each row."""
    reported = [asdict(replace(row, settings={})) for row in rows]
    plain = [{key: value for key, value in row.items() if key not in HIDDEN} for row in reported]
    plain = [row | extra for row, extra in zip(plain, more, strict=True)] if more else plain
    return {"schema": 2, "rows": [_finite(row) for row in plain]}


def _finite(row: dict[str, Any]) -> dict[str, Any]:
    return {key: None if isinstance(value, float) and math.isnan(value) else value for key, value in row.items()}
