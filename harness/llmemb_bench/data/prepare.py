"""Relations of a dataset to histories on disk: filters, order, ids and texts, once for all datasets."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
from duckdb import DuckDBPyConnection, DuckDBPyRelation

from llmemb_bench.contracts import Dataset, DatasetConfig
from llmemb_bench.data.padding import SeenItems
from llmemb_bench.data.recdata import Attributes, Items, RecData, Split
from llmemb_bench.errors import DataError, SpecError
from llmemb_bench.registry import suggestion

_CONTROL = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]+")


def prepare(dataset: Dataset) -> RecData:
    """Read, filter, order and number; raises DataError where the raw data cannot be used."""
    config = dataset.config
    with duckdb.connect() as db:
        try:
            _read_events(db, dataset.events(db))
            _apply_core(db, config)
            users, items, times = _ordered(db, config)
            texts = _texts(dataset.items(db), config)
        except duckdb.Error as error:
            raise DataError(
                f"cannot be read: {str(error).splitlines()[0]}",
                where=" ".join(map(str, dataset.files())) or "dataset",
                fix="is the file whole, and of the format that the dataset's documentation names?",
            ) from error
    return _number(users, items, times, texts, config)


def _read_events(db: DuckDBPyConnection, events: DuckDBPyRelation) -> None:
    """Table `event(line, user, item, time)` in file order."""
    require_columns(events.columns, ("user", "item", "time"), "the dataset's events")
    events.create_view("raw_event")
    db.execute(
        "create table event as select row_number() over () as line, "
        '"user"::varchar as "user", item::varchar as item, "time" as "time" from raw_event'
    )
    row = db.execute(
        'select count(*), count(*) filter ("user" is null), count(*) filter (item is null), '
        'count(*) filter ("time" is null or try_cast("time" as bigint) is null or try_cast("time" as bigint) < 0), '
        'min(line) filter ("user" is null or item is null or try_cast("time" as bigint) is null) from event'
    ).fetchone()
    total, *missing, first = row or (0, 0, 0, 0, None)
    for column, count in zip(("user", "item", "time"), missing, strict=True):
        if count:
            raise DataError(
                f"{count} of {total} events have no usable {column}, the first is event {first or 1}",
                where="dataset",
                fix="is the column missing or misnamed? the dataset's documentation names it",
            )


def require_columns(found: Sequence[str], wanted: Sequence[str], where: str) -> None:
    """Refuse a relation that lacks a column; the error names what there is."""
    for column in wanted:
        if column not in found:
            raise DataError(f"no column '{column}'", where=where, fix=suggestion(column, list(found)))


def _apply_core(db: DuckDBPyConnection, config: DatasetConfig) -> None:
    """Drop events of rare users and items, both counted on the same snapshot (LLMEmb code, data_process.py)."""
    if config.repeats == "drop":
        db.execute(
            "delete from event where line not in "
            '(select first(line order by try_cast("time" as bigint), line) from event group by "user", item)'
        )
    before = _count(db)
    while True:
        db.execute(
            "delete from event where "
            '"user" in (select "user" from event group by "user" having count(*) < ?) or '
            "item in (select item from event group by item having count(*) < ?)",
            [config.min_user_events, config.min_item_events],
        )
        after = _count(db)
        if not config.iterate_core or after == before:
            break
        before = after
    db.execute(
        'delete from event where "user" in (select "user" from event group by "user" having count(*) < ?)',
        [config.min_history],
    )
    if _count(db) == 0:
        raise DataError(
            "no event is left: the file is empty or the filters are too strict",
            where="dataset",
            fix="look at min_user_events, min_item_events and min_history",
        )


def _count(db: DuckDBPyConnection) -> int:
    row = db.execute("select count(*) from event").fetchone()
    return int(row[0]) if row else 0


def _ordered(db: DuckDBPyConnection, config: DatasetConfig) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """User, item and time of every event: users by first appearance, each in time order, ties in file order."""
    columns = db.execute(
        'select "user", item, try_cast("time" as bigint) as "time" from event '
        'order by min(line) over (partition by "user"), "time", line'
    ).fetchnumpy()
    return (
        np.asarray(columns["user"]),
        np.asarray(columns["item"]),
        np.asarray(columns["time"], dtype=np.int64),
    )


def _number(
    users: np.ndarray,
    items: np.ndarray,
    times: np.ndarray,
    texts: dict[str, Attributes],
    config: DatasetConfig,
) -> RecData:
    """Ids by first appearance."""
    starts = np.flatnonzero(np.concatenate([[True], users[1:] != users[:-1]]))
    names = list(dict.fromkeys(items.tolist()))
    number = {name: place for place, name in enumerate(names, start=1)}
    return RecData(
        offsets=np.concatenate([starts, [len(users)]]).astype(np.int64),
        items=np.fromiter((number[name] for name in items.tolist()), dtype=np.int32, count=len(items)),
        times=times,
        user_ids=tuple(map(str, users[starts].tolist())),
        catalogue=Items(tuple(names), tuple(texts.get(name, ()) for name in names), config.instruction),
    )


def _texts(relation: DuckDBPyRelation | None, config: DatasetConfig) -> dict[str, Attributes]:
    """Cleaned attributes by item; of doubled items the first counts."""
    if relation is None:
        return {}
    require_columns(relation.columns, ("item",), "the dataset's items")
    known = [column for column in relation.columns if column != "item"]
    wanted = known if config.attributes is None else config.attributes
    for name in wanted:
        if name not in known:
            raise SpecError(f"no attribute '{name}'", where="dataset.attributes", fix=suggestion(name, known))
    places = [(name, relation.columns.index(name)) for name in wanted]
    item = relation.columns.index("item")
    found: dict[str, Attributes] = {}
    for row in relation.fetchall():
        cleaned = ((name, clean(row[place], config.attribute_chars)) for name, place in places)
        found.setdefault(str(row[item]), tuple((name, value) for name, value in cleaned if value))
    return found


def clean(value: Any, longest: int | None) -> str:
    """One line of text; `;` separates attributes in a prompt and so becomes a full stop."""
    if value is None:
        return ""
    text = ", ".join(str(part) for part in value if part) if isinstance(value, list) else str(value)
    text = _CONTROL.sub(" ", html.unescape(text)).replace(";", ".")
    return " ".join(text.split())[:longest].strip()


def save(data: RecData, folder: Path) -> None:
    """Arrays as .npy, names and texts as JSON."""
    for name in ("offsets", "items", "times"):
        np.save(folder / f"{name}.npy", getattr(data, name), allow_pickle=False)
    catalogue = data.catalogue
    names = {
        "users": data.user_ids,
        "items": catalogue.ids,
        "attributes": catalogue.attributes,
        "instruction": catalogue.instruction,
    }
    (folder / "names.json").write_text(json.dumps(names, ensure_ascii=False), encoding="utf-8")


def load(folder: Path) -> RecData:
    """What `save` wrote; arrays stay on disk (memory map)."""
    names = json.loads((folder / "names.json").read_text(encoding="utf-8"))
    offsets, items, times = (
        np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in ("offsets", "items", "times")
    )
    attributes = tuple(tuple((name, value) for name, value in item) for item in names["attributes"])
    catalogue = Items(tuple(names["items"]), attributes, names["instruction"])
    return RecData(offsets, items, times, tuple(names["users"]), catalogue)


def describe(data: RecData, split: Split) -> dict[str, int | float]:
    """The statistics that tell one version of a dataset from another."""
    n_events = len(data.items)
    seen = SeenItems(np.repeat(np.arange(data.n_users), split.lengths), data.items, data.n_items)
    return {
        "users": data.n_users,
        "items": data.n_items,
        "events": n_events,
        "events_a_user": n_events / data.n_users,
        "density": n_events / data.n_users / data.n_items,
        "users_below_three_events": int((split.lengths < 3).sum()),
        "repeated_events": n_events - int(seen.per_user(data.n_users).sum()),
        "cold_test_targets": int((split.popularity[split.targets("test")] == 0).sum()),
        "items_with_text": sum(bool(attributes) for attributes in data.catalogue.attributes),
    }
