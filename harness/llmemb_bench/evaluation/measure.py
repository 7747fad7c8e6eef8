"""From ranks to the numbers of a run, and the protocol that they were measured under."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from llmemb_bench.base.errors import DataError, SpecError
from llmemb_bench.contracts import Metric
from llmemb_bench.evaluation.buckets import buckets_of, cut_of
from llmemb_bench.evaluation.expectation import expected, gains, tie_gap
from llmemb_bench.registry.build import build
from llmemb_bench.registry.kinds import MetricChoice
from llmemb_bench.registry.resolve import resolve
from llmemb_bench.settings.evaluate import Evaluate
from llmemb_bench.settings.split import SplitConfig
from llmemb_bench.values.split import Fold, Split

if TYPE_CHECKING:  # a report asks for metrics without torch
    from llmemb_bench.evaluation.ranking import Ranks

MAIN = ("hr", "ndcg")
"""The metrics of a spec that names none, and what `run` says of a cell."""


def metrics_of(evaluate: Evaluate) -> dict[str, tuple[Metric, int]]:
    """Name (`hr@10`) to metric and cut-off, each able to tell what every rank is worth: one that is not is a BenchError
    that names it. One that appears twice, with its defaults left out and written down, say, is a SpecError."""
    choices = evaluate.metrics or [MetricChoice(name) for name in MAIN]
    found: dict[str, tuple[Metric, int]] = {}
    for choice in choices:
        metric, name = build(Metric, choice), name_of(choice)
        if f"{name}@{evaluate.cutoffs[0]}" in found:
            raise SpecError(f"the metric {name} appears twice", where="evaluate.metrics", fix="name each one once")
        for cutoff in evaluate.cutoffs:
            gains(metric, cutoff)
            found[f"{name}@{cutoff}"] = metric, cutoff
    return found


def name_of(choice: MetricChoice) -> str:
    """`hr`, or `mine(base=4.0)` with the settings that are not at their defaults: one name is one metric, in any spec,
    whatever stands beside it there."""
    fields, settings = type(choice.config).model_fields, resolve(choice.config, machine=False)
    settings = [
        f"{key}={value}"
        for key, value in settings.items()
        if fields[key].is_required() or value != resolve(fields[key].get_default(call_default_factory=True))
    ]
    return f"{choice.use}({', '.join(settings)})" if settings else choice.use


def measure(split: Split, evaluate: Evaluate, ranks: dict[str, Ranks]) -> dict[str, Any]:
    """Every metric in every bucket under every protocol; an empty bucket is null with n = 0."""
    buckets, metrics, rows, gaps = buckets_of(split, evaluate), metrics_of(evaluate), [], {}
    for protocol, counted in ranks.items():
        for name, (metric, cutoff) in metrics.items():
            values = expected(metric, cutoff, counted)
            gaps[f"{protocol} {name}"] = tie_gap(metric, cutoff, counted)
            for bucket, members in buckets.items():
                n_users = int(members.sum())
                value = float(values[members].mean()) if n_users else None
                rows.append(
                    {
                        "protocol": protocol,
                        "bucket": bucket,
                        "metric": name,
                        "value": value,
                        "n_users": n_users,
                    }
                )
    return {"schema": 2, "head": asdict(cut_of(split, evaluate)), "metrics": rows, "tie_gap": gaps}


def evaluation_protocol(split: SplitConfig, evaluate: Evaluate) -> dict[str, Any]:
    """Everything that decides what a number means; its hash stands beside each number."""
    settings = resolve(evaluate)
    return {
        "split": split.protocol(),
        "users": "three events or more",
        "ties": "expectation",
        "popularity": f"{evaluate.popularity} events",
        "cold_targets": "counted",
        **{key: settings[key] for key in ("cutoffs", "history", *_cut_settings(evaluate))},
    }


def _cut_settings(evaluate: Evaluate) -> tuple[str, ...]:
    """Those that have a say in what is head."""
    return ("head_share", "head_ties") if evaluate.tail_below is None else ("tail_below",)


def check_size(split: Split, evaluate: Evaluate) -> None:
    """Before any work: no user to evaluate is a DataError, a cut-off beyond the catalogue a SpecError."""
    folds: tuple[Fold, ...] = ("validation", "test")
    for fold in folds:
        if len(split.users(fold)) == 0:
            raise DataError(
                f"none of {split.data.n_users} users has three events, one of them for {fold}",
                where="dataset",
                fix="check the time column, dataset.min_user_events and split",
            )
    if max(evaluate.cutoffs) > split.data.n_items:
        raise SpecError(
            f"the cut-off {max(evaluate.cutoffs)} is larger than the catalogue of {split.data.n_items} items",
            where="evaluate.cutoffs",
            fix=f"use at most {split.data.n_items}",
        )
