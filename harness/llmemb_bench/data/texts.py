"""From an items relation to one clean row of attributes an item."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from duckdb import DuckDBPyConnection

from llmemb_bench.base import sql
from llmemb_bench.base.errors import SpecError
from llmemb_bench.contracts import Dataset, Described
from llmemb_bench.data.events import require_columns
from llmemb_bench.data.words import MISSING, PART, words
from llmemb_bench.data.words import clean as clean
from llmemb_bench.registry.entries import suggestion
from llmemb_bench.values.strings import StringsWriter

SIMPLE_LIST = re.compile(r"[A-Z ]+(\(\d+,\d+\))?\[\]")
NESTED = re.compile(r".*\]|(STRUCT|MAP|UNION)\(.*", re.DOTALL)
ITEMS_PER_BLOCK = 20_000
RAW_CHARACTERS = 5
"""Raw characters that are looked at for each one that is kept: markup and blanks shrink when cleaned."""
LONGEST = 100_000
"""Characters of a value without a limit."""


@dataclass(frozen=True)
class Written:
    """What `write_texts` has to say."""

    names: list[str]
    """Of the attributes."""
    tally: dict[str, int]
    """What was repaired, in rows and values."""
    warnings: list[str]


def write_texts(db: DuckDBPyConnection, dataset: Dataset, n_items: int, folder: Path) -> Written:
    """Write `texts`, item by item and attribute by attribute; attributes that are not there are a SpecError."""
    given = dataset.items(db)
    described = Described.of(given) if given is not None else None
    if described is None and dataset.config.attributes:
        raise SpecError("there are no texts of items to take them from", where="dataset.attributes", fix="leave it out")
    names = [] if described is None else _wanted(described, dataset)
    tally, warnings = {"items_described_twice": 0, "values_cut": 0}, list[str]()
    writer = StringsWriter(folder, "texts")
    if described is not None and names:
        longest = dataset.config.attribute_chars or LONGEST
        missing = MISSING.union(dataset.config.missing)
        warnings = _describe(db, dataset, described, names, longest, tally)
        for start in range(1, n_items + 1, ITEMS_PER_BLOCK):
            items = range(start, min(start + ITEMS_PER_BLOCK, n_items + 1))
            writer.append(_block(db, len(names), items, longest, missing, tally))
    writer.close()
    return Written(names, tally, warnings)


def _wanted(described: Described, dataset: Dataset) -> list[str]:
    """Attributes in order: those asked for, or all that do not tell how popular an item is."""
    require_columns(described.relation.columns, ("item",), "the dataset's items")
    known = list(described.columns)
    if dataset.config.attributes is None:
        return [name for name in known if name not in dataset.popularity_attributes]
    for name in dataset.config.attributes:
        if name not in known:
            raise SpecError(f"no attribute '{name}'", where="dataset.attributes", fix=suggestion(name, known))
    return dataset.config.attributes


def _describe(
    db: DuckDBPyConnection,
    dataset: Dataset,
    described: Described,
    names: list[str],
    longest: int,
    tally: dict[str, int],
) -> list[str]:
    """Table `described(number, a0, a1, ...)` of the items that have events; of doubled rows the first counts.

    Returns what a reader must know of them.
    """
    relation, columns = described.relation, described.columns
    types = dict(zip(relation.columns, map(str, relation.types), strict=True))
    # More raw characters than these are no text of an item, and ten megabytes of title should not be moved about.
    most = RAW_CHARACTERS * longest
    chosen = [(columns[name], types[columns[name]]) for name in names]
    texts = ", ".join(_raw(column, kind, most, f"a{index}") for index, (column, kind) in enumerate(chosen))
    # Numbered before the join, which does not keep the order of the file.
    relation.select(f"row_number() over () as place, item::varchar as item, {texts}").create_view("given_item")
    db.execute(
        "create table product as select number, a.* exclude item from given_item a join item_name on item = name"
    )
    db.execute(
        "create table described as select * exclude place from product "
        "where place in (select min(place) from product group by number) order by number"
    )
    [(all_rows, kept)] = db.execute(
        "select (select count(*) from product), (select count(*) from described)"
    ).fetchall()
    tally["items_described_twice"] = all_rows - kept
    db.execute("drop table product")
    return [] if all_rows else _strangers(db, dataset)


def _strangers(db: DuckDBPyConnection, dataset: Dataset) -> list[str]:
    """What to say of items of which none has events: their ids are of other data, or written in another way."""
    theirs, ours = (
        [name for (name,) in db.execute(f"select {column} from {table} where {column} is not null limit 3").fetchall()]
        for column, table in (("item", "given_item"), ("name", "item_name"))
    )
    if not theirs:
        return []
    zeros = [any(name.endswith(".0") for name in names) for names in (theirs, ours)]
    fix = "one of them writes 10.0 for 10: " if zeros[0] != zeros[1] else ""
    return [
        f"no id of the items is an item of the events: {dataset.files()[-1]} has {_shown(theirs)}, the events have "
        f"{_shown(ours)} -> {fix}write the ids the same way in both files"
    ]


def _shown(names: list[str]) -> str:
    return ", ".join(f"'{name[:40]}'" for name in names)


def _raw(name: str, kind: str, most: int, alias: str) -> str:
    """SQL of a value as one text for `words`: nested ones whole and as JSON, others up to `most` characters."""
    column = sql.identifier(name)
    if SIMPLE_LIST.fullmatch(kind):
        text = f"array_to_string({column}, '{PART}')"
    elif NESTED.fullmatch(kind):
        return f"to_json({column})::varchar as {alias}"
    elif kind == "JSON":
        text = f"case when json_type({column}) in ('OBJECT', 'ARRAY') then {column}::varchar else {column} ->> '$' end"
    else:
        text = f"{column}::varchar"
    return f"case when ({text})[1] in ('[', '{{') then {text} else left({text}, {most}) end as {alias}"


def _block(
    db: DuckDBPyConnection, width: int, items: range, longest: int, missing: frozenset[str], tally: dict[str, int]
) -> list[str]:
    """Cleaned values of these items, item by item; an item without a row has empty ones."""
    columns = ", ".join(f"a{index}" for index in range(width))
    rows = db.execute(
        f"select number, {columns} from described where number >= ? and number < ?", [items.start, items.stop]
    ).fetchall()
    values = [""] * (len(items) * width)
    for number, *raw in rows:
        first = (number - items.start) * width
        for offset, value in enumerate(raw):
            if value:
                text = words(value, missing)
                tally["values_cut"] += len(text) > longest
                values[first + offset] = text[:longest].strip()
    return values
