"""Published tables, read from CSV or Markdown: one number each, with its place, metric, bucket and last digit.

A table is wide (a line a method, headings such as `HR@10 tail item`) or long (columns `metric` and `value`). A cell may
hold several metrics, `.5940/.3597`, which the reader is told the names of.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from llmemb_bench.base.errors import MissingError, SpecError

METRICS = {"hr": "hr", "hit": "hr", "hitrate": "hr", "recall": "hr", "r": "hr", "h": "hr", "ndcg": "ndcg", "n": "ndcg",
           "mrr": "mrr"}  # fmt: skip
"""Names of metrics in papers to ours; with one target a user, recall is the hit rate."""
METRIC = re.compile(r"\b(hit rate|hitrate|hit|hr|recall|ndcg|mrr|[hrn])\s*@\s*(\d+)", re.IGNORECASE)
BUCKET = re.compile(r"(overall|all|(head|tail)([ _-]?(item|user)s?)?)", re.IGNORECASE)
NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)")
ORNAMENT = re.compile(r"\*+|__|[†‡§`~]|\\(textbf|underline)|[{}$]")
AFTER = re.compile(r"(±|\+/-|\\pm|\().*$")
ABSENT = ("", "-", "–", "—", "n/a", "na", "/")
NOTES = ("note", "notes", "value", "metric", "bucket", "dataset")
"""Columns of a long table that name no row."""


@dataclass(frozen=True)
class Published:
    """One number of a table."""

    where: str
    """`file.md:14`"""
    dataset: str
    """Empty where the table names none."""
    row: str
    bucket: str
    """`overall`, `head item`, `tail user`, ..."""
    metric: str
    cutoff: int
    value: float
    half: float
    """Half a unit of the last digit."""

    @property
    def low(self) -> float:
        """The least that it may have been before it was rounded."""
        return self.value - self.half

    @property
    def high(self) -> float:
        """The most that it may have been before it was rounded or, as some do, cut off."""
        return self.value + 2 * self.half

    @property
    def name(self) -> str:
        """`HR@10 tail item`"""
        return f"{self.metric.upper()}@{self.cutoff} {self.bucket}"


@dataclass(frozen=True)
class _Table:
    headings: list[str]
    lines: list[tuple[int, list[str]]]
    """Number in the file, and cells."""
    line: int


def read_published(
    path: Path, number: int | None = None, metrics: Sequence[str] = (), datasets: Sequence[str] = ()
) -> list[Published]:
    """The numbers of a table, as shares of 1 (a table with values above 1 is in per cent).

    `number` counts the tables of a Markdown file from 1; `metrics` are what the parts of a cell are, where headings do
    not say; `datasets` are names that a row's label may begin with. Raises SpecError with file and line for what is no
    table, MissingError for a file that is not there.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise MissingError(
            f"cannot be read ({error.strerror})", where=str(path), fix="name a CSV or Markdown file"
        ) from error
    except UnicodeDecodeError as error:
        raise SpecError("is not text in UTF-8", where=str(path), fix="save it as CSV or Markdown") from error
    table = _markdown(path, text, number) if path.suffix.lower() in (".md", ".markdown") else _csv(path, text)
    _refuse_ragged(path, table)
    lowered = [_word(heading) for heading in table.headings]
    if "metric" in lowered and "value" in lowered:
        found = _long(path, table, lowered)
    else:
        found = _wide(path, table, [_metric(path, table, name) for name in metrics], datasets)
    if not found:
        raise SpecError("holds no number", where=f"{path}:{table.line}", fix="headings such as `HR@10 tail item`")
    scale = 100 if max(one.value for one in found) > 1 else 1
    return [replace(one, value=one.value / scale, half=one.half / scale) for one in found]


def _markdown(path: Path, text: str, number: int | None) -> _Table:
    found: list[_Table] = []
    before = ""
    for place, line in enumerate(text.splitlines(), 1):
        is_row = line.lstrip().startswith("|")
        if is_row and re.fullmatch(r"[\s|:-]+", line) and "-" in line and before:
            found.append(_Table(_cells(before), [], place - 1))
        elif is_row and found and before:
            found[-1].lines.append((place, _cells(line)))
        before = line if is_row else ""
    if not found:
        raise SpecError("holds no Markdown table", where=str(path), fix="lines such as `| method | HR@10 |`")
    if number is None and len(found) > 1:
        places = ", ".join(f"{one}: line {table.line}" for one, table in enumerate(found, 1))
        raise SpecError(f"holds {len(found)} tables", where=str(path), fix=f"--table N ({places})")
    if number is not None and not 1 <= number <= len(found):
        raise SpecError(f"holds {len(found)} tables, not {number}", where=str(path), fix=f"--table 1 .. {len(found)}")
    return found[(number or 1) - 1]


def _cells(line: str) -> list[str]:
    inner = line.strip().removeprefix("|")
    inner = inner[:-1] if inner.endswith("|") and not inner.endswith("\\|") else inner
    return [cell.replace("\\|", "|").strip() for cell in re.split(r"(?<!\\)\|", inner)]


def _csv(path: Path, text: str) -> _Table:
    reader = csv.reader(text.splitlines(), strict=True)
    rows: list[tuple[int, list[str]]] = []
    try:
        for cells in reader:
            if cells:
                rows.append((reader.line_num, [cell.strip() for cell in cells]))
    except csv.Error as error:
        raise SpecError(f"is no CSV ({error})", where=f"{path}:{reader.line_num}", fix="mend its quotes") from error
    if not rows:
        raise SpecError("is empty", where=str(path), fix="name a CSV or Markdown file with a table")
    return _Table(rows[0][1], rows[1:], rows[0][0])


