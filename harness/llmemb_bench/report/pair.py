"""Two runs side by side: settings and metrics that differ, and who gained and lost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmemb_bench.base.errors import DataError, SpecError
from llmemb_bench.evaluation.measure import metrics_of
from llmemb_bench.report.differences import short
from llmemb_bench.runs.per_user import BUCKETS, PerUser, read_names, read_per_user, refuse_other_protocols
from llmemb_bench.runs.stored import StoredRun
from llmemb_bench.settings.evaluate import Evaluate
from llmemb_bench.statistics.comparison import Comparison, comparisons_of, means_of
from llmemb_bench.statistics.family import holm

MOST = 10
"""Users and items that are named."""
INPUTS = ("experiment", "seed", "versions")
"""Of the manifest: what a run was made from beside its spec."""
Worths = dict[str, NDArray[np.float32]]
"""Metric to [users] values."""


@dataclass(frozen=True)
class MetricChange:
    """One number of both runs."""

    metric: str
    bucket: str
    n_users: int
    first: float
    second: float
    comparison: Comparison
    """Second minus first, over the same users."""
    p_holm: float
    """Adjusted over all comparisons of a protocol."""


@dataclass(frozen=True)
class Won:
    """Users of a bucket for whom the second run is better, worse, or the same."""

    bucket: str
    won: int
    lost: int
    same: int


@dataclass(frozen=True)
class Mover:
    """A user or an item that gained or lost."""

    name: str
    difference: float
    """Second minus first; of an item the sum over the users whose target it was."""
    targets: tuple[str, ...]
    """Of a user the item to be found; of an item itself."""
    users: int


@dataclass(frozen=True)
class Pair:
    """What two runs say of one protocol."""

    protocol: str
    metric: str
    """By which users and items are compared."""
    metrics: tuple[MetricChange, ...]
    won: tuple[Won, ...]
    users: tuple[Mover, ...]
    """Those that gained most, then those that lost most, the largest first."""
    items: tuple[Mover, ...]


def different_settings(first: StoredRun, second: StoredRun) -> dict[str, tuple[str, str]]:
    """Key of the resolved spec, or of what else went into a run, to its value in both; different plugins differ as a
    whole."""
    return dict(_differing(_inputs(first), _inputs(second), ""))


def _inputs(run: StoredRun) -> dict[str, Any]:
    named = {name: value for name, value in run.settings.items() if name not in ("name", "seeds", "matrix")}
    return {name: run.manifest[name] for name in INPUTS if name in run.manifest} | named


def _differing(first: Any, second: Any, key: str) -> Iterator[tuple[str, tuple[str, str]]]:
    """Every `recommender.train.epochs` with both values; a list stands as a whole."""
    if first == second:
        return
    if isinstance(first, Mapping) and isinstance(second, Mapping) and first.get("use") == second.get("use"):
        for name in dict.fromkeys([*first, *second]):
            yield from _differing(first.get(name), second.get(name), f"{key}.{name}" if key else str(name))
    else:
        yield key, (short(first), short(second))


def pair_of(first: StoredRun, second: StoredRun, protocol: str = "") -> Pair:
    """Second against first under a protocol that both have, by default the first run's first one.

    Raises SpecError where data or protocols differ, naming what; DataError where a file cannot be read.
    """
    runs = [first.folder, second.folder]
    refuse_other_protocols(runs)
    shared = [name for name in first.protocols if name in second.protocols]
    if not shared or (protocol and protocol not in shared):
        fix = f"one of: {', '.join(shared)}" if shared else "compare runs of the same protocol"
        raise SpecError(f"the runs share no protocol '{protocol}'", where="--protocol", fix=fix)
    protocol = protocol or shared[0]
    metrics = _metrics(first, second)
    users = read_per_user(runs, protocol, max(cutoff for _, cutoff in metrics.values()))
    ours, theirs = (_worths(users, run, metrics) for run in (first, second))
    main = next((name for name in metrics if name.startswith("ndcg@")), next(iter(metrics)))
    difference = theirs[main].astype(np.float64) - ours[main]
    names, targets = read_names(runs, protocol)
    return Pair(
        protocol,
        main,
        tuple(_changes(users, ours, theirs)),
        tuple(_won(users, difference)),
        tuple(_users(difference, names, targets)),
        tuple(_items(difference, targets)),
    )


def _metrics(first: StoredRun, second: StoredRun) -> dict[str, Any]:
    """Those that both can be measured by."""
    found = []
    for run in (first, second):
        try:
            found.append(metrics_of(Evaluate.model_validate(run.settings.get("evaluate", {}))))
        except ValueError as error:
            finding = "does not say what was measured; an older version wrote it"
            raise DataError(finding, where=str(run.folder), fix="run its spec again") from error
    both = {name: metric for name, metric in found[0].items() if name in found[1]}
    if not both:
        raise SpecError("the runs share no metric", where=str(second.folder), fix="compare others")
    return both


def _worths(users: PerUser, run: StoredRun, metrics: Mapping[str, Any]) -> Worths:
    codes = users.codes[run.folder]
    return {name: users.worth(metric, cutoff)[codes] for name, (metric, cutoff) in metrics.items()}


def _changes(users: PerUser, ours: Worths, theirs: Worths) -> Iterator[MetricChange]:
    """Every metric in every bucket that has users."""
    found: list[tuple[str, str, NDArray[np.bool_], Comparison]] = []
    for bucket in BUCKETS:
        members = users.users(bucket)
        if members.any():
            differences = np.stack([(theirs[name] - ours[name])[members] for name in ours], axis=-1)[None]
            compared = comparisons_of(differences, means_of(differences))
            found += [(name, bucket, members, one) for name, one in zip(ours, compared, strict=True)]
    adjusted = holm(np.array([one.p for *_, one in found]))
    for (name, bucket, members, one), p in zip(found, adjusted, strict=True):
        first, second = (float(worths[name][members].mean(dtype=np.float64)) for worths in (ours, theirs))
        yield MetricChange(name, bucket, int(members.sum()), first, second, one, float(p))


def _won(users: PerUser, difference: NDArray[np.float64]) -> Iterator[Won]:
    for bucket in BUCKETS:
        inside = difference[users.users(bucket)]
        if len(inside):
            yield Won(bucket, int((inside > 0).sum()), int((inside < 0).sum()), int((inside == 0).sum()))


def _users(
    difference: NDArray[np.float64], names: NDArray[np.object_], targets: NDArray[np.object_]
) -> Iterator[Mover]:
    for index in _most(difference):
        yield Mover(str(names[index]), float(difference[index]), (str(targets[index]),), 1)


def _items(difference: NDArray[np.float64], targets: NDArray[np.object_]) -> Iterator[Mover]:
    items, owners, counts = np.unique(targets.astype(str), return_inverse=True, return_counts=True)
    sums = np.bincount(owners, weights=difference, minlength=len(items)).astype(np.float64)
    for index in _most(sums):
        yield Mover(str(items[index]), float(sums[index]), (str(items[index]),), int(counts[index]))


def _most(difference: NDArray[np.float64]) -> Sequence[int]:
    """Of those that gained the MOST highest, then of those that lost the MOST lowest; equal ones in their order."""
    order = np.argsort(-difference, kind="stable")
    gained = [int(index) for index in order[:MOST] if difference[index] > 0]
    lowest = np.argsort(difference, kind="stable")[:MOST]
    return [*gained, *(int(index) for index in lowest if difference[index] < 0)]
