"""An item's nearest items by cosine, before and after SCFT, so that a person can see what tuning did."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from llmemb_bench.base.errors import SpecError
from llmemb_bench.base.terminal import shown, table
from llmemb_bench.text.files import read_texts, read_vectors
from llmemb_bench.text.geometry import unit

COLUMNS = {"untuned": "before SCFT", "vector": "after SCFT"}
SHOWN = 5
"""Items that an error suggests."""
IDS_COMPARED = 20_000


@dataclass(frozen=True)
class Neighbour:
    """One of the nearest items."""

    item: str
    cosine: float
    text: str
    is_new: bool
    """Not among the nearest before tuning."""


@dataclass(frozen=True)
class Neighbourhood:
    """An item and its nearest ones by each column of vectors."""

    item: str
    text: str
    nearest: dict[str, list[Neighbour]]
    """By what the vectors are: `before SCFT` and `after SCFT`, or `vector` where there is one kind."""


def neighbourhoods(path: Path, wanted: Sequence[str], count: int) -> list[Neighbourhood]:
    """The nearest `count` items of each wanted one, in a file that `embed` wrote."""
    items, texts, has_untuned = read_texts(path)
    row_of = {item: row for row, item in enumerate(items)}
    rows = [_row(item, items, texts, row_of) for item in wanted]
    columns = COLUMNS if has_untuned else {"vector": "vector"}
    nearest = {label: _nearest(read_vectors(path, column)[1], rows, count) for column, label in columns.items()}
    found = []
    for number, row in enumerate(rows):
        lists: dict[str, list[Neighbour]] = {}
        known: set[str] | None = None
        for label, of_rows in nearest.items():
            lists[label] = [
                Neighbour(items[near], cosine, texts[near], known is not None and items[near] not in known)
                for near, cosine in of_rows[number]
            ]
            known = {neighbour.item for neighbour in lists[label]}
        found.append(Neighbourhood(items[row], texts[row], lists))
    return found


def _row(wanted: str, items: Sequence[str], texts: Sequence[str], row_of: dict[str, int]) -> int:
    if wanted in row_of:
        return row_of[wanted]
    holding = [row for row, text in enumerate(texts) if wanted.lower() in text.lower()]
    if len(holding) == 1:
        return holding[0]
    some = ", ".join(f"{items[row]} ({_short(texts[row], 40)})" for row in holding[:SHOWN])
    fix = f"{len(holding)} texts hold it: {some}" if holding else _near(wanted, items)
    raise SpecError(f"no item has the id '{wanted}'", fix=fix)


def _near(wanted: str, items: Sequence[str]) -> str:
    close = difflib.get_close_matches(wanted, items[:IDS_COMPARED], n=1)
    return f"did you mean '{close[0]}'?" if close else f"ids look like: {', '.join(items[:SHOWN])}"


def _nearest(vectors: NDArray[np.float32], rows: Sequence[int], count: int) -> list[list[tuple[int, float]]]:
    units = unit(vectors)
    found = []
    for row in rows:
        cosines = units @ units[row]
        cosines[row] = -np.inf
        order = np.argsort(-cosines, kind="stable")[: min(count, len(units) - 1)]
        found.append([(int(near), float(cosines[near])) for near in order])
    return found


def as_json(found: Sequence[Neighbourhood]) -> list[dict[str, Any]]:
    """For programs."""
    return [asdict(neighbourhood) for neighbourhood in found]


def print_neighbourhoods(found: Sequence[Neighbourhood], console: Console) -> None:
    """One table an item and column; new neighbours carry a plus."""
    for neighbourhood in found:
        console.print(f"{shown(neighbourhood.item)}  {_short(neighbourhood.text)}", style="bold")
        for label, nearest in neighbourhood.nearest.items():
            printed = table("", "COSINE", "ITEM", "TEXT", right={"COSINE"}, title=label)
            for near in nearest:
                printed.add_row("+" if near.is_new else "", f"{near.cosine:.3f}", shown(near.item), _short(near.text))
            console.print(printed)
        console.print()


def _short(text: str, length: int = 100) -> str:
    """An item's text in one line, without the instruction that all texts share."""
    line = " ".join(text.partition("\n")[2].split()) or " ".join(text.split())
    return shown(line if len(line) <= length else line[: length - 1] + "…")
