"""Tables as people have them: what spreadsheets, pandas and other tools write is read, or refused with the place."""

from __future__ import annotations

import codecs
import csv
import gzip
import json
import re
import tempfile
from pathlib import Path
from typing import Any

import duckdb
import pytest
from pydantic import ValidationError

from llmemb_bench.base.errors import BenchError, DataError
from llmemb_bench.data.prepare import prepare
from llmemb_bench.data.statistics import warnings
from llmemb_bench.registry.entries import find
from llmemb_bench.values.recdata import RecData
from llmemb_bench.values.split import Split
from tests.helpers import datasets

EVENTS = "user,item,time\nu,a,1\nu,b,2\nu,c,3\n"


def read(folder: Path, **given: Any) -> RecData:
    return datasets.read(folder, "table", **given)


def with_events(folder: Path, content: str | bytes, name: str = "e.csv", **given: Any) -> RecData:
    data = content.encode() if isinstance(content, str) else content
    (folder / name).write_bytes(gzip.compress(data, mtime=0) if name.lower().endswith(".gz") else data)
    return read(folder, events=str(folder / name), **given)


def texts(folder: Path, content: str | bytes, name: str = "i.csv", **given: Any) -> dict[str, dict[str, str]]:
    """Attributes by item, of items `a`, `b` and `c`."""
    data = content.encode() if isinstance(content, str) else content
    (folder / name).write_bytes(gzip.compress(data, mtime=0) if name.lower().endswith(".gz") else data)
    (folder / "events.csv").write_text(given.pop("of_events", EVENTS))
    found = read(folder, events=str(folder / "events.csv"), items=str(folder / name), **given).catalogue
    return {item: dict(attributes) for item, attributes in zip(found.ids, found.attributes, strict=True)}


def pairs(data: RecData) -> list[tuple[str, str]]:
    return [
        (data.user_ids[user], data.catalogue.ids[item - 1])
        for user in range(data.n_users)
        for item in data.history(user)
    ]


THREE = [("u", "a"), ("u", "b"), ("u", "c")]


# --- names of columns ---


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("clash", ["item", "Item", "user", "time", "number", "name", "a0", "order", "select"])
def test_a_text_column_may_be_called_like_anything(form, clash, tmp_path):
    path = tmp_path / f"i.{form}"
    if form == "csv":
        path.write_text(f"asin,{clash},title\na,Hat,Red\n")
    elif form == "jsonl":
        path.write_text(json.dumps({"asin": "a", clash: "Hat", "title": "Red"}) + "\n")
    else:
        with duckdb.connect() as db:
            db.execute(f"copy (select 'a' as asin, 'Hat' as \"{clash}\", 'Red' as title) to '{path}'")
    (tmp_path / "e.csv").write_text("user,asin,time\nu,a,1\n")
    data = read(tmp_path, events=str(tmp_path / "e.csv"), items=str(path), item="asin")
    assert data.catalogue.attributes[0] == ((clash, "Hat"), ("title", "Red"))
    chosen = read(tmp_path, events=str(tmp_path / "e.csv"), items=str(path), item="asin", attributes=[clash])
    assert chosen.catalogue.texts()[0].endswith(f" {clash} is Hat")


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_names_that_differ_in_case_are_different_columns(form, tmp_path):
    if form == "csv":
        content = "item,Title,title,TITLE\na,One,two,THREE\nb,,two,\n"
    else:
        rows = [
            {"item": "a", "Title": "One", "title": "two"},
            {"item": "b", "title": "two"},
            {"item": "a", "TITLE": "-"},
        ]
        rows[0]["TITLE"] = "THREE"
        content = "".join(json.dumps(row) + "\n" for row in rows)
    found = texts(tmp_path, content, f"i.{form}")
    assert found["a"] == {"Title": "One", "title": "two", "TITLE": "THREE"}
    assert found["b"] == {"title": "two"}


def test_json_keys_of_any_name_are_kept(tmp_path):
    odd = {'q"uote': "1", "a.b": "2", "it's": "3", "$x": "4", "back\\slash": "5", "T": "6", "t": "7", "n_1": "8"}
    assert texts(tmp_path, json.dumps({"item": "a"} | odd) + "\n", "i.jsonl")["a"] == odd


