"""Which rows of a comparison are shown, and in which order.

A condition of the user's is one DuckDB expression over the columns below, evaluated over a table in memory that can
reach no file: it selects rows and does nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb

from llmemb_bench.base.errors import SpecError
from llmemb_bench.registry.entries import suggestion
from llmemb_bench.report.row import Row

COLUMNS = {
    **dict.fromkeys(("experiment", "dataset", "method", "backbone", "encoder"), "varchar"),
    **dict.fromkeys(("split", "protocol", "metric", "bucket"), "varchar"),
    **dict.fromkeys(("mean", "std", "validation", "steps"), "double"),
    **dict.fromkeys(("n_seeds", "n_users", "n_items", "head_items"), "bigint"),
    "chosen": "boolean",
}
"""What a condition may name, and of which type; names as the tables show them."""
LABELS = ("experiment", "method", "backbone", "encoder")
"""What lines are sorted by, beside metrics."""
_ALONE: dict[str, str | bool | int | float | list[str]] = {
    "enable_external_access": False,
    "python_enable_replacements": False,
    "lock_configuration": True,
}


@dataclass(frozen=True)
class Selection:
    """What of a report is wanted; nothing leaves nothing out."""

    where: str = ""
    metrics: tuple[str, ...] = ()
    """`ndcg@10`, or `ndcg` for all of its cut-offs."""
    buckets: tuple[str, ...] = ()
    protocols: tuple[str, ...] = ()
    sort: str = ""
    """A label, or a metric and a bucket: `ndcg@10 tail`, the highest first."""


def selected(rows: Sequence[Row], wanted: Selection) -> list[Row]:
    """The wanted rows, in the wanted order. Raises SpecError where something is named that is not there, where the
    condition is none, or where nothing is left."""
    metrics = [row.metric for row in rows]
    _refuse_absent(wanted.metrics, [*metrics, *(name.rpartition("@")[0] for name in metrics)], "--metric")
    _refuse_absent(wanted.protocols, [row.protocol for row in rows], "--protocol")
    _refuse_absent(wanted.buckets, [row.bucket for row in rows], "--bucket")
    found = [row for row in rows if _is_named(row, wanted)]
    if not found:
        fix = "leave one of --metric, --bucket and --protocol out"
        raise SpecError("no number has this metric, bucket and protocol at once", where="report", fix=fix)
    found = where(found, wanted.where) if wanted.where else found
    return by(found, wanted.sort) if wanted.sort else found


def _is_named(row: Row, wanted: Selection) -> bool:
    metrics = {row.metric, row.metric.rpartition("@")[0]}
    return (
        (not wanted.metrics or bool(metrics & set(wanted.metrics)))
        and (not wanted.protocols or row.protocol in wanted.protocols)
        and (not wanted.buckets or row.bucket in wanted.buckets)
    )


def _refuse_absent(named: Iterable[str], there: Iterable[str], option: str) -> None:
    known = list(dict.fromkeys(there))
    for name in named:
        if name not in known:
            raise SpecError(f"nothing was measured as '{name}'", where=option, fix=suggestion(name, known))


def where(rows: Sequence[Row], condition: str) -> list[Row]:
    """The rows for which a boolean expression over COLUMNS holds; a SpecError where it is none."""
    with duckdb.connect(config=_ALONE) as db:
        lists = ", ".join(f"unnest(?::{kind}[]) as {name}" for name, kind in COLUMNS.items())
        values = [[_value(row, name) for row in rows] for name in COLUMNS]
        try:
            db.execute(f"create table numbers as select {lists}, unnest(range(?)) as row_number", [*values, len(rows)])
            kept = _kept(db.table("numbers"), condition)
        except duckdb.Error as error:
            raise _not_understood(str(error).splitlines()[0]) from error
    if not kept:
        raise SpecError(f"holds for none of {len(rows)} numbers", where="--where", fix=_seen(rows))
    return [rows[index] for index in kept]


def _kept(numbers: duckdb.DuckDBPyRelation, condition: str) -> list[int]:
    expression = duckdb.SQLExpression(condition)
    [kind] = numbers.select(expression).types
    if str(kind) != "BOOLEAN":
        raise _not_understood(f"is {str(kind).lower()} and should be true or false")
    found = numbers.filter(expression).order("row_number").select("row_number").fetchall()
    return [index for (index,) in found]


def _not_understood(reason: str) -> SpecError:
    return SpecError(reason, where="--where", fix=f"a condition over {', '.join(COLUMNS)}: \"method = 'llmemb'\"")


def _value(row: Row, name: str) -> Any:
    return len(row.seeds) if name == "n_seeds" else getattr(row, name)


def _seen(rows: Sequence[Row]) -> str:
    """What the labels are, for a condition that names others."""
    values = {name: sorted({str(getattr(row, name)) for row in rows}) for name in ("dataset", "method", "backbone")}
    return "; ".join(f"{name} is one of: {', '.join(found)}" for name, found in values.items())


def by(rows: Sequence[Row], column: str) -> list[Row]:
    """The rows, tables as they were, lines of a table by a label or by a number, the highest first. A SpecError where
    there is no such column."""
    metric, _, bucket = column.partition(" ")
    metrics = list(dict.fromkeys(row.metric for row in rows))
    if column not in LABELS and metric not in metrics:
        raise SpecError(f"no column '{column}'", where="--sort", fix=suggestion(metric, [*LABELS, *metrics]))
    buckets = list(dict.fromkeys(row.bucket for row in rows))
    bucket = bucket or ("overall" if "overall" in buckets else buckets[0])
    means = {(row.table, row.line): row.mean for row in rows if (row.metric, row.bucket) == (metric, bucket)}
    if column not in LABELS and not means:
        raise SpecError(f"no bucket '{bucket}'", where="--sort", fix=suggestion(bucket, buckets))
    tables = {table: index for index, table in enumerate(dict.fromkeys(row.table for row in rows))}

    def key(row: Row) -> tuple[int, str, float]:
        if column in LABELS:
            return tables[row.table], str(getattr(row, column)), 0.0
        mean = means.get((row.table, row.line))
        return tables[row.table], "", float("inf") if mean is None else -mean

    return sorted(rows, key=key)
