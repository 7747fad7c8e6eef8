"""The comparison as Markdown (GitHub's), for a README."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from llmemb_bench.base.terminal import shown
from llmemb_bench.report.grid import Grid, Number
from llmemb_bench.report.sheet import Sheet, headings, seeds_of

_ACTIVE = re.compile(r"[\\`*|\[\]$~]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")
"""Characters with a meaning in a table's cell; an underscore inside of a word has none."""
_HTML = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_LOOKS = {0: "**{}**", 1: "<ins>{}</ins>"}
"""Best and second; GitHub underlines `ins` and knows no `u`."""


def markdown(sheets: Sequence[Sheet]) -> str:
    """A title, tables and notes for each."""
    return "\n".join("\n".join(_sheet(sheet)) for sheet in sheets)


def escaped(text: object) -> str:
    """A text as itself, whatever characters it holds."""
    plain = "".join(_HTML.get(one, one) for one in shown(text))
    return _ACTIVE.sub(lambda match: f"\\{match[0]}", plain)


def _sheet(sheet: Sheet) -> Iterator[str]:
    yield f"**{escaped(sheet.caption)}**"
    yield ""
    for grid in sheet.grids:
        yield from _table(grid)
        yield ""
    for note in sheet.notes:
        yield f"- {escaped(note)}"
    yield ""


def _table(grid: Grid) -> Iterator[str]:
    named = headings(grid)
    yield _row([*named, *(f"{metric.upper()} {bucket}" for metric, bucket in grid.columns)])
    yield f"|{' --- |' * len(named)}{' ---: |' * len(grid.columns)}"
    for line in grid.lines:
        names = [*line.names, *seeds_of(grid, line)]
        yield f"| {' | '.join([*map(escaped, names), *map(_number, line.numbers)])} |"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(map(escaped, cells))} |"


def _number(number: Number) -> str:
    if number.mean is None:
        return number.words
    looks = _LOOKS.get(-1 if number.rank is None else number.rank, "{}")
    parts = filter(None, (looks.format(number.words), number.spread, escaped(number.mark)))
    return " ".join(parts)