@pytest.mark.parametrize(
    ("content", "line", "finding"),
    [
        (",item,title\n0,a,Hat\n", 1, "column 1 has no name (pandas index?)"),
        ("item,title,\na,Hat,\n", 1, "column 3 has no name"),
        ('"",item\n0,a\n', 1, "column 1 has no name (pandas index?)"),
        ("\n\n,item\n0,a\n", 3, "column 1 has no name (pandas index?)"),
        ("item,title,title\na,b,c\n", 1, "has two columns called 'title'"),
        ("item:token,item:float\na,1\n", 1, "has two columns called 'item'"),
    ],
)
@pytest.mark.parametrize("name", ["i.csv", "i.CSV.gz"])
def test_a_column_without_a_name_of_its_own_is_refused_in_its_line(content, line, finding, name, tmp_path):
    with pytest.raises(DataError, match=re.escape(f"{tmp_path}/{name}:{line}: {finding}")) as raised:
        texts(tmp_path, content, name)
    assert raised.value.problems[0].fix


def test_row_numbers_of_pandas_are_no_text_unless_they_are_asked_for(tmp_path):
    content = "Unnamed: 0,item,title\n0,a,Hat\n"
    assert texts(tmp_path, content)["a"] == {"title": "Hat"}
    assert texts(tmp_path, content, attributes=["Unnamed: 0"])["a"] == {"Unnamed: 0": "0"}
    with duckdb.connect() as db:
        db.execute(f"""copy (select 'a' as item, 'Hat' as title, 7 as "__index_level_0__") to '{tmp_path}/i.parquet'""")
    data = read(tmp_path, events=str(tmp_path / "events.csv"), items=str(tmp_path / "i.parquet"))
    assert data.catalogue.attributes[0] == (("title", "Hat"),)


# --- line ends, quotes, encodings, byte-order marks ---


@pytest.mark.parametrize("inner", ["\n", "\r\n", "\n\n\n"])
@pytest.mark.parametrize("outer", ["\n", "\r\n"])
@pytest.mark.parametrize("name", ["i.csv", "i.csv.gz"])
def test_lines_inside_a_quoted_cell_are_of_any_kind(inner, outer, name, tmp_path):
    rows = ["item,title", f'a,"Red{inner}hat"', "b,Sock", f'c,"x{inner}y, z"', ""]
    found = texts(tmp_path, outer.join(rows), name)
    assert {item: text["title"] for item, text in found.items()} == {"a": "Red hat", "b": "Sock", "c": "x y, z"}


def test_what_pythons_csv_writes_is_read(tmp_path):
    values = ['say "hi"', "two\nlines", "a, b", "semi; colon", "tab\there", "trailing ", "=1+1", "'quoted'", "\\slash"]
    items = [f"i{place}" for place in range(len(values))]
    with (tmp_path / "i.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["item", "title"], *zip(items, values, strict=True)])
    events = "user,item,time\n" + "".join(f"u,{item},1\n" for item in items)
    found = texts(tmp_path, (tmp_path / "i.csv").read_bytes(), of_events=events)
    expected = [" ".join(value.replace(";", ".").split()) for value in values]
    assert [found[item]["title"] for item in items] == expected


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "cp1252", "latin-1", "utf-32"])
@pytest.mark.parametrize("name", ["i.csv", "i.csv.gz", "i.jsonl", "i.tsv"])
def test_a_file_may_be_in_any_encoding_that_a_setting_names(encoding, name, tmp_path):
    if "jsonl" in name:
        content = json.dumps({"item": "a", "title": "Caf\u00e9"}, ensure_ascii=False) + "\n"
    else:
        content = "item,title\na,Caf\u00e9\n".replace(",", "\t" if name == "i.tsv" else ",")
    given = {} if encoding == "utf-8-sig" else {"encoding": encoding}
    (tmp_path / "events.csv").write_bytes(EVENTS.encode(encoding))
    data = content.encode(encoding)
    (tmp_path / name).write_bytes(gzip.compress(data, mtime=0) if name.endswith(".gz") else data)
    found = read(tmp_path, events=str(tmp_path / "events.csv"), items=str(tmp_path / name), **given)
    assert found.catalogue.attributes[0] == (("title", "Caf\u00e9"),)
    assert pairs(found) == THREE


