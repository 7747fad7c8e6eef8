"""A table to be printed elsewhere: caption, grids and notes, each complete in itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from llmemb_bench.report.grid import Grid, Line, Mark, grid_of
from llmemb_bench.report.layout import SHOWN_BUCKETS, Layout, metric_groups, varying
from llmemb_bench.report.notes import buckets_in_words, searches, title, warnings
from llmemb_bench.report.row import Labels, Row

WIDEST = 6
"""Numbers in a line of a page."""
LEGEND = "best of a column bold, second underlined"


@dataclass(frozen=True)
class Sheet:
    """All tables of one dataset and protocol."""

    caption: str
    grids: tuple[Grid, ...]
    notes: tuple[str, ...]


def sheets(
    rows: Sequence[Row],
    buckets: Sequence[str] = SHOWN_BUCKETS,
    marks: Mapping[Mark, str] | None = None,
    more: Callable[[Labels], Sequence[str]] = lambda table: (),
) -> Iterator[Sheet]:
    """One for each dataset and protocol; rows arrive grouped by them. `more` gives further notes of a table."""
    for table, group in groupby(rows, key=lambda row: row.table):
        inside = list(group)
        layout = _layout(inside, buckets)
        grids = tuple(grid_of(inside, layout, metrics, marks or {}) for metrics in layout.metrics)
        spread = ["mean ± standard deviation over seeds"] if any(row.std is not None for row in inside) else []
        warned = [f"warning: {line}" for line in warnings(inside)]
        notes = ["; ".join([*spread, LEGEND]), *searches(inside), *buckets_in_words(inside), *more(table), *warned]
        yield Sheet(_caption(inside, buckets, grids), grids, tuple(notes))


def _layout(rows: Sequence[Row], buckets: Sequence[str]) -> Layout:
    """Every name that differs; as few tables as a page is wide enough for."""
    groups = metric_groups(rows)
    fitting = [group for group in groups if max(map(len, group)) * len(buckets) <= WIDEST]
    return Layout(varying(rows), False, (fitting or groups[-1:])[0], tuple(buckets))


def _caption(rows: Sequence[Row], buckets: Sequence[str], grids: Sequence[Grid]) -> str:
    seeds = {line.seeds for grid in grids for line in grid.lines}
    shared = f"; {_in_words(*seeds)}" if len(seeds) == 1 else ""
    return " ".join(title(rows, buckets).split()) + shared


def _in_words(seeds: Sequence[int]) -> str:
    return f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}"


def headings(grid: Grid) -> list[str]:
    """Those of names, and of the seeds where not all lines have the same."""
    return [*grid.names, *(["seeds"] if _has_several_seeds(grid) else [])]


def seeds_of(grid: Grid, line: Line) -> list[str]:
    """What stands under the heading of seeds, if there is one."""
    return [", ".join(map(str, line.seeds))] if _has_several_seeds(grid) else []


def _has_several_seeds(grid: Grid) -> bool:
    return len({line.seeds for line in grid.lines}) > 1
