"""Whether published numbers can be true together: arithmetic that needs nothing but the table and the dataset.

| check | what must hold |
|---|---|
| identity | overall = w tail + (1 - w) head, w the share of targets in the tail |
| order | MRR@k <= NDCG@k <= HR@k, and NDCG@k >= HR@k / log2(k + 1): one target a user |
| monotone | no metric falls when its cut-off grows |
| integral | HR@k times users (and seeds) is a whole number |
| counting | no model is below a counting baseline of the same table |
| ratio | NDCG@k / HR@k of hits that are neither all at rank 1 nor pushed to the last ranks |

A value may have been rounded or cut off behind its last digit, and is allowed exactly that.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from llmemb_bench.report.published import Published

COUNTING = ("pop", "popularity", "mostpop", "itempop", "pop rec", "most popular", "cooccurrence", "co-occurrence")
"""Labels of counting baselines."""
ORDER = ("mrr", "ndcg", "hr")
EVEN = 0.8
"""Share of the NDCG / HR of evenly spread ranks below which hits would sit at the end of the list (ours)."""
STEEP = 0.97
"""NDCG / HR above which practically every hit would be at rank 1 (ours)."""
ROUNDING = 1e-12

Key = tuple[str, str, int]
"""Bucket, metric, cut-off."""
Row = Mapping[Key, Published]


@dataclass(frozen=True)
class Known:
    """What is known of the datasets, by dataset and bucket; the empty dataset stands for any."""

    shares: Mapping[tuple[str, str], tuple[float, float]] = field(default_factory=dict)
    """Share of the test targets, and how far rounding may have moved it."""
    users: Mapping[tuple[str, str], int] = field(default_factory=dict)
    seeds: int = 1
    """Over which each number is a mean."""
    counting: Sequence[str] = COUNTING

    def share(self, dataset: str, bucket: str) -> tuple[float, float] | None:
        """Of a dataset and bucket."""
        return self.shares.get((dataset.lower(), bucket), self.shares.get(("", bucket)))

    def n_users(self, dataset: str, bucket: str) -> int | None:
        """Evaluated users."""
        return self.users.get((dataset.lower(), bucket), self.users.get(("", bucket)))


@dataclass(frozen=True)
class Finding:
    """One thing that cannot be, or hardly."""

    check: str
    where: str
    row: str
    arithmetic: str

    def __str__(self) -> str:
        return f"{self.where}: {self.row}: {self.check}: {self.arithmetic}"


@dataclass(frozen=True)
class Audit:
    """What a table's numbers came to."""

    findings: list[Finding]
    checked: dict[str, int]
    """Check to the times that it could be made."""


def audit(numbers: Sequence[Published], known: Known) -> Audit:
    """Every check on every row; findings in the order of the table."""
    rows: dict[tuple[str, str], dict[Key, Published]] = {}
    for one in numbers:
        rows.setdefault((one.dataset, one.row), {})[one.bucket, one.metric, one.cutoff] = one
    checked: Counter[str] = Counter(dict.fromkeys(CHECKS, 0))
    findings = []
    for row in rows.values():
        others = [other for other in rows.values() if other is not row]
        for name, check in CHECKS.items():
            for one, arithmetic in check(row, others, known):
                checked[name] += 1
                if arithmetic:
                    label = one.row if one.row.lower().startswith(one.dataset.lower()) else f"{one.dataset}: {one.row}"
                    findings.append(Finding(name, one.where, label, arithmetic))
    return Audit(findings, dict(checked))


Checked = Iterator[tuple[Published, str]]
"""A number that was looked at, and what is wrong with it in figures, or nothing."""


def _identity(row: Row, others: Sequence[Row], known: Known) -> Checked:
    for (bucket, metric, cutoff), tail in row.items():
        kind = bucket.removeprefix("tail")
        head, overall = row.get((f"head{kind}", metric, cutoff)), row.get(("overall", metric, cutoff))
        if not bucket.startswith("tail") or head is None or overall is None:
            continue
        share = known.share(tail.dataset, bucket)
        if share is None:
            yield overall, _between(overall, tail, head)
        else:
            yield overall, _weighted(overall, tail, head, *share)


def _between(overall: Published, tail: Published, head: Published) -> str:
    """Whatever the share is, overall lies between the two."""
    low, high = min(tail.low, head.low), max(tail.high, head.high)
    if overall.high + ROUNDING >= low and overall.low - ROUNDING <= high:
        return ""
    ends = f"{tail.bucket} {_shown(tail)} and {head.bucket} {_shown(head)}"
    return f"{overall.name} {_shown(overall)} is not between {ends}"