@pytest.mark.parametrize("name", ["e.csv", "e.csv.gz", "e.jsonl", "e.jsonl.gz", "e.json"])
def test_a_byte_order_mark_is_no_part_of_a_name(name, tmp_path):
    content = EVENTS
    if "json" in name:
        content = "".join(json.dumps({"user": "u", "item": item, "time": at}) + "\n" for at, item in enumerate("abc"))
    assert pairs(with_events(tmp_path, codecs.BOM_UTF8 + content.encode(), name)) == THREE


@pytest.mark.parametrize("name", ["amazon_2014", "amazon_2018", "interactions", "yelp", "steam"])
def test_the_official_files_may_begin_with_one_too(name, tmp_path):
    plugin = find("datasets", name).load()
    config = plugin.config_type().model_validate(plugin.example(tmp_path))
    first = prepare(plugin(config), Path(tempfile.mkdtemp(dir=tmp_path)))
    for path in [path for path in tmp_path.iterdir() if path.is_file()]:
        packed = path.suffix == ".gz"
        content = codecs.BOM_UTF8 + (gzip.decompress(path.read_bytes()) if packed else path.read_bytes())
        path.write_bytes(gzip.compress(content, mtime=0) if packed else content)
    again = prepare(plugin(config), Path(tempfile.mkdtemp(dir=tmp_path)))
    assert (again.key, again.catalogue.key) == (first.key, first.catalogue.key)


def test_quotes_are_what_a_setting_says(tmp_path):
    assert texts(tmp_path, 'item,title\na,5" nail\nb,"A\n', quote="")["b"] == {"title": '"A'}
    assert texts(tmp_path, "item,title\na,'x, y'\n", quote="'")["a"] == {"title": "x, y"}
    assert texts(tmp_path, "item^title\na^x, y\n", delimiter="^", of_events=EVENTS.replace(",", "^"))["a"] == {
        "title": "x, y"
    }
    for bad in ({"quote": "''"}, {"delimiter": ""}, {"encoding": "no-such"}, {"encoding": "zip"}):
        with pytest.raises(ValidationError):
            texts(tmp_path, EVENTS, **bad)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"quote": "\u00e9"}, "should be one visible ASCII character, or empty"),
        ({"quote": "\u201c"}, "should be one visible ASCII character, or empty"),
        ({"quote": "\n"}, "should be one visible ASCII character, or empty"),
        ({"quote": "\t"}, "should be one visible ASCII character, or empty"),
        ({"quote": " "}, "should be one visible ASCII character, or empty"),
        ({"delimiter": '"'}, "should have a delimiter that is not the quote"),
        ({"delimiter": "|", "quote": "|"}, "should have a delimiter that is not the quote"),
    ],
)
def test_a_quote_is_one_ascii_character_and_no_delimiter(given, said, tmp_path):
    with pytest.raises(ValidationError, match=said):
        with_events(tmp_path, EVENTS, **given)


def test_the_quote_is_never_guessed_to_be_the_delimiter(tmp_path):
    content = "user,item,time\n|u|,|a,b|,1\n"
    assert pairs(with_events(tmp_path, content, quote="|")) == [("u", "a,b")]
    assert pairs(with_events(tmp_path, "|user|,|item|,|time|\n|u|,|a|,1\n", quote="|")) == [("u", "a")]


# --- endings ---


@pytest.mark.parametrize("name", ["e.CSV", "e.Csv.GZ", "E.TXT", "e.csv.Gz"])
def test_endings_are_read_in_any_case(name, tmp_path):
    assert pairs(with_events(tmp_path, EVENTS, name)) == THREE


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_a_txt_file_is_a_table(delimiter, tmp_path):
    assert pairs(with_events(tmp_path, EVENTS.replace(",", delimiter), "e.txt")) == THREE


@pytest.mark.parametrize("name", ["e.json", "e.JSON", "e.ndjson", "e.json.gz"])
def test_json_is_an_array_or_lines(name, tmp_path):
    rows = [{"user": "u", "item": item, "time": at} for at, item in enumerate("abc")]
    if "nd" not in name:
        assert pairs(with_events(tmp_path, json.dumps(rows, indent=1), name)) == THREE
    assert pairs(with_events(tmp_path, "".join(json.dumps(row) + "\n" for row in rows), name)) == THREE


