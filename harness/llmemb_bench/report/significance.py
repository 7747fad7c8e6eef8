"""What the differences of a report are worth: each line against a baseline, and the place that it may claim."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmemb_bench.base.errors import DataError, SpecError
from llmemb_bench.contracts import Metric
from llmemb_bench.evaluation.measure import metrics_of
from llmemb_bench.registry.entries import suggestion
from llmemb_bench.report.layout import SHOWN_BUCKETS
from llmemb_bench.report.row import Row
from llmemb_bench.runs.per_user import BUCKETS, PerUser, read_per_user
from llmemb_bench.settings.evaluate import Evaluate
from llmemb_bench.statistics.bootstrap import MANY
from llmemb_bench.statistics.comparison import (
    Comparison,
    Interval,
    comparisons_in,
    comparisons_of,
    few_seeds,
    means_in,
    means_of,
)
from llmemb_bench.statistics.family import LEVEL, holm, holm_of_pairs, places
from llmemb_bench.statistics.moments import Moments

Seeds = tuple[int, ...]
Key = tuple[Any, ...]
"""Of a number: its table, line, metric and bucket."""
Column = Callable[[int, NDArray[np.intp] | slice], NDArray[np.float32]]
"""Seed and users to their values."""
USERS_AT_A_TIME = 1 << 16


@dataclass(frozen=True)
class Found:
    """What is said of one number beside its mean."""

    interval: Interval
    place: tuple[int, int]
    """Best and worst that the line may claim in this table, metric and bucket."""
    n_lines: int
    baseline: str = ""
    """The line that it was compared with; empty where there is none, and for the baseline itself."""
    comparison: Comparison | None = None
    p_holm: float | None = None
    family: int = 0
    """Comparisons of the table, over which p is adjusted."""

    @property
    def mark(self) -> str:
        """`+` significantly better than the baseline, `-` worse, `=` neither; empty where nothing was compared."""
        if self.comparison is None or self.p_holm is None or np.isnan(self.p_holm):
            return ""
        if self.p_holm >= LEVEL:
            return "="
        return "+" if self.comparison.difference.mean > 0 else "-"


@dataclass
class _Line:
    """A line of a table as far as one metric goes."""

    row: Row
    runs: dict[int, Path]
    """Seed to run folder."""
    worth: NDArray[np.float32]
    """[codes] of the metric."""

    def column(self, users: PerUser) -> Column:
        return lambda seed, chosen: self.worth[users.codes[self.runs[seed]][chosen]]


def key_of(row: Row) -> Key:
    """Where what is found of a row stands."""
    return row.table, row.line, row.metric, row.bucket


def significance(rows: Sequence[Row], results: Path, baseline: str) -> dict[Key, Found]:
    """What is found of every number whose per-user values are known, by `key_of` its row.

    A line is compared with the baseline's line of its backbone, or with the only one that the table has of it, over the
    seeds that both have. Raises SpecError where no row has this method.
    """
    methods = list(dict.fromkeys(row.method for row in rows))
    if baseline not in methods:
        raise SpecError(f"no row has the method '{baseline}'", where="--baseline", fix=suggestion(baseline, methods))
    found: dict[Key, Found] = {}
    for _, group in groupby(rows, key=lambda row: row.table):
        found |= _of_table(list(group), results, baseline)
    return found


def _of_table(rows: list[Row], results: Path, baseline: str) -> dict[Key, Found]:
    known = [row for row in rows if row.mean is not None and row.bucket in BUCKETS]
    if not known:
        return {}
    cutoff = max(int(row.metric.rpartition("@")[2]) for row in known)
    runs = list(dict.fromkeys(results / folder for row in known for folder in row.folders))
    users = read_per_user(runs, known[0].protocol, cutoff)
    named = {row.metric: row for row in reversed(known)}  # one name is one metric, in any spec
    worth = {name: users.worth(*_metric(row, results)) for name, row in named.items()}
    found: dict[Key, Found] = {}
    for bucket in dict.fromkeys(row.bucket for row in known):
        lines = [_line(row, results, worth[row.metric]) for row in known if row.bucket == bucket]
        chosen = np.flatnonzero(users.users(bucket))
        found |= _of_bucket(lines, users, chosen, baseline) if len(chosen) else {}
    return _adjusted(found)


def _metric(row: Row, results: Path) -> tuple[Metric, int]:
    """The metric of a row and its cut-off."""
    try:
        return metrics_of(Evaluate.model_validate(row.settings.get("evaluate", {})))[row.metric]
    except (ValueError, KeyError) as error:
        where, fix = str(results / row.folders[0]), "remove its folder and run its spec again"
        raise DataError(
            f"does not say what {row.metric} is; an older version wrote it", where=where, fix=fix
        ) from error


def _line(row: Row, results: Path, worth: NDArray[np.float32]) -> _Line:
    runs = {seed: results / folder for seed, folder in zip(row.seeds, row.folders, strict=True)}
    return _Line(row, runs, worth)


def _of_bucket(lines: list[_Line], users: PerUser, chosen: NDArray[np.intp], baseline: str) -> dict[Key, Found]:
    """Intervals, comparisons and places of all metrics in one bucket."""
    against = [_opponent(line, lines, baseline) for line in lines]
    intervals, comparisons = _compared(lines, against, users, chosen)
    found: dict[Key, Found] = {}
    for metric in dict.fromkeys(line.row.metric for line in lines):
        of_metric = [place for place, line in enumerate(lines) if line.row.metric == metric]
        claims = _places([lines[place] for place in of_metric], users, chosen)
        for place, claim in zip(of_metric, claims, strict=True):
            comparison, other = comparisons.get(place), against[place]
            name = _named(other.row) if other and comparison else ""
            found[key_of(lines[place].row)] = Found(intervals[place], claim, len(of_metric), name, comparison)
    return found


def _compared(
    lines: Sequence[_Line], against: Sequence[_Line | None], users: PerUser, chosen: NDArray[np.intp]
) -> tuple[dict[int, Interval], dict[int, Comparison]]:
    """Position of a line to its interval, and to its comparison; users are drawn once for all lines of some seeds."""
    own = [tuple(line.runs) for line in lines]
    common = [_common(line, other) for line, other in zip(lines, against, strict=True)]
    intervals: dict[int, Interval] = {}
    comparisons: dict[int, Comparison] = {}
    for seeds in dict.fromkeys(filter(None, own + common)):
        alone = [place for place, has in enumerate(own) if has == seeds]
        paired = [place for place, has in enumerate(common) if has == seeds]
        columns = [lines[place].column(users) for place in alone]
        columns += [_difference(lines[place], against[place], users) for place in paired]
        means, differences = _studied(columns, len(alone), seeds, chosen)
        intervals |= dict(zip(alone, means, strict=True))
        comparisons |= dict(zip(paired, differences, strict=True))
    return intervals, comparisons


def _opponent(line: _Line, lines: Sequence[_Line], baseline: str) -> _Line | None:
    """The line that a line is compared with; None for the baseline itself, and where it cannot be told."""
    able = [one for one in lines if one.row.metric == line.row.metric and one.row.method == baseline]
    if any(one is line for one in able):
        return None
    alike = [one for one in able if one.row.backbone == line.row.backbone] or able
    return alike[0] if len(alike) == 1 else None


def _common(line: _Line, other: _Line | None) -> Seeds:
    return tuple(seed for seed in line.runs if other is not None and seed in other.runs)


def _difference(line: _Line, other: _Line | None, users: PerUser) -> Column:
    own, theirs = line.column(users), (other or line).column(users)
    return lambda seed, chosen: own(seed, chosen) - theirs(seed, chosen)


def _studied(
    columns: Sequence[Column], n_own: int, seeds: Seeds, chosen: NDArray[np.intp]
) -> tuple[list[Interval], list[Comparison]]:
    """Of columns whose first `n_own` are lines and whose others are differences."""
    if len(chosen) >= MANY:
        moments = Moments.together(_blocks(columns, seeds, chosen))
        return means_in(moments)[:n_own], comparisons_in(moments)[n_own:]
    [values] = _blocks(columns, seeds, chosen, len(chosen))
    intervals = means_of(values)
    return intervals[:n_own], comparisons_of(values[..., n_own:], intervals[n_own:])


def _blocks(
    columns: Sequence[Column], seeds: Seeds, chosen: NDArray[np.intp], height: int = USERS_AT_A_TIME
) -> Iterator[NDArray[np.float32]]:
    """[seeds, users, columns] some users at a time."""
    for start in range(0, len(chosen), max(1, height)):
        part = chosen[start : start + height]
        yield np.stack([np.stack([column(seed, part) for column in columns], axis=-1) for seed in seeds])


def _places(lines: list[_Line], users: PerUser, chosen: NDArray[np.intp]) -> list[tuple[int, int]]:
    """Best and worst place of each line; pairs are tested over the seeds that both have."""
    p = np.full((len(lines), len(lines)), np.nan)
    difference = np.zeros_like(p)
    owners = list(dict.fromkeys(tuple(line.runs) for line in lines))
    for first, second in [*zip(owners, owners, strict=True), *combinations(owners, 2)]:
        seeds = tuple(seed for seed in first if seed in second)
        inside = [place for place, line in enumerate(lines) if tuple(line.runs) in (first, second)]
        if not seeds or len(inside) < 2:
            continue
        columns = [lines[place].column(users) for place in inside]
        found = Moments.together(_blocks(columns, seeds, chosen), pairs=True).pairs()
        here = np.ix_(inside, inside)
        fresh = np.isnan(p[here])  # lines of the same seeds come first, over all of them
        p[here] = np.where(fresh, found.p(), p[here])
        difference[here] = np.where(fresh, found.mean, difference[here])
    best, worst = places(difference, holm_of_pairs(p))
    return list(zip(best.tolist(), worst.tolist(), strict=True))


def _adjusted(found: Mapping[Key, Found]) -> dict[Key, Found]:
    """With p adjusted over all comparisons of a table."""
    p = np.array([np.nan if one.comparison is None else one.comparison.p for one in found.values()])
    family = int(np.isfinite(p).sum())
    return {
        key: one if one.comparison is None else replace(one, p_holm=float(adjusted), family=family)
        for (key, one), adjusted in zip(found.items(), holm(p), strict=True)
    }


def _named(row: Row) -> str:
    return " x ".join(part for part in (row.method, row.backbone, row.encoder) if part != "none")


def as_fields(found: Found | None) -> dict[str, Any]:
    """What a row of JSON gets; all of it null where nothing is known."""
    comparison = found.comparison if found else None
    return {
        "interval": _ends(found.interval) if found else None,
        "place": list(found.place) if found else None,
        "baseline": found.baseline if found and found.baseline else None,
        "difference": _number(comparison.difference.mean) if comparison else None,
        "difference_interval": _ends(comparison.difference) if comparison else None,
        "p": _number(comparison.p) if comparison else None,
        "p_holm": _number(found.p_holm) if found and found.p_holm is not None else None,
        "p_randomisation": _number(comparison.p_randomisation) if comparison else None,
        "family": found.family if found and comparison else None,
        "effect": _number(comparison.effect) if comparison else None,
        "detectable": _number(comparison.detectable) if comparison else None,
        "paired_seeds": comparison.n_seeds if comparison else None,
    }


def _ends(interval: Interval) -> list[float | None]:
    return [_number(interval.low), _number(interval.high)]


def _number(value: float) -> float | None:
    return value if np.isfinite(value) else None


def in_words(found: Mapping[Key, Found], baseline: str) -> Iterator[str]:
    """What the marks of a table mean, and what these users and seeds could not show."""
    compared = [one for key, one in found.items() if one.comparison is not None and key[-1] in SHOWN_BUCKETS]
    if not compared:
        yield f"nothing could be compared with {baseline}: it shares no seed, or is there with several encoders"
        return
    families = sorted({one.family for one in compared})
    yield (
        f"+ better, - worse than {baseline}, = no difference found: paired t-test over users and seeds, p < {LEVEL} "
        f"after Holm over the {' or '.join(map(str, families))} comparisons of a table (all buckets)"
    )
    yield f"{sum(one.mark == '=' for one in compared)} of {len(compared)} marked =; {_least(compared)}"
    seeds = min(one.comparison.n_seeds for one in compared if one.comparison)
    if warning := few_seeds(seeds):
        yield f"warning: {warning}"


def _least(compared: Sequence[Found]) -> str:
    least = [one.comparison.detectable for one in compared if one.comparison and one.mark == "="]
    told = [one for one in least if np.isfinite(one)]
    if not told:
        return "the smallest difference that each could show stands in --format json (detectable)"
    ends = f"{min(told):.4f}" if len(told) == 1 else f"{min(told):.4f} to {max(told):.4f}"
    return f"these users and seeds find differences of {ends} in four studies of five (--format json: detectable)"
