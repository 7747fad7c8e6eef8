"""The comparison as tables on a terminal: one for each dataset and protocol, the best of a column in bold.

Where an experiment tried several settings of one method, only the one that validation chose can be the best. A
narrow terminal gets fewer columns, never narrower ones (`layout.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from llmemb_bench.base import terminal
from llmemb_bench.evaluation.cut import HeadCut
from llmemb_bench.report.choice import searches_of, undecided
from llmemb_bench.report.layout import SHOWN_BUCKETS, Layout, layouts
from llmemb_bench.report.row import Row

CHOSEN = "*"
NARROWEST = 40
"""Columns that a name and one number need."""
ANY_WIDTH = 100_000
Mark = tuple[Any, ...]
"""Table, line, metric and bucket of a number."""
NAMED = 4
"""Lines that a warning names; of more it says how many."""


def print_tables(rows: list[Row], console: Console, marks: Mapping[Mark, str] | None = None) -> None:
    """Print every table; rows arrive grouped by dataset and protocol. `marks` stand behind numbers."""
    for _, group in groupby(rows, key=lambda row: row.table):
        inside = list(group)
        layout, tables = _fitting(inside, console, marks or {})
        for table in tables:
            console.print(table)
        for line in (*_left_out(layout, inside, console.width), *_searches(inside), *_buckets(inside)):
            console.print(line, style="dim", highlight=False, markup=False)
    for line in _warnings(rows):
        console.print(f"warning: {line}", style="red", highlight=False, markup=False)
    console.print(
        "mean ± standard deviation over seeds; best of a column in bold; head and tail by popularity of the target",
        style="dim",
    )


def _fitting(rows: list[Row], console: Console, marks: Mapping[Mark, str]) -> tuple[Layout, list[Table]]:
    """The tables of the first layout that the console is wide enough for, else of the narrowest."""
    for layout in layouts(rows):
        tables = [_table(rows, layout, metrics, marks) for metrics in layout.metrics]
        if all(_width(table, console) <= console.width for table in tables):
            break
    tables[0].title, tables[0].title_justify = Text(_title(rows), style="table.title"), "left"
    return layout, tables


def _left_out(layout: Layout, rows: list[Row], width: int) -> Iterator[str]:
    if names := layout.left_out(next(layouts(rows))):
        named = ", ".join(names)
        yield f"left out at {width} columns: {named}; a wider terminal (or COLUMNS=180) and --format json show all"


def _width(table: Table, console: Console) -> int:
    """Columns that a table takes where nothing is cut; of names that may fold, as few as a word takes."""
    measured = console.measure(table, options=console.options.update(max_width=ANY_WIDTH))
    return measured.minimum if any(not column.no_wrap for column in table.columns) else measured.maximum


def _table(rows: list[Row], layout: Layout, metrics: Sequence[str], marks: Mapping[Mark, str]) -> Table:
    """One table of some metrics."""
    columns = [(metric, bucket) for metric in metrics for bucket in layout.buckets]
    cells = {(row.line, row.metric, row.bucket): row for row in rows}
    lines = {row.line: row for row in rows if row.metric in metrics}
    table = terminal.table(boxed=True)
    for heading in layout.names:
        table.add_column(heading, no_wrap=not layout.folded, overflow="fold")
    validation = ["validation"] if layout.validation else []
    for heading in ("seeds", *validation, *(f"{metric.upper()}\n{bucket}" for metric, bucket in columns)):
        table.add_column(Text(heading), justify="left" if heading == "seeds" else "right", no_wrap=True)
    best = {column: _best(rows, *column) for column in columns}
    for line, row in lines.items():
        shown = [_value(cells.get((line, *column)), best[column], marks) for column in columns]
        chosen_by = [score(row.validation)] if layout.validation else []
        table.add_row(*(Text(_named(row, name)) for name in layout.names), str(len(row.seeds)), *chosen_by, *shown)
    return table


def _title(rows: list[Row]) -> str:
    users = {row.bucket: row.n_users for row in rows}
    counts = ", ".join(f"{users[bucket]:,} {bucket}" for bucket in SHOWN_BUCKETS if bucket in users)
    return f"{' · '.join(filter(None, [rows[0].dataset, rows[0].protocol, rows[0].split]))}   ({counts} users)"


def _named(row: Row, name: str) -> str:
    """A name of a line; the method with a mark where it was chosen among several."""
    mark = f" {CHOSEN}" if name == "method" and row.n_settings > 1 and row.chosen else ""
    return f"{getattr(row, name)}{mark}"


def _best(rows: list[Row], metric: str, bucket: str) -> float | None:
    means = [
        row.mean for row in rows if (row.metric, row.bucket) == (metric, bucket) and row.chosen and row.mean is not None
    ]
    return max(means, default=None)


def _value(row: Row | None, best: float | None, marks: Mapping[Mark, str]) -> Text:
    if row is None or row.mean is None:
        return Text("–")
    spread = "" if row.std is None else f" ±{row.std:.4f}".replace("±0.", "±.")
    mark = marks.get((row.table, row.line, row.metric, row.bucket), "")
    return Text(f"{row.mean:.4f}{spread}{mark and f' {mark}'}", style="bold" if row.chosen and row.mean == best else "")


def score(value: float | None) -> str:
    """Four places, or a dash for nothing."""
    return "–" if value is None else f"{value:.4f}"


def _searches(rows: list[Row]) -> Iterator[str]:
    """One line for each method of which several settings were tried."""
    for settings in searches_of(rows).values():
        if len(settings) == 1:
            continue
        of = f"{len(settings)} settings of {' x '.join(settings[0].plugins[1:])} in {settings[0].experiment}"
        if reason := undecided(settings):
            yield f"none of {of} is chosen, and none in bold: {reason}"
        else:
            yield f"{CHOSEN} chosen by validation {settings[0].monitor} among {of}; the others are never in bold"


def _buckets(rows: list[Row]) -> Iterator[str]:
    """Which items are head, and how much of the tail training never saw."""
    row, users = rows[0], {row.bucket: row.n_users for row in rows}
    yield f"head: {HeadCut(row.n_items, row.head_items, row.head_least_events, row.head_tied)}"
    if "tail" in users and "tail cold" in users:
        yield f"tail: {users['tail']:,} users, {users['tail cold']:,} of them with targets never seen in training"


def _warnings(rows: list[Row]) -> Iterator[str]:
    """Each warning once, with the lines that it is about; a dataset alone where it is about all of its lines."""
    about: dict[str, dict[str, set[str]]] = {}
    lines: dict[str, set[str]] = {}
    for row in rows:
        name = " x ".join(part for part in (row.method, row.backbone, row.encoder) if part != "none")
        lines.setdefault(row.dataset, set()).add(name)
        for warning in row.warnings:
            about.setdefault(warning, {}).setdefault(row.dataset, set()).add(name)
    for warning, affected in about.items():
        whom = [
            f"{_some(names)} on {dataset}" if names < lines[dataset] else dataset for dataset, names in affected.items()
        ]
        yield f"{'; '.join(whom)}: {warning}"


def _some(names: set[str]) -> str:
    """All of a few names, the first of many."""
    named = sorted(names)
    return ", ".join(named[:NAMED]) + (f" and {len(named) - NAMED} more" if len(named) > NAMED else "")