RECBOLE = "user_id:token\titem_id:token\trating:float\ttimestamp:float\nu\tb\t5\t2\nu\ta\t4\t1.5\nu\tc\t1\t3\n"


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"user": "user_id", "item": "item_id", "time": "timestamp"},
        {"user": "user_id:token", "item": "item_id:token", "time": "timestamp:float"},
    ],
)
def test_the_typed_files_of_recbole_are_read(given, tmp_path):
    (tmp_path / "x.inter").write_text(RECBOLE)
    (tmp_path / "x.item").write_text(
        "item_id:token\ttitle:token_seq\tclass:token_seq\na\tRed hat\tA B\nb\tSock\t\nc\tShoe\tC\n"
    )
    data = read(
        tmp_path,
        events=str(tmp_path / "x.inter"),
        items=str(tmp_path / "x.item"),
        rating="rating",
        min_rating=2.0,
        **given,
    )
    assert pairs(data) == [("u", "a"), ("u", "b")]
    assert data.catalogue.attributes[0] == (("title", "Red hat"), ("class", "A B"))


# --- refusals ---


@pytest.mark.parametrize(
    ("content", "line", "finding", "fix"),
    [
        (
            'user,item,time\nu,"a\n\nb",1\nu,c\n',
            5,
            "cannot be read as a table: Expected Number of Columns: 3",
            "delimiter",
        ),
        (
            "user,item,time\n\n\nu,a,1\nu,b,2,3\n",
            5,
            "cannot be read as a table: Expected Number of Columns: 3",
            "quote",
        ),
        ('user,item,time\nu,a,1\nu,"b" x,2\nu,c,3\n', 3, "cannot be read as a table", "dataset.quote"),
        ('user,item,time\nu,"a\n1",1\nu,"b,2\nu,c,3\n', 4, "cannot be read as a table", "dataset.quote"),
        ('user,item,time\r\nu,"a",1\r\nu,b,2\nu,c,3\r\n', 3, "some lines end in CRLF and some in LF", "dos2unix"),
        (
            "user,item,time\nu,a,1\nu,b,2\nu,,3\n",
            4,
            "have no usable item, the first is event 3 (column 'item' holds '')",
            "broken_rows",
        ),
        (
            'user,item,time\nu,"a\nb",1\nu,b,x\n',
            4,
            "have no usable time, the first is event 2 (column 'time' holds 'x')",
            "broken_rows",
        ),
        ("user;item;when\nu;a;1\n", 1, "no column 'time'", "did you mean"),
        ("u a 1\nu b 2\n", 1, "no column 'user': the only one is 'u a 1'", "dataset.delimiter"),
    ],
)
@pytest.mark.parametrize("name", ["e.csv", "e.csv.gz"])
def test_a_refusal_names_file_line_finding_and_what_to_type(content, line, finding, fix, name, tmp_path):
    with pytest.raises(BenchError) as raised:
        with_events(tmp_path, content, name)
    [problem] = raised.value.problems
    assert problem.where == f"{tmp_path}/{name}:{line}"
    assert finding in problem.finding
    assert fix in problem.fix
    assert "\n" not in str(problem)