def _weighted(overall: Published, tail: Published, head: Published, w: float, off: float) -> str:
    found = w * tail.value + (1 - w) * head.value
    spread = off * abs(tail.value - head.value) + ROUNDING
    low, high = (w * getattr(tail, end) + (1 - w) * getattr(head, end) for end in ("low", "high"))
    if low - spread <= overall.high and overall.low <= high + spread:
        return ""
    instead = {
        overall.bucket: found,
        tail.bucket: (overall.value - (1 - w) * head.value) / w if w else math.nan,
        head.bucket: (overall.value - w * tail.value) / (1 - w) if w < 1 else math.nan,
    }
    mended = " or ".join(f"{bucket} {value:.4f}" for bucket, value in instead.items() if 0 <= value <= 1)
    return (
        f"{overall.metric.upper()}@{overall.cutoff}: {w:.5f} x {tail.bucket} {_shown(tail)} + {1 - w:.5f} x "
        f"{head.bucket} {_shown(head)} = {found:.5f}, overall is {_shown(overall)} "
        f"(off by {abs(found - overall.value):.5f}, more than rounding); it would hold with {mended}"
    )


def _order(row: Row, others: Sequence[Row], known: Known) -> Checked:
    for (bucket, metric, cutoff), high in row.items():
        for lower in ORDER[: ORDER.index(metric)]:
            low = row.get((bucket, lower, cutoff))
            if low is None:
                continue
            fails = low.low > high.high + ROUNDING
            yield high, f"{low.name} {_shown(low)} > {high.name} {_shown(high)}" if fails else ""
            if (lower, metric) == ("ndcg", "hr"):
                least = high.low / math.log2(cutoff + 1)
                fails = low.high + ROUNDING < least
                yield high, (
                    f"{low.name} {_shown(low)} < {_shown(high)} / log2({cutoff + 1}) = {least:.4f}, the least that "
                    f"{high.name} allows" if fails else ""
                )  # fmt: skip


def _monotone(row: Row, others: Sequence[Row], known: Known) -> Checked:
    cutoffs: dict[tuple[str, str], list[Published]] = {}
    for (bucket, metric, _), one in sorted(row.items(), key=lambda item: item[0][2]):
        cutoffs.setdefault((bucket, metric), []).append(one)
    for several in cutoffs.values():
        for small, large in pairwise(several):
            fails = small.low > large.high + ROUNDING
            yield large, f"{small.name} {_shown(small)} > {large.name} {_shown(large)}" if fails else ""


def _integral(row: Row, others: Sequence[Row], known: Known) -> Checked:
    for (bucket, metric, _), one in row.items():
        users = known.n_users(one.dataset, bucket)
        if metric != "hr" or users is None or 3 * one.half * users * known.seeds >= 1:
            continue
        times = users * known.seeds
        low, high = one.low * times - 1e-9, one.high * times + 1e-9
        seeds = f" x {known.seeds} seeds" if known.seeds > 1 else ""
        yield one, (
            "" if math.ceil(low) <= math.floor(high) else
            f"{one.name} {_shown(one)} x {users:,} users{seeds} is {low:.3f} to {high:.3f} hits: no whole number"
        )  # fmt: skip


def _counting(row: Row, others: Sequence[Row], known: Known) -> Checked:
    if _is_counting(next(iter(row.values())), known):
        return
    for key, one in row.items():
        for other in others:
            base = other.get(key)
            if base is None or base.dataset != one.dataset or not _is_counting(base, known):
                continue
            fails = one.high < base.low
            yield one, f"{one.name} {_shown(one)} is below {base.row} {_shown(base)}" if fails else ""


def _is_counting(one: Published, known: Known) -> bool:
    label = one.row.lower()
    return any(label == name.lower() or label.endswith(f" {name.lower()}") for name in known.counting)


def _ratio(row: Row, others: Sequence[Row], known: Known) -> Checked:
    for (bucket, metric, cutoff), hits in row.items():
        gain = row.get((bucket, "ndcg", cutoff))
        if metric != "hr" or gain is None or cutoff < 2 or hits.value <= 10 * hits.half:
            continue
        even = sum(1 / math.log2(rank + 1) for rank in range(1, cutoff + 1)) / cutoff
        ratio = gain.value / hits.value
        if gain.high / hits.low < EVEN * even:
            yield gain, f"{gain.name} / HR = {ratio:.3f}; ranks spread evenly over 1 .. {cutoff} give {even:.3f}"
        elif ratio <= 1 and gain.low / hits.high > STEEP:
            yield gain, f"{gain.name} / HR = {ratio:.3f}: practically every hit would be at rank 1"
        else:
            yield gain, ""


CHECKS: Mapping[str, Callable[[Row, Sequence[Row], Known], Checked]] = {
    "identity": _identity,
    "order": _order,
    "monotone": _monotone,
    "integral": _integral,
    "counting": _counting,
    "ratio": _ratio,
}


def _shown(one: Published) -> str:
    places = max(0, round(-math.log10(2 * one.half)))
    return f"{one.value:.{places}f}"
