"""The comparison as tables on a terminal: one for each dataset and protocol, the best of a column in bold."""

from __future__ import annotations

from itertools import groupby

from rich.console import Console
from rich.table import Table
from rich.text import Text

from llmemb_bench.report.rows import REPORTED_BUCKETS, Row

Key = tuple[str, str, str, str]


def print_tables(rows: list[Row], console: Console) -> None:
    """Print every table; rows arrive grouped by dataset and protocol."""
    for _, group in groupby(rows, key=lambda row: (row.dataset, row.data, row.protocol, row.protocol_hash)):
        console.print(_table(list(group)))
    for row in {(row.method, row.encoder, *row.warnings): row for row in rows if row.warnings}.values():
        console.print(
            f"warning: {row.method} with {row.encoder} on {row.dataset}: {'; '.join(row.warnings)}", style="red"
        )
    console.print(
        "mean ± standard deviation over seeds; best of a column in bold; head and tail by training popularity of "
        "the target",
        style="dim",
    )


def _table(rows: list[Row]) -> Table:
    metrics = sorted({row.metric for row in rows})
    columns = [(metric, bucket) for metric in metrics for bucket in REPORTED_BUCKETS]
    cells = {(_key(row), row.metric, row.bucket): row for row in rows}
    keys = list(dict.fromkeys(_key(row) for row in rows))
    users = {row.bucket: row.n_users for row in rows}
    counts = ", ".join(f"{users[bucket]:,} {bucket}" for bucket in REPORTED_BUCKETS if bucket in users)
    about = " · ".join(filter(None, [rows[0].dataset, rows[0].protocol, rows[0].split]))
    table = Table(title=f"{about}   ({counts} users)", title_justify="left")
    several = len({key[0] for key in keys}) > 1
    for heading in (*(["experiment"] if several else []), "method", "backbone", "encoder", "seeds"):
        table.add_column(heading, no_wrap=True)
    for metric, bucket in columns:
        table.add_column(f"{metric.upper()}\n{bucket}", justify="right", no_wrap=True)
    best = {column: _best(cells, keys, *column) for column in columns}
    for key in keys:
        shown = [_value(cells.get((key, *column)), best[column]) for column in columns]
        seeds = max((len(row.seeds) for row in rows if _key(row) == key), default=0)
        table.add_row(*(key if several else key[1:]), str(seeds), *shown)
    return table


def _key(row: Row) -> Key:
    return row.experiment, row.method, row.backbone, row.encoder


def _best(cells: dict[tuple[Key, str, str], Row], keys: list[Key], metric: str, bucket: str) -> float | None:
    means = [row.mean for key in keys if (row := cells.get((key, metric, bucket))) and row.mean is not None]
    return max(means, default=None)


def _value(row: Row | None, best: float | None) -> Text:
    if row is None or row.mean is None:
        return Text("–")
    spread = "" if row.std is None else f" ±{row.std:.4f}".replace("±0.", "±.")
    text = f"{row.mean:.4f}{spread}"
    return Text(text, style="bold" if row.mean == best else "")