@pytest.mark.parametrize(
    ("content", "name", "finding"),
    [
        (EVENTS.encode("utf-16"), "e.csv", ":1: is in UTF-16, should be in UTF-8 -> dataset.encoding: utf-16"),
        (EVENTS.encode("utf-16"), "e.csv.gz", ":1: is in UTF-16, should be in UTF-8 -> dataset.encoding: utf-16"),
        (EVENTS.encode("utf-16-le"), "e.csv", ":1: is in UTF-16"),
        (
            EVENTS.replace("b", "caf\xe9").encode("latin-1"),
            "e.csv",
            ":3: is not in UTF-8 -> save it in UTF-8; for a table",
        ),
        (EVENTS.replace("b", "caf\xe9").encode("latin-1"), "e.csv.gz", ":3: is not in UTF-8"),
        (b"", "e.csv", ": is empty"),
        (b"", "e.csv.gz", ": is empty"),
        (b"\n\n", "e.txt", ": is empty"),
        (codecs.BOM_UTF8, "e.csv", ": is empty"),
        (b"user,item,time\n", "e.csv", ": holds no events"),
        (b"PK\3\4 and more", "e.csv", ": is a zip archive (an Excel workbook is one)"),
        (gzip.compress(EVENTS.encode(), mtime=0), "e.csv", ": is a gzip file"),
        (b"PAR1 and more", "e.csv", ": is a Parquet file"),
        (gzip.compress(EVENTS.encode(), mtime=0), "e.csv.gz", ": is a gzip file"),
        (b"user,item,time\n" + b'u,"' + b"x" * 300_000, "e.csv", ":2: cannot be read as a table"),
        (b"[1, 2]\n", "e.jsonl", ""),
        (b"", "e.jsonl", ""),
    ],
)
def test_what_is_no_table_says_what_it_is(content, name, finding, tmp_path):
    with pytest.raises(BenchError, match=re.escape(f"{tmp_path}/{name}{finding}")) as raised:
        with_events(tmp_path, content, name)
    assert raised.value.problems[0].fix
    assert not list(tmp_path.glob("*.part"))


def test_a_file_whose_encoding_is_another_than_said_names_the_line(tmp_path):
    with pytest.raises(DataError, match=r"e\.csv:2: is not in ASCII"):
        with_events(tmp_path, "user,item,time\nu,caf\u00e9,1\n", encoding="ascii")


def test_a_copy_in_utf8_is_never_named_instead_of_the_file(tmp_path):
    content = 'user,item,time\nu,"a\nb",1\nu,b\n'.encode("utf-16")
    with pytest.raises(DataError, match=re.escape(f"{tmp_path}/e.csv:4: cannot be read as a table")):
        with_events(tmp_path, content, encoding="utf-16")


# --- ids that do not meet ---


@pytest.mark.parametrize(
    ("events", "items", "hint"),
    [
        ("10.0,11.0,12.0", "10,11,12", "one of them writes 10.0 for 10"),
        ("10,11,12", "10.0,11.0,12.0", "one of them writes 10.0 for 10"),
        ("B1,B2,B3", "b1,b2,b3", "write the ids the same way"),
        ("1,2,3", "001,002,003", "write the ids the same way"),
    ],
)
def test_items_of_which_none_has_events_are_said_with_three_of_each(events, items, hint, tmp_path, cli):
    e, i = events.split(","), items.split(",")
    (tmp_path / "e.csv").write_text("user,item,time\n" + "".join(f"u,{item},{at}\n" for at, item in enumerate(e)))
    (tmp_path / "i.csv").write_text("item,title\n" + "".join(f"{item},Hat\n" for item in i))
    given = {"events": str(tmp_path / "e.csv"), "items": str(tmp_path / "i.csv")}
    data = read(tmp_path, **given)
    plugin = find("datasets", "table").load()
    [said] = warnings(plugin(plugin.config_type().model_validate(given)), data)
    for part in ("no id of the items is an item of the events", "i.csv", *(f"'{name}'" for name in e + i), hint):
        assert part in said
    sets = [part for name, value in given.items() for part in ("--set", f"{name}={value}")]
    assert said in cli("data", "describe", "table", *sets, "--results", tmp_path / "results").err
    assert Split(data).data is data


def test_the_spec_that_needs_their_texts_is_refused_with_the_same_words(tmp_path, cli):
    (tmp_path / "e.csv").write_text("user,item,time\nu,10.0,1\nu,11.0,2\nu,12.0,3\n")
    (tmp_path / "i.csv").write_text("item,title\n10,Hat\n11,Sock\n")
    (tmp_path / "s.yaml").write_text(
        "version: 1\nname: t\ndataset: {use: table, events: e.csv, items: i.csv}\nembeddings: {encoder: tfidf}\n"
    )
    ended = cli("embed", tmp_path / "s.yaml", "-o", tmp_path / "o.parquet", "--results", tmp_path / "results")
    assert ended.code == 1
    assert "no id of the items is an item of the events" in ended.err
    assert "'10', '11'" in ended.err
    assert "'10.0', '11.0', '12.0'" in ended.err


