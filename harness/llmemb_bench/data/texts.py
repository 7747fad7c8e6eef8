"""From an items relation to one clean row of attributes an item."""

from __future__ import annotations

import html
import re
from pathlib import Path

from duckdb import DuckDBPyConnection, DuckDBPyRelation

from llmemb_bench.contracts import Dataset
from llmemb_bench.data.events import require_columns
from llmemb_bench.data.strings import StringsWriter
from llmemb_bench.errors import SpecError
from llmemb_bench.registry import suggestion

_CONTROL = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]+")
ITEMS_A_BLOCK = 20_000
RAW_CHARACTERS = 5
"""Raw characters that are looked at for each one that is kept: markup and blanks shrink when cleaned."""
LONGEST = 100_000
"""Characters of a value without a limit."""


def write_texts(
    db: DuckDBPyConnection, dataset: Dataset, n_items: int, folder: Path
) -> tuple[list[str], dict[str, int]]:
    """Write `texts`, item by item and attribute by attribute; returns the attributes' names and what was mended."""
    relation = dataset.items(db)
    if relation is None and dataset.config.attributes:
        raise SpecError("there are no texts of items to take them from", where="dataset.attributes", fix="leave it out")
    names = [] if relation is None else _wanted(relation, dataset)
    tally = {"items_described_twice": 0, "values_cut": 0}
    writer = StringsWriter(folder, "texts")
    if relation is not None and names:
        longest = dataset.config.attribute_chars or LONGEST
        _describe(db, relation, names, longest, tally)
        for start in range(1, n_items + 1, ITEMS_A_BLOCK):
            stop = min(start + ITEMS_A_BLOCK, n_items + 1)
            writer.append(_block(db, names, start, stop, longest, tally))
    writer.close()
    return names, tally


def _wanted(relation: DuckDBPyRelation, dataset: Dataset) -> list[str]:
    """Attributes in order: those asked for, or all that do not tell how popular an item is."""
    require_columns(relation.columns, ("item",), "the dataset's items")
    known = [column for column in relation.columns if column != "item"]
    if dataset.config.attributes is None:
        return [name for name in known if name not in dataset.popularity_attributes]
    for name in dataset.config.attributes:
        if name not in known:
            raise SpecError(f"no attribute '{name}'", where="dataset.attributes", fix=suggestion(name, known))
    return dataset.config.attributes


def _describe(
    db: DuckDBPyConnection,
    relation: DuckDBPyRelation,
    names: list[str],
    longest: int,
    tally: dict[str, int],
) -> None:
    """Table `described(number, a0, a1, ...)` of the items that have events; of doubled rows the first counts."""
    types = dict(zip(relation.columns, map(str, relation.types), strict=True))
    # More raw characters than these are no text of an item, and ten megabytes of title should not be moved about.
    most = RAW_CHARACTERS * longest
    texts = ", ".join(f"left({_text(name, types[name])}, {most}) as a{place}" for place, name in enumerate(names))
    relation.select(f"item::varchar as item, {texts}").create_view("given_item")
    db.execute(
        "create table product as select number, a.* exclude item from given_item a join item_name on item = name"
    )
    db.execute(
        "create table described as select * from product "
        "where rowid in (select min(rowid) from product group by number) order by number"
    )
    row = db.execute("select (select count(*) from product) - (select count(*) from described)").fetchone()
    tally["items_described_twice"] = row[0] if row else 0
    db.execute("drop table product")


def _text(name: str, kind: str) -> str:
    """SQL of an attribute as one string; a list is joined by commas, without its empty parts."""
    column = quoted(name)
    if kind.endswith("[]"):
        return f"array_to_string(list_filter({column}, lambda part: part::varchar <> ''), ', ')"
    return f"{column}::varchar"


def quoted(name: str) -> str:
    """An SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def _block(
    db: DuckDBPyConnection, names: list[str], start: int, stop: int, longest: int, tally: dict[str, int]
) -> list[str]:
    """Cleaned values of items start..stop-1, item by item; an item without a row has empty ones."""
    columns = [f"a{place}" for place in range(len(names))]
    rows = db.execute(
        f"select number, {', '.join(columns)} from described where number >= ? and number < ?", [start, stop]
    ).fetchall()
    values = [""] * ((stop - start) * len(names))
    for number, *raw in rows:
        place = (number - start) * len(names)
        for offset, value in enumerate(raw):
            if value:
                text = clean(value)
                tally["values_cut"] += len(text) > longest
                values[place + offset] = text[:longest].strip()
    return values


def clean(text: str) -> str:
    """One line without control characters; `;` separates attributes in a prompt and so becomes a full stop."""
    if "&" in text:
        text = html.unescape(text)
    if not text.isprintable():
        text = _CONTROL.sub(" ", text)
    return " ".join(text.replace(";", ".").split())
