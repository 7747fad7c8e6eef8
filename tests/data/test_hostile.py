"""Raw files that are broken or mean harm: each a clear error with its place, or a repair that is counted."""

from __future__ import annotations

import gzip
import json
import re
import tempfile
from pathlib import Path
from typing import Any

import pytest

from llmemb_bench.data.prepare import prepare
from llmemb_bench.data.recdata import RecData
from llmemb_bench.errors import BenchError, DataError, MissingError
from llmemb_bench.registry import find

EVENTS = [
    {"reviewerID": f"U{user}", "asin": f"B{(user + place) % 9}", "unixReviewTime": 1000 + place}
    for user in range(8)
    for place in range(4)
]
ITEMS = [{"asin": f"B{place}", "title": f"Hat {place}"} for place in range(9)]


def lines(rows: list[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def event(**changes: Any) -> dict[str, Any]:
    return {"reviewerID": "U1", "asin": "B1", "unixReviewTime": 5} | changes


def prepared(folder: Path, name: str, **settings: Any) -> RecData:
    plugin = find("datasets", name).load()
    return prepare(plugin(plugin.config_type().model_validate(settings)), Path(tempfile.mkdtemp(dir=folder)))


def hats(folder: Path, events: bytes, items: bytes = lines(ITEMS), *, packed: bool = True, **settings: Any) -> RecData:
    """Amazon's form, gzipped unless `packed` says that the bytes are the file."""
    pack = gzip.compress if packed else bytes
    (folder / "Hats.json.gz").write_bytes(pack(events))
    (folder / "meta_Hats.json.gz").write_bytes(gzip.compress(items))
    return prepared(folder, "amazon_2018", path=str(folder), category="Hats", **settings)


NOT_JSON = "is no JSON object of the expected form"


@pytest.mark.parametrize(
    ("events", "place", "finding"),
    [
        (lines(EVENTS) + b'{"reviewerID":"U1","as', ":33", f"{NOT_JSON}: unexpected end of data"),
        (lines(EVENTS[:5]) + b'{"reviewerID":"U1","as\n' + lines(EVENTS), ":6", NOT_JSON),
        (lines(EVENTS[:3]) + '{"reviewerID":"caf\xe9"}\n'.encode("latin-1"), ":4", f"{NOT_JSON}: invalid UTF-8"),
        (lines(EVENTS[:3]) + b'{"reviewerID":"U\x00"}\n', ":4", f"{NOT_JSON}: unexpected control character"),
        (lines(EVENTS) + b'{"reviewerID":"\\ud800"}\n', ":33", f"{NOT_JSON}: no low surrogate"),
        ('{"reviewerID":"a"}\n'.encode("utf-16"), ":1", f"{NOT_JSON}: UTF-16"),
        (b"\xef\xbb\xbf" + lines(EVENTS), ":1", f"{NOT_JSON}: byte order mark"),
        (b"<html>Not found</html>\n", ":1", NOT_JSON),
        (lines(EVENTS) + b"[1, 2]\n", ":33", f"{NOT_JSON}: Expected OBJECT"),
        (lines(EVENTS) + b'{"asin":"a","asin":"b"}\n', ":33", f"{NOT_JSON}: Object"),
        (lines([*EVENTS, event(unixReviewTime=10**30)]), ":33", f"{NOT_JSON}: Failed to cast"),
        (lines([*EVENTS, event(unixReviewTime="yesterday")]), ":33", f"{NOT_JSON}: Failed to cast"),
        (lines(EVENTS) + b"null\n", "", "1 of 33 events have no usable user, the first is event 33"),
        (lines([*EVENTS, event(reviewerID="")]), "", "1 of 33 events have no usable user, the first is event 33"),
        (lines([{"asin": "B1", "unixReviewTime": 5}] * 3), "", "3 of 3 events have no usable user"),
        (lines([{"reviewerID": "a", "asin": "B1"}] * 3), "", "3 of 3 events have no usable time"),
        (lines([*EVENTS, event(unixReviewTime=-5)]), "", "1 of 33 events have no usable time, the first is event 33"),
        (lines([event(unixReviewTime=1_500_000_000_000)]), "", "1 of 1 events have no usable time"),
        (b"", "", "holds no events"),
        (b"\n\n\n", "", "holds no events"),
    ],
)
def test_events_that_cannot_be_read_name_the_file_the_line_and_the_fault(events, place, finding, tmp_path):
    with pytest.raises(DataError, match=re.escape(f"{tmp_path}/Hats.json.gz{place}: {finding}")) as raised:
        hats(tmp_path, events)
    assert raised.value.problems[0].fix


@pytest.mark.parametrize(
    ("content", "finding"),
    [
        (gzip.compress(lines(EVENTS))[:-12], "Unexpected end of GZIP stream"),
        (gzip.compress(lines(EVENTS))[:40], "Unexpected end of GZIP stream"),
        (gzip.compress(lines(EVENTS)) + b"garbage", "Unexpected end of GZIP stream"),
        (b"plain text", "not a GZIP stream"),
        (b"PK\3\4 a zip file by another name", "not a GZIP stream"),
        (b"", "not a GZIP stream"),
    ],
)
def test_a_broken_archive_is_named(content, finding, tmp_path):
    with pytest.raises(DataError, match=re.escape(f"{tmp_path}/Hats.json.gz: cannot be read: {finding}")):
        hats(tmp_path, content, packed=False)


def test_broken_rows_may_be_dropped_and_are_counted(tmp_path):
    broken = [event(reviewerID=None), event(asin=""), event(unixReviewTime=-1), event(unixReviewTime=10**13)]
    data = hats(tmp_path, lines([*EVENTS, *broken]), broken_rows="drop")
    assert len(data.items) == 32
    assert {name: count for name, count in data.tally.items() if count} == {
        "events_read": 36,
        "events_without_user": 1,
        "events_without_item": 1,
        "events_without_time": 2,
    }


@pytest.mark.parametrize(
    ("events", "users", "items"),
    [
        (lines([event(reviewerID=7), event(reviewerID="007"), event(reviewerID="7")]), ["007", "7"], ["B1"]),
        (lines([event(asin="0010"), event(asin=10)]), ["U1"], ["0010", "10"]),
        (lines([event(reviewerID="a\0b", asin="x\ny\t")]), ["a\0b"], ["x\ny\t"]),
        (lines([event(reviewerID="\U0001f600", asin="\u202eB")]), ["\U0001f600"], ["\u202eB"]),
        (lines([event(reviewerID="' or 1=1; --", asin='"; drop table raw')]), ["' or 1=1; --"], ['"; drop table raw']),
        (lines([event()]).replace(b"\n", b"\r\n"), ["U1"], ["B1"]),
        (b"\n" + lines([event()]) + b"\n\n", ["U1"], ["B1"]),
        (lines([event() | {"nested": json.loads("[" * 500 + "]" * 500)}]), ["U1"], ["B1"]),
    ],
)
def test_odd_ids_and_lines_arrive_as_they_are(events, users, items, tmp_path):
    data = hats(tmp_path, events)
    assert (sorted(data.user_ids), sorted(data.catalogue.ids)) == (users, items)


def test_two_gzip_members_are_one_file(tmp_path):
    half = gzip.compress(lines(EVENTS[:16]))
    assert len(hats(tmp_path, half + gzip.compress(lines(EVENTS[16:])), packed=False).items) == 32


def test_a_title_of_ten_megabytes_is_cut_and_counted(tmp_path):
    items = lines([{"asin": "B0", "title": "x " * 5_000_000}, *ITEMS[1:]])
    data = hats(tmp_path, lines(EVENTS), items, attribute_chars=None)
    assert max(len(title) for [(_, title)] in data.catalogue.attributes) == 99_999  # 100,000, less a blank at the end
    assert data.tally["values_cut"] == 1


def test_a_line_beyond_all_measure_is_an_error(tmp_path):
    items = lines([{"asin": "B0", "title": "x" * 40_000_000}])
    with pytest.raises(DataError, match=r"meta_Hats\.json\.gz: a line is longer than 16,777,216 bytes"):
        hats(tmp_path, lines(EVENTS), items)


def test_of_an_item_described_twice_the_first_counts_and_the_other_is_counted(tmp_path):
    data = hats(tmp_path, lines(EVENTS), lines([*ITEMS, {"asin": "B0", "title": "Other"}]))
    assert dict(zip(data.catalogue.ids, data.catalogue.attributes, strict=True))["B0"] == (("title", "Hat 0"),)
    assert data.tally["items_described_twice"] == 1


def test_a_file_without_items_leaves_items_without_text(tmp_path):
    data = hats(tmp_path, lines(EVENTS), b"")
    assert not data.catalogue.attributes.filled().any()
    assert len(data.catalogue.texts()) == 9


def test_a_folder_whose_name_is_a_pattern_is_a_folder(tmp_path):
    folder = tmp_path / "a*[b]?"
    folder.mkdir()
    (tmp_path / "ab").mkdir()
    assert len(hats(folder, lines(EVENTS)).items) == 32


@pytest.mark.parametrize(
    ("name", "content", "finding"),
    [
        ("u.data", b"1\t1\t4\t5\n1\t2\t3\n", r"u\.data:2: cannot be read as a table: Expected Number of Columns: 4"),
        ("u.data", b"1\t1\t4\t5\n1\t2\t3\t4\t5\n", r"u\.data:2: cannot be read as a table"),
        ("u.data", b"1\t1\t4\tlate\n", r"u\.data: 1 of 1 events have no usable time"),
        ("u.data", b"", r"u\.data: holds no events"),
        ("u.item", b"1|Title\n", r"u\.item:1: cannot be read as a table: Expected Number of Columns: 24"),
    ],
)
def test_a_table_that_is_none_names_its_line(name, content, finding, tmp_path):
    given = find("datasets", "movielens").load().example(tmp_path)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=finding):
        prepared(tmp_path, "movielens", **given)


@pytest.mark.parametrize(
    "literal",
    [
        "__import__('os').system('touch {evil}')",
        "{{'asin': __import__('os').system('touch {evil}')}}",
        "{{'asin': 'B0', 'title': open('{evil}', 'w')}}",
        "{{'asin': 'B0'",
        "['asin']",
    ],
)
def test_python_literals_are_read_and_never_evaluated(literal, tmp_path):
    given = find("datasets", "amazon_2014").load().example(tmp_path)
    items = literal.format(evil=tmp_path / "evil")
    (tmp_path / "meta_Beauty.json.gz").write_bytes(gzip.compress(f"{items}\n".encode()))
    with pytest.raises(DataError, match=r"meta_Beauty\.json\.gz:1: is neither JSON nor a Python literal"):
        prepared(tmp_path, "amazon_2014", **given)
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize(
    ("literal", "title"),
    [
        ("""{'asin': 'B0', 'title': "It's", 'price': 1.5}""", "It's"),
        (r"""{u'asin': u'B0', u'title': u'caf\xe9 \u20ac \U0001f600 \'quoted\''}""", "café € \U0001f600 'quoted'"),
        ("""{'asin': 'B0', 'title': 'say "hi"', 'categories': [['a', 'b']], 'description': None}""", 'say "hi"'),
        (r"""{'asin': 'B0', 'title': 'back\\slash, None and True: {\'asin\': \'B1\'}'}""", None),
    ],
)
def test_python_strings_mean_what_python_means_by_them(literal, title, tmp_path):
    import ast

    given = find("datasets", "amazon_2014").load().example(tmp_path)
    (tmp_path / "meta_Beauty.json.gz").write_bytes(gzip.compress(f"{literal}\n".encode()))
    data = prepared(tmp_path, "amazon_2014", **given, attributes=["title"])
    found = dict(zip(data.catalogue.ids, data.catalogue.attributes, strict=True))["B0"]
    assert found == (("title", title or ast.literal_eval(literal)["title"]),)


@pytest.mark.parametrize("url", ["https://no.such.host.invalid/e.csv", "s3://bucket/e.parquet"])
def test_a_remote_file_is_read_only_when_asked_for(url, tmp_path):
    with pytest.raises(BenchError, match=r"is not on this machine -> set dataset\.remote: true"):
        prepared(tmp_path, "table", events=url)
    with pytest.raises(MissingError):  # no such host, or no way to get DuckDB's httpfs: both say so
        prepared(tmp_path, "table", events=url, remote=True)