# --- the order of the file ---


def test_the_plan_of_events_holds_no_join_which_would_lose_the_order_of_the_file(tmp_path):
    (tmp_path / "e.csv").write_text(EVENTS)
    plugin = find("datasets", "table").load()
    table = plugin(plugin.config_type().model_validate({"events": str(tmp_path / "e.csv")}))
    with duckdb.connect() as db:
        plans = [relation.explain() for relation in table.events(db)]
    assert plans
    assert not any("join" in plan.lower() for plan in plans)


def test_events_of_one_time_stay_in_the_order_of_the_files(tmp_path):
    for part in range(3):
        rows = "".join(f"u,i{3 * part + row},5\n" for row in range(3))
        (tmp_path / f"e{part}.csv").write_text("user,item,time\n" + rows)
    for _ in range(5):
        data = read(tmp_path, events=str(tmp_path / "e*.csv"))
        assert pairs(data) == [("u", f"i{at}") for at in range(9)]


def test_of_an_item_described_twice_the_first_row_counts_in_a_long_file_too(tmp_path):
    (tmp_path / "e.csv").write_text("user,item,time\n" + "".join(f"u,i{at},1\n" for at in range(2_000)))
    (tmp_path / "i.csv").write_text("item,title\n" + "".join(f"i{at % 100},row{at // 100}\n" for at in range(300)))
    data = read(tmp_path, events=str(tmp_path / "e.csv"), items=str(tmp_path / "i.csv"))
    found = dict(zip(data.catalogue.ids, data.catalogue.attributes, strict=True))
    assert {found[f"i{at}"] for at in range(100)} == {(("title", "row0"),)}
    assert data.tally["items_described_twice"] == 200


@pytest.mark.parametrize(
    ("second", "line", "finding", "fix"),
    [
        ("\n\nuser,item,time\nv,b,2\n", 3, "has its header in line 3, the first part ({0}) in line 1", "blank lines"),
        ("user;item;time\nv;b;2\n", 1, "has ';' between its values, the first part ({0}) ','", "same delimiter"),
        ("user,item\nv,b\n", 1, "has the columns user, item, the first part ({0}) user, item, time", "same columns"),
    ],
)
def test_parts_that_are_written_differently_are_refused_with_both_names(second, line, finding, fix, tmp_path):
    (tmp_path / "e0.csv").write_text("user,item,time\nu,a,1\n")
    (tmp_path / "e1.csv").write_text(second)
    with pytest.raises(DataError) as raised:
        read(tmp_path, events=str(tmp_path / "e*.csv"))
    [problem] = raised.value.problems
    assert (problem.where, problem.finding) == (f"{tmp_path}/e1.csv:{line}", finding.format(tmp_path / "e0.csv"))
    assert fix in problem.fix


def test_parts_with_as_many_blank_lines_before_the_header_are_read_whole(tmp_path):
    for part in range(2):
        (tmp_path / f"e{part}.csv").write_text(f"\n\nuser,item,time\nu,i{2 * part},1\nu,i{2 * part + 1},1\n")
    assert pairs(read(tmp_path, events=str(tmp_path / "e*.csv"))) == [("u", f"i{at}") for at in range(4)]


NO_IDS = ["nan", "NaN", "-nan", "None", "none", "null", "(null)", "NA", "N/A", "#N/A", "<NA>", "NaT", r"\N"]


@pytest.mark.parametrize("column", ["user", "item"])
@pytest.mark.parametrize("word", NO_IDS)
def test_a_word_that_programs_write_for_a_missing_id_is_none(word, column, tmp_path):
    row = f"{word},d,4\n" if column == "user" else f"u,{word},4\n"
    with pytest.raises(DataError, match=f"1 of 4 events have no usable {column}, the first is event 4"):
        with_events(tmp_path, EVENTS + row)


@pytest.mark.parametrize("word", ["-", "0", "Nana", "nan1", "N", "NaN "])
def test_other_short_ids_are_ids(word, tmp_path):
    assert pairs(with_events(tmp_path, f"user,item,time\n{word},a,1\n")) == [(word, "a")]
