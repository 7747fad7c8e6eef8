"""The comparison as tables on a terminal: one for each dataset and protocol, the best of a column in bold.

Where an experiment tried several settings of one method, only the one that validation chose can be the best. A
narrow terminal gets fewer columns, never narrower ones (`layout.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby

from rich.console import Console
from rich.table import Table
from rich.text import Text

from llmemb_bench.base import terminal
from llmemb_bench.report.grid import Mark, Number, grid_of, score
from llmemb_bench.report.layout import SHOWN_BUCKETS, Layout, layouts
from llmemb_bench.report.notes import buckets_in_words, searches, title, warnings
from llmemb_bench.report.row import Row

NARROWEST = 40
"""Columns that a name and one number need."""
ANY_WIDTH = 100_000


def print_tables(
    rows: list[Row],
    console: Console,
    marks: Mapping[Mark, str] | None = None,
    buckets: Sequence[str] = SHOWN_BUCKETS,
) -> None:
    """Print every table; rows arrive grouped by dataset and protocol. `marks` stand behind numbers."""
    for _, group in groupby(rows, key=lambda row: row.table):
        inside = list(group)
        layout, tables = _fitting(inside, console, marks or {}, buckets)
        for table in tables:
            console.print(table)
        left_out = _left_out(layout, inside, buckets, console.width)
        for line in (*left_out, *searches(inside), *buckets_in_words(inside)):
            console.print(line, style="dim", highlight=False, markup=False)
    for line in warnings(rows):
        console.print(f"warning: {line}", style="red", highlight=False, markup=False)
    console.print(
        "mean ± standard deviation over seeds; best of a column in bold; head and tail by popularity of the target",
        style="dim",
    )


def _fitting(
    rows: list[Row], console: Console, marks: Mapping[Mark, str], buckets: Sequence[str]
) -> tuple[Layout, list[Table]]:
    """The tables of the first layout that the console is wide enough for, else of the narrowest."""
    for layout in layouts(rows, buckets):
        tables = [_table(rows, layout, metrics, marks) for metrics in layout.metrics]
        if all(_width(table, console) <= console.width for table in tables):
            break
    tables[0].title, tables[0].title_justify = Text(title(rows, buckets), style="table.title"), "left"
    return layout, tables


def _left_out(layout: Layout, rows: list[Row], buckets: Sequence[str], width: int) -> Iterator[str]:
    if names := layout.left_out(next(layouts(rows, buckets))):
        named = f"left out at {width} columns: {', '.join(names)}"
        yield f"{named}; --wide, a wider terminal (or COLUMNS=180) and --format json show all"


def _width(table: Table, console: Console) -> int:
    """Columns that a table takes where nothing is cut; of names that may fold, as few as a word takes."""
    measured = console.measure(table, options=console.options.update(max_width=ANY_WIDTH))
    return measured.minimum if any(not column.no_wrap for column in table.columns) else measured.maximum


def _table(rows: list[Row], layout: Layout, metrics: Sequence[str], marks: Mapping[Mark, str]) -> Table:
    """One table of some metrics."""
    grid, table = grid_of(rows, layout, metrics, marks), terminal.table(boxed=True)
    for heading in grid.names:
        table.add_column(heading, no_wrap=not layout.folded, overflow="fold")
    validation = ["validation"] if layout.validation else []
    for heading in ("seeds", *validation, *(f"{metric.upper()}\n{bucket}" for metric, bucket in grid.columns)):
        table.add_column(Text(heading), justify="left" if heading == "seeds" else "right", no_wrap=True)
    for line in grid.lines:
        chosen_by = [score(line.validation)] if layout.validation else []
        numbers = map(_text, line.numbers)
        table.add_row(*map(Text, line.names), str(len(line.seeds)), *chosen_by, *numbers)
    return table


def _text(number: Number) -> Text:
    parts = filter(None, (number.words, number.spread, number.mark))
    return Text(" ".join(parts), style="bold" if number.rank == 0 else "")
