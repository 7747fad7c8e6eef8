"""What a finished run would show a user, beside what the user did: for a person to judge."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console

from llmemb_bench.base.errors import Problem, SpecError
from llmemb_bench.base.terminal import shown, table
from llmemb_bench.evaluation.buckets import head_items, item_counts
from llmemb_bench.serving.load import LoadedRun
from llmemb_bench.serving.scoring import Histories, best_of
from llmemb_bench.values.recdata import Attributes, RecData
from llmemb_bench.values.strings import Strings

IDS_COMPARED = 20_000
IDS_SHOWN = 5
EVENTS_SHOWN = 10
"""Latest events of a history that stand above the table."""
TITLES = ("title", "name")
"""Attributes that name an item, where it has one of them."""


@dataclass(frozen=True)
class Event:
    """An item of the history."""

    item: str
    title: str


@dataclass(frozen=True)
class Recommendation:
    """One of the best items."""

    rank: int
    item: str
    title: str
    text: str
    bucket: str
    """`head` or `tail`, as in reports."""
    training_events: int
    score: float


@dataclass(frozen=True)
class Recommended:
    """A history and the best items for it."""

    run: str
    label: str
    user: str | None
    """None: the history was given."""
    history: list[Event]
    """Oldest first."""
    read: int
    """Events that the model looks at: the latest ones."""
    history_left_out: bool
    """Whether items of the history cannot be recommended."""
    items: list[Recommendation]


def history_of_user(data: RecData, wanted: str) -> NDArray[np.int32]:
    """All events of a user of the dataset, by the dataset's own id; an unknown one is a SpecError."""
    row = next((row for row, user in enumerate(data.user_ids) if user == wanted), None)
    if row is None:
        raise SpecError(f"no user has the id '{wanted}'", where="--user", fix=_near(wanted, data.user_ids))
    return np.asarray(data.history(row))


def history_of_items(data: RecData, given: Sequence[str]) -> NDArray[np.int32]:
    """Item ids, oldest first; a value that is no item's id as a whole is several with commas between.
    Unknown ones are a SpecError."""
    number = {item: place for place, item in enumerate(data.catalogue.ids, start=1)}
    parts = [part for value in given for part in ([value] if value in number else value.split(","))]
    items = [part if part in number else part.strip() for part in parts if part.strip()]
    unknown = [item for item in dict.fromkeys(items) if item not in number]
    if unknown:
        ids = data.catalogue.ids
        raise SpecError.of([Problem("--history", f"no item has the id '{item}'", _near(item, ids)) for item in unknown])
    if not items:
        raise SpecError("the history is empty", where="--history", fix="--history ITEM,ITEM,...")
    return np.array([number[item] for item in items], dtype=np.int32)


def _near(wanted: str, ids: Strings) -> str:
    close = difflib.get_close_matches(wanted, ids[:IDS_COMPARED], n=3)
    if close:
        return f"did you mean {' or '.join(repr(one) for one in close)}?"
    return f"ids look like: {', '.join(islice(ids, IDS_SHOWN))}"


def recommend(run: LoadedRun, history: NDArray[np.int32], count: int, user: str | None = None) -> Recommended:
    """The best `count` items for a history."""
    data, method = run.split.data, run.method
    histories = Histories(history, np.array([0]), np.array([len(history)]))
    with torch.no_grad():
        method.begin_ranking()
    _, ids, scores = best_of(method, histories, data.n_items, count, mask=run.masks_history)
    found = [(item, value) for item, value in zip(ids[0].tolist(), scores[0].tolist(), strict=True) if value > -np.inf]
    head, catalogue = head_items(item_counts(run.split, run.spec.evaluate), run.spec.evaluate), data.catalogue
    return Recommended(
        run=f"{run.manifest['experiment']}/{run.folder.resolve().name}",
        label=run.label,
        user=user,
        history=[Event(catalogue.ids[item - 1], title(catalogue.attributes[item - 1])) for item in history.tolist()],
        read=min(len(history), method.max_len or len(history)),
        history_left_out=run.masks_history,
        items=[
            Recommendation(
                rank=rank,
                item=catalogue.ids[item - 1],
                title=title(catalogue.attributes[item - 1]),
                text=catalogue.text(catalogue.attributes[item - 1]),
                bucket="head" if head[item] else "tail",
                training_events=int(run.split.popularity[item]),
                score=value,
            )
            for rank, (item, value) in enumerate(found, start=1)
        ],
    )


def title(attributes: Attributes) -> str:
    """What a person calls an item; all that is known of it where nothing is called its title."""
    named = {name.lower(): value for name, value in attributes}
    return next((named[name] for name in TITLES if name in named), "; ".join(value for _, value in attributes))


def as_json(found: Recommended) -> dict[str, Any]:
    """For programs."""
    return {"schema": 1, **asdict(found)}


def print_recommended(found: Recommended, console: Console) -> None:
    """The latest of the history, then the best items."""
    console.print(found.label, style="bold", highlight=False)
    whose = f"user {shown(found.user)}" if found.user is not None else "the history given"
    unread = len(found.history) - found.read
    notes = f"; the model reads the latest {found.read}" if unread else ""
    console.print(f"{whose}, {len(found.history)} events{notes}", highlight=False)
    earlier = len(found.history) - EVENTS_SHOWN
    history = table("", "ITEM", "TITLE")
    if earlier > 0:
        history.add_row("", "...", f"{earlier} earlier")
    for event in found.history[-EVENTS_SHOWN:]:
        history.add_row("", shown(event.item), _short(event.title))
    console.print(history, highlight=False)
    console.print()
    if not found.items:
        console.print("nothing is left to recommend: every item is in the history")
        return
    items = table(
        "RANK", "ITEM", "BUCKET", "TRAINING EVENTS", "SCORE", "TITLE", right={"RANK", "TRAINING EVENTS", "SCORE"}
    )
    for item in found.items:
        cells = (item.bucket, f"{item.training_events:,}", f"{item.score:.4f}", _short(item.title))
        items.add_row(str(item.rank), shown(item.item), *cells)
    console.print(items, highlight=False)


def _short(text: str, length: int = 80) -> str:
    return shown(text if len(text) <= length else text[: length - 1] + "…")
