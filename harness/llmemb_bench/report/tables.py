"""The comparison as tables on a terminal: one for each dataset and protocol, the best of a column in bold.

Where an experiment tried several settings of one method, only the one that validation chose can be the best.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from rich.console import Console
from rich.table import Table
from rich.text import Text

from llmemb_bench.evaluation.cut import Cut
from llmemb_bench.report.choice import searches_of, undecided
from llmemb_bench.report.row import Labels, Row

SHOWN_BUCKETS = ("overall", "head", "tail")
CHOSEN = "*"


def print_tables(rows: list[Row], console: Console) -> None:
    """Print every table; rows arrive grouped by dataset and protocol."""
    for _, group in groupby(rows, key=lambda row: row.table):
        inside = list(group)
        console.print(_table(inside))
        for line in (*_searches(inside), *_buckets(inside)):
            console.print(line, style="dim", highlight=False)
    for row in {(row.method, row.encoder, *row.warnings): row for row in rows if row.warnings}.values():
        console.print(
            f"warning: {row.method} with {row.encoder} on {row.dataset}: {'; '.join(row.warnings)}", style="red"
        )
    console.print(
        "mean ± standard deviation over seeds; best of a column in bold; head and tail by popularity of the target",
        style="dim",
    )


def _table(rows: list[Row]) -> Table:
    metrics = sorted({row.metric for row in rows})
    columns = [(metric, bucket) for metric in metrics for bucket in SHOWN_BUCKETS]
    cells = {(row.labels, row.metric, row.bucket): row for row in rows}
    lines = {row.labels: row for row in rows}
    about = " · ".join(filter(None, [rows[0].dataset, rows[0].protocol, rows[0].split]))
    table = Table(title=f"{about}   ({_counts(rows)} users)", title_justify="left")
    several = len({row.experiment for row in rows}) > 1
    searched = any(row.n_settings > 1 for row in rows)
    for heading in (*(["experiment"] if several else []), "method", "backbone", "encoder", "seeds"):
        table.add_column(heading, no_wrap=True)
    for heading in (
        *(["validation"] if searched else []),
        *(f"{metric.upper()}\n{bucket}" for metric, bucket in columns),
    ):
        table.add_column(heading, justify="right", no_wrap=True)
    best = {column: _best(rows, *column) for column in columns}
    for labels, row in lines.items():
        validation = [_score(row.validation)] if searched else []
        shown = [_value(cells.get((labels, *column)), best[column]) for column in columns]
        names = _marked(row) if several else _marked(row)[1:]
        table.add_row(*names, str(len(row.seeds)), *validation, *shown)
    return table


def _counts(rows: list[Row]) -> str:
    users = {row.bucket: row.n_users for row in rows}
    return ", ".join(f"{users[bucket]:,} {bucket}" for bucket in SHOWN_BUCKETS if bucket in users)


def _marked(row: Row) -> Labels:
    """The names of a line, with a mark where it was chosen among several."""
    mark = f" {CHOSEN}" if row.n_settings > 1 and row.chosen else ""
    return row.experiment, row.method + mark, row.backbone, row.encoder


def _best(rows: list[Row], metric: str, bucket: str) -> float | None:
    means = [
        row.mean for row in rows if (row.metric, row.bucket) == (metric, bucket) and row.chosen and row.mean is not None
    ]
    return max(means, default=None)


def _value(row: Row | None, best: float | None) -> Text:
    if row is None or row.mean is None:
        return Text("–")
    spread = "" if row.std is None else f" ±{row.std:.4f}".replace("±0.", "±.")
    return Text(f"{row.mean:.4f}{spread}", style="bold" if row.chosen and row.mean == best else "")


def _score(value: float | None) -> str:
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
    yield f"head: {Cut(row.n_items, row.head_items, row.head_least_events, row.head_tied)}"
    if "tail" in users and "tail cold" in users:
        yield f"tail: {users['tail']:,} users, {users['tail cold']:,} of them with targets never seen in training"
