"""Two runs side by side on a terminal, or as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from math import isfinite
from typing import Any

from rich.console import Console
from rich.text import Text

from llmemb_bench.base.terminal import shown, table
from llmemb_bench.report.pair import Mover, Pair
from llmemb_bench.runs.stored import StoredRun
from llmemb_bench.statistics.comparison import few_seeds
from llmemb_bench.statistics.family import LEVEL

Settings = Mapping[str, tuple[str, str]]
Titles = Mapping[str, str]
LONGEST = 60
"""Characters of a title."""


def print_pair(runs: Sequence[StoredRun], settings: Settings, pair: Pair, titles: Titles, console: Console) -> None:
    """Settings, metrics, users won and lost, and who moved most."""
    for letter, run in zip("AB", runs, strict=True):
        console.print(Text(f"{letter}  {shown(run.label)}   ({shown(run.name)})", style="bold"))
    differing = table("setting that differs", "A", "B", folded={"setting that differs", "A", "B"})
    for key, (first, second) in settings.items():
        differing.add_row(key, first, second)
    sections: list[Any] = [differing if settings else "no setting differs", _metrics(pair), _won(pair)]
    for section in (*sections, _users(pair, titles), _items(pair, titles)):
        console.print()
        console.print(section, highlight=False)
    for note in _notes(pair):
        console.print(note, style="dim", highlight=False)


def _notes(pair: Pair) -> Iterator[str]:
    yield (
        f"differences are B minus A over the same users ({pair.protocol}), with 95 % intervals; + B better, - worse, "
        f"= no difference found: paired t-test, p < {LEVEL} after Holm over {len(pair.metrics)} comparisons"
    )
    yield few_seeds(1)


def _metrics(pair: Pair) -> Any:
    numbers = ("users", "A", "B", "B - A", "p (Holm)")
    made = table("metric", "bucket", *numbers, "", "95 % interval", right=numbers)
    for one in pair.metrics:
        low, high = one.comparison.difference.low, one.comparison.difference.high
        moved = one.comparison.difference.mean
        mark = "" if not isfinite(one.p_holm) else "=" if one.p_holm >= LEVEL else "+" if moved > 0 else "-"
        values = (f"{one.n_users:,}", f"{one.first:.4f}", f"{one.second:.4f}", f"{moved:+.4f}", _p(one.p_holm))
        made.add_row(one.metric.upper(), one.bucket, *values, mark, f"{low:+.4f} to {high:+.4f}")
    return made


def _p(p: float) -> str:
    return "–" if not isfinite(p) else "<.0001" if p < 1e-4 else f"{p:.4f}"


def _won(pair: Pair) -> Any:
    headings = ("B better", "A better", "the same")
    made = table(f"users by {pair.metric.upper()}", *headings, right=headings)
    for one in pair.won:
        made.add_row(one.bucket, f"{one.won:,}", f"{one.lost:,}", f"{one.same:,}")
    return made


def _users(pair: Pair, titles: Titles) -> Any:
    made = table("user", pair.metric.upper(), "target", "title", right={pair.metric.upper()})
    for one in pair.users:
        made.add_row(shown(one.name), f"{one.difference:+.4f}", shown(one.targets[0]), _title(one, titles))
    return made


def _items(pair: Pair, titles: Titles) -> Any:
    summed = f"{pair.metric.upper()} summed"
    made = table("item", summed, "users", "title", right={summed, "users"})
    for one in pair.items:
        made.add_row(shown(one.name), f"{one.difference:+.4f}", f"{one.users:,}", _title(one, titles))
    return made


def _title(one: Mover, titles: Titles) -> str:
    text = titles.get(one.targets[0], "")
    return shown(text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…")


def as_json(runs: Sequence[StoredRun], settings: Settings, pair: Pair, titles: Titles) -> dict[str, Any]:
    """For programs; what is not a number is null."""
    return {
        "schema": 1,
        "runs": [{"run": run.name, "label": run.label} for run in runs],
        "settings": {key: list(both) for key, both in settings.items()},
        **_finite(asdict(pair)),
        "titles": dict(titles),
    }


def _finite(value: Any) -> Any:
    match value:
        case dict():
            return {key: _finite(inner) for key, inner in value.items()}
        case list() | tuple():
            return [_finite(inner) for inner in value]
        case float() if not isfinite(value):
            return None
    return value