def _refuse_ragged(path: Path, table: _Table) -> None:
    for line, cells in table.lines:
        if len(cells) != len(table.headings):
            raise SpecError(
                f"has {len(cells)} cells, the headings of line {table.line} are {len(table.headings)}",
                where=f"{path}:{line}",
                fix="leave a cell empty or write '-' where there is no number",
            )


def _long(path: Path, table: _Table, lowered: list[str]) -> list[Published]:
    found = []
    for line, cells in table.lines:
        told = dict(zip(lowered, cells, strict=True))
        name, cutoff = _metric(path, _at_line(table, line), told["metric"])
        labels = [value for key, value in told.items() if key not in NOTES and value]
        dataset, bucket = told.get("dataset", ""), _bucket(told.get("bucket", "overall")) or told.get("bucket", "")
        number = _number(path, line, "value", told["value"])
        if number is not None:
            row = ", ".join(labels)
            found.append(Published(f"{path}:{line}", dataset, row, bucket, name, cutoff, *number))
    return found


def _at_line(table: _Table, line: int) -> _Table:
    """The table as if it began at a line, for errors that are about it."""
    return replace(table, line=line)


def _wide(path: Path, table: _Table, metrics: Sequence[tuple[str, int]], datasets: Sequence[str]) -> list[Published]:
    columns = {place: _heading(path, table, place, metrics) for place in _numeric(table)}
    names = [place for place in range(len(table.headings)) if place not in columns]
    found = []
    for line, cells in table.lines:
        dataset, row = _named(table, cells, names, datasets)
        for place, (wanted, bucket, of) in columns.items():
            parts = [part.strip() for part in cells[place].split("/")] if len(wanted) > 1 else [cells[place]]
            if parts in ([""], ["-"], ["–"]):
                continue
            if len(parts) != len(wanted):
                raise SpecError(
                    f"'{cells[place]}' holds {len(parts)} numbers, not {len(wanted)}",
                    where=f"{path}:{line}",
                    fix="one for each of --metrics, with a slash between",
                )
            for (metric, cutoff), part in zip(wanted, parts, strict=True):
                number = _number(path, line, table.headings[place], part)
                if number is not None:
                    found.append(Published(f"{path}:{line}", of or dataset, row, bucket, metric, cutoff, *number))
    return found


def _numeric(table: _Table) -> list[int]:
    """Columns of numbers: their headings name a metric or a bucket, or most of their cells are numbers."""
    found = []
    for place, heading in enumerate(table.headings):
        filled = [cells[place] for _, cells in table.lines if _plain(cells[place]).lower() not in ABSENT]
        numbers = sum(NUMBER.match(_plain(cell)) is not None for cell in filled)
        if METRIC.search(heading) or _bucket(heading) or (filled and numbers > len(filled) / 2):
            found.append(place)
    return found


def _heading(
    path: Path, table: _Table, place: int, metrics: Sequence[tuple[str, int]]
) -> tuple[list[tuple[str, int]], str, str]:
    """Metrics of each part of a cell, bucket, and dataset (empty where the heading names none)."""
    heading = _plain(table.headings[place])
    found = [(METRICS[_word(name).replace(" ", "")], int(cutoff)) for name, cutoff in METRIC.findall(heading)]
    if not (found or metrics):
        raise SpecError(
            f"the heading '{heading}' names no metric", where=f"{path}:{table.line}", fix="--metrics hr@10,ndcg@10"
        )
    rest = METRIC.sub(" ", heading).strip(" ,/()-_:")
    bucket = _bucket(rest)
    return found or list(metrics), bucket or "overall", "" if bucket else rest


def _named(table: _Table, cells: list[str], names: Sequence[int], datasets: Sequence[str]) -> tuple[str, str]:
    """Dataset and label of a row."""
    dataset, labels = "", []
    for place in names:
        if _word(table.headings[place]) in ("dataset", "data"):
            dataset = _plain(cells[place])
        elif cells[place]:
            labels.append(_plain(cells[place]))
    row = " ".join(labels)
    if not dataset:
        dataset = next(
            (name for name in datasets if _word(row).split(" ")[: len(name.split())] == _word(name).split()), ""
        )
    return dataset, row


def _metric(path: Path, table: _Table, written: str) -> tuple[str, int]:
    found = METRIC.fullmatch(written.strip())
    if found is None:
        where = f"{path}:{table.line}"
        raise SpecError(f"'{written}' is no metric that can be audited", where=where, fix="hr@10, ndcg@10 or mrr@10")
    return METRICS[_word(found[1]).replace(" ", "")], int(found[2])


def _bucket(written: str) -> str:
    """`tail item` for `Tail-Items`; empty for what is no bucket."""
    word = _word(written)
    if BUCKET.fullmatch(word) is None:
        return ""
    return "overall" if word == "all" else re.sub(r"s$", "", re.sub(r"[_-]", " ", word))


def _number(path: Path, line: int, heading: str, written: str) -> tuple[float, float] | None:
    """Value and half a unit of its last digit; None where there is none."""
    plain = AFTER.sub("", _plain(written)).strip().removesuffix("%").strip()
    if plain.lower() in ABSENT:
        return None
    if NUMBER.fullmatch(plain) is None:
        raise SpecError(
            f"'{written}' under '{heading}' is no number", where=f"{path}:{line}", fix="a number, or '-' for none"
        )
    if plain.startswith("-"):
        raise SpecError(f"'{written}' under '{heading}' is below 0", where=f"{path}:{line}", fix="mend the number")
    return float(plain), 0.5 * 10.0 ** -len(plain.partition(".")[2])


def _plain(cell: str) -> str:
    return ORNAMENT.sub("", cell).strip()


def _word(text: str) -> str:
    return " ".join(_plain(text).lower().split())
