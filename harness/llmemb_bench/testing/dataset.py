"""Checks of datasets."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from duckdb import DuckDBPyRelation

from llmemb_bench.base import sql
from llmemb_bench.contracts import Dataset, Described
from llmemb_bench.data.prepare import prepare, reader
from llmemb_bench.testing.case import Case, Skipped, require
from llmemb_bench.values.recdata import RecData

Row = tuple[Any, ...]


def _read(case: Case[Dataset]) -> RecData:
    return prepare(case.plugin(case.config), Path(tempfile.mkdtemp(dir=case.folder)))


def _events(case: Case[Dataset]) -> list[Row]:
    """Rows of the events relation, (user, item, ...) as text, in its own order."""
    with reader() as db:
        given = case.plugin(case.config).events(db)
        relations: Sequence[DuckDBPyRelation] = [given] if isinstance(given, DuckDBPyRelation) else given
        rows: list[Row] = []
        for relation in relations:
            others = [column for column in relation.columns if column not in ("user", "item")]
            rows += relation.project(_as_text(["user", "item", *others])).fetchall()
        return rows


def _items(case: Case[Dataset]) -> list[Row]:
    """Rows of the items relation, (item, attributes...) as text, in its own order."""
    with reader() as db:
        given = case.plugin(case.config).items(db)
        if given is None:
            raise Skipped("it has no texts of items")
        described = Described.of(given)
        return described.relation.project(_as_text(["item", *described.columns.values()])).fetchall()


def _as_text(columns: Sequence[str]) -> str:
    return ", ".join(f"{sql.identifier(column)}::varchar" for column in columns)


def _three(ids: set[str]) -> str:
    return ", ".join(f"'{name}'" for name in sorted(ids)[:3]) or "none"


def ids_are_dense_and_histories_in_time_order(case: Case[Dataset]) -> None:
    data = _read(case)
    numbers = sorted(set(data.items.tolist()))
    require(numbers == list(range(1, data.n_items + 1)), "the numbers of items have gaps")
    for user in range(data.n_users):
        begin, end = data.offsets[user], data.offsets[user + 1]
        folds = np.zeros(end - begin) if data.folds is None else data.folds[begin:end]
        order = np.lexsort((data.times[begin:end], folds))
        require((order == np.arange(end - begin)).all(), f"the events of user {user} are not in time order")


def reading_twice_gives_the_same(case: Case[Dataset]) -> None:
    hint = "random(), a set, the order of os.listdir, today's date; sort where the files leave an order open"
    require(_events(case) == _events(case), "events() read twice gives different rows or a different order", hint)
    first, second = _read(case), _read(case)
    require(first.catalogue == second.catalogue, "read twice, the items or their texts differ", hint)
    require(first.key == second.key, "read twice, the histories differ", hint)


def events_are_of_items_that_are_described(case: Case[Dataset]) -> None:
    described, bought = {row[0] for row in _items(case)}, {row[1] for row in _events(case)}
    known = len(described & bought)
    finding = (
        f"items() describes {known} of the {len(bought)} items that have events: "
        f"events have {_three(bought)}, items have {_three(described)}"
    )
    require(2 * known >= len(bought), finding, "the column `item` must hold the same ids in events() and items()")


def an_item_is_described_once(case: Case[Dataset]) -> None:
    double = [item for item, count in Counter(row[0] for row in _items(case)).items() if count > 1]
    finding = f"{len(double)} items stand in items() more than once, for example {_three(set(double))}"
    require(not double, finding, "a join that multiplies rows, a file that is read twice; the first row would count")


def an_event_occurs_once(case: Case[Dataset]) -> None:
    counts = Counter(_events(case))
    repeated = sum(count > 1 for count in counts.values())
    finding = f"{repeated} of {len(counts)} events stand in events() more than once"
    require(2 * repeated <= len(counts), finding, "a join that multiplies rows, a file that is read twice")


def attributes_are_clean_lines(case: Case[Dataset]) -> None:
    for attributes in _read(case).catalogue.attributes:
        for name, value in attributes:
            require(value, f"{name} is empty")
            require(";" not in value, f"{name} holds a semicolon")
            require("\n" not in value, f"{name} holds a line break")


def some_item_has_a_text(case: Case[Dataset]) -> None:
    table = _read(case).catalogue.attributes
    if not table.names:
        raise Skipped("it has no texts of items")
    finding = f"no item has a value of {', '.join(table.names)}"
    require(table.filled().any(), finding, "names of columns or keys in the files, capitals included")


DATASETS = (
    ids_are_dense_and_histories_in_time_order,
    reading_twice_gives_the_same,
    events_are_of_items_that_are_described,
    an_item_is_described_once,
    an_event_occurs_once,
    attributes_are_clean_lines,
    some_item_has_a_text,
)
