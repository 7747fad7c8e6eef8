"""From raw values to words: missing ones, entities, nested ones, each with what a reader would write by hand."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import duckdb
import pytest

from llmemb_bench.base.errors import DataError
from llmemb_bench.data.prepare import prepare
from llmemb_bench.data.words import clean, words
from llmemb_bench.registry.entries import find


def texts(folder: Path, items: Path, **given: Any) -> list[dict[str, str]]:
    """The attributes of items `a`, `b`, ... of a file."""
    (folder / "e.csv").write_text("user,item,time\n" + "".join(f"u,{item},{at}\n" for at, item in enumerate("abc")))
    plugin = find("datasets", "table").load()
    config = plugin.config_type().model_validate({"events": str(folder / "e.csv"), "items": str(items)} | given)
    data = prepare(plugin(config), Path(tempfile.mkdtemp(dir=folder)))
    return [dict(attributes) for attributes in data.catalogue.attributes]


NOTHING = ["NaN", "nan", "None", "none", "null", "NULL", "", "   ", "\t", "\u2014", "\u2013", "-", "--", "N/A", "n/a"]
NOTHING += ["-nan", "-NaN", "-NAN", r"\N", "(null)", "(NULL)", "#VALUE!", "\u2012"]
NOTHING += [
    "#N/A",
    "NA",
    "<NA>",
    "NaT",
    "{}",
    "[]",
    "[ ]",
    "{ }",
    "&nbsp;",
    "&mdash;",
    "[null]",
    '["", null]',
    "\ufeff",
]
NOTHING += ['{"a": null}', '{"a": {}, "b": []}', "['']", "[None, None]", "[nan]", "[[], {}]", "&amp;nbsp;", "\u00a0"]


@pytest.mark.parametrize("value", NOTHING)
def test_whatever_says_nothing_is_no_text(value):
    assert words(value) == ""


@pytest.mark.parametrize(
    "value", ["0", "0.0", "Nana", "Nullarbor", "none of us", "N/A-1", "- a -", "?", "NATO", "A", "[", "{"]
)
def test_what_only_looks_like_nothing_stays(value):
    assert words(value) == value


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_missing_values_of_every_format_enter_no_prompt(form, tmp_path):
    path = tmp_path / f"i.{form}"
    if form == "csv":
        path.write_text('item,title,brand,tags\na,Hat,nan,{}\nb,NaN,"",[]\nc,\u2014,N/A,None\n')
    elif form == "jsonl":
        rows: list[dict[str, Any]] = [
            {"item": "a", "title": "Hat", "brand": None, "tags": {}},
            {"item": "b", "title": "NaN", "brand": "", "tags": ["", None, "n/a"]},
            {"item": "c", "title": "\u2014", "brand": "null"},
        ]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        with duckdb.connect() as db:
            db.execute(
                "copy (from (values ('a', 'Hat', 'nan'::double, map{}::map(varchar, varchar)), "
                "('b', 'NaN', null, map{'x': null}), ('c', '\u2014', null, null)) t(item, title, brand, tags)) "
                f"to '{path}'"
            )
    assert texts(tmp_path, path) == [{"title": "Hat"}, {}, {}]


def test_half_a_character_in_a_nested_cell_is_a_question_mark(tmp_path):
    (tmp_path / "i.csv").write_text('item,tags\na,"[""x\\ud800y""]"\nb,"{\'k\\udc00\': 1}"\n')
    assert texts(tmp_path, tmp_path / "i.csv") == [{"tags": "x?y"}, {"tags": "k?: 1"}, {}]


def test_a_setting_adds_words_for_missing(tmp_path):
    (tmp_path / "i.csv").write_text("item,title,brand\na,Hat,unknown\nb,Sock,Nike\nc,TBD,unknown brand\n")
    found = texts(tmp_path, tmp_path / "i.csv", missing=["unknown", "TBD"])
    assert found == [{"title": "Hat"}, {"title": "Sock", "brand": "Nike"}, {"brand": "unknown brand"}]


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("Ben &amp; Jerry&#39;s", "Ben & Jerry's"),
        ("Ben &amp;amp; Jerry&amp;#39;s", "Ben & Jerry's"),
        ("&amp;amp;amp;amp;quot;x&amp;quot;", '"x"'),
        ("R&notes", "R&notes"),
        ("R&amp;notes", "R&notes"),
        ("AT&T", "AT&T"),
        ("Q&A; more", "Q&A. more"),
        ("5 &lt; 6 &gt 4", "5 < 6 &gt 4"),
        ("caf&eacute; &#233; &#xE9; &#XE9;", "caf\u00e9 \u00e9 \u00e9 \u00e9"),
        ("&copy 2020 &copy; 2021", "&copy 2020 \u00a9 2021"),
        ("a&nbsp;&nbsp;b", "a b"),
        ("a&#10;b&#0;c", "a b\ufffdc"),
        ("&notanentity; &#9999999;", "&notanentity. \ufffd"),
        ("x&ampy", "x&ampy"),
        ("&#38;#39; &#x26;amp;", "' &"),
    ],
)
def test_entities_are_decoded_wholly_and_never_invented(raw, expected):
    assert clean(raw) == expected


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ('[["a","b"],["c"]]', "a, b, c"),
        ('["a", ["b", {"c": "d"}], null]', "a, b, c: d"),
        ('{"brand": "X", "size": 3, "new": true, "old": null}', "brand: X, size: 3, new: true"),
        ('{"a": {"b": {"c": 1.50}}}', "a: b: c: 1.50"),
        (
            "[{'id': 16, 'name': 'Animation'}, {'id': 35, 'name': \"Kid's\"}]",
            "id: 16, name: Animation, id: 35, name: Kid's",
        ),
        ("['a', 'b; c']", "a, b. c"),
        ('["caf&eacute;"]', "caf\u00e9"),
        (r'["x\ud800y"]', "x?y"),
        (r'[["\udfff"], {"k\ud800": "v\udc00"}]', "?, k?: v?"),
        (r'["\ud83d\ude00"]', "\U0001f600"),
        ("[REC]", "[REC]"),
        ("[Live] A song", "[Live] A song"),
        ("{not json}", "{not json}"),
        ('["unclosed', '["unclosed'),
        ("[" * 3000 + "]" * 3000, "[" * 3000 + "]" * 3000),
    ],
)
def test_nested_values_become_words(raw, expected):
    assert words(raw) == expected


def test_nested_values_are_the_same_words_in_every_format(tmp_path):
    nested = {
        "tags": [["a", "b"], ["c", None]],
        "of": {"brand": "X", "parts": [1, 2]},
        "counts": {"k": 2},
        "list": ["p", ""],
    }
    (tmp_path / "i.jsonl").write_text(json.dumps({"item": "a", **nested}) + "\n")
    (tmp_path / "i.csv").write_text(
        "item,tags,of,counts,list\na," + ",".join('"' + json.dumps(v).replace('"', '""') + '"' for v in nested.values())
    )
    with duckdb.connect() as db:
        db.execute(
            "copy (select 'a' as item, [['a', 'b'], ['c', null]] as tags, "
            "{'brand': 'X', 'parts': [1, 2]} as of, map{'k': 2} as counts, ['p', ''] as list) "
            f"to '{tmp_path}/i.parquet'"
        )
    for form in ("jsonl", "csv", "parquet"):
        first, *_ = texts(tmp_path, tmp_path / f"i.{form}")
        assert first == {"tags": "a, b, c", "of": "brand: X, parts: 1, 2", "counts": "k: 2", "list": "p"}, form


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_ids_of_nobody_are_missing_and_not_one_busy_user(form, tmp_path):
    rows = [("u", "a"), ("nan", "b"), ("<NA>", "c"), ("  ", "d"), ("null", "e"), ("v", "f")]
    path = tmp_path / f"e.{form}"
    if form == "csv":
        path.write_text("user,item\n" + "".join(f"{user},{item}\n" for user, item in rows))
    else:
        path.write_text("".join(json.dumps({"user": user, "item": item}) + "\n" for user, item in rows))
    plugin = find("datasets", "table").load()
    given = {"events": str(path), "time": None}
    with pytest.raises(DataError, match=rf"e\.{form}:\d: 4 of 6 events have no usable user.*holds 'nan'"):
        prepare(plugin(plugin.config_type().model_validate(given)), Path(tempfile.mkdtemp(dir=tmp_path)))
    config = plugin.config_type().model_validate(given | {"broken_rows": "drop"})
    data = prepare(plugin(config), Path(tempfile.mkdtemp(dir=tmp_path)))
    assert (sorted(data.user_ids), data.tally["events_without_user"]) == (["u", "v"], 4)
