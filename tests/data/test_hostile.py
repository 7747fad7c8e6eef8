"""Raw files that are broken or mean harm: each a clear error with its place, or a repair that is counted."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path
from typing import Any

import duckdb
import pytest
from pydantic import ValidationError

from llmemb_bench.base.errors import BenchError, DataError, MissingError, SpecError
from llmemb_bench.contracts import UNFILTERED
from llmemb_bench.data.zstandard import is_whole
from llmemb_bench.registry.entries import find
from llmemb_bench.values.recdata import RecData
from tests.helpers.datasets import read

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


def hats(folder: Path, events: bytes, items: bytes = lines(ITEMS), *, packed: bool = True, **settings: Any) -> RecData:
    """Amazon's form, gzipped unless `packed` says that the bytes are the file."""
    pack = gzip.compress if packed else bytes
    (folder / "Hats.json.gz").write_bytes(pack(events))
    (folder / "meta_Hats.json.gz").write_bytes(gzip.compress(items))
    return read(folder, "amazon_2018", path=str(folder), category="Hats", **settings)


NOT_JSON = "is not a JSON object of the expected form"


@pytest.mark.parametrize(
    ("events", "place", "finding"),
    [
        (lines(EVENTS) + b'{"reviewerID":"U1","as', ":33", f"{NOT_JSON}: unexpected end of data"),
        (lines(EVENTS[:5]) + b'{"reviewerID":"U1","as\n' + lines(EVENTS), ":6", NOT_JSON),
        (lines(EVENTS[:3]) + '{"reviewerID":"caf\xe9"}\n'.encode("latin-1"), ":4", f"{NOT_JSON}: invalid UTF-8"),
        (lines(EVENTS[:3]) + b'{"reviewerID":"U\x00"}\n', ":4", f"{NOT_JSON}: unexpected control character"),
        (lines(EVENTS) + b'{"reviewerID":"\\ud800"}\n', ":33", f"{NOT_JSON}: no low surrogate"),
        ('{"reviewerID":"a"}\n'.encode("utf-16"), ":1", f"{NOT_JSON}: UTF-16"),
        (b"<html>Not found</html>\n", ":1", NOT_JSON),
        (lines(EVENTS) + b"[1, 2]\n", ":33", f"{NOT_JSON}: Expected OBJECT"),
        (lines(EVENTS) + b'{"asin":"a","asin":"b"}\n', ":33", f"{NOT_JSON}: Object"),
        (
            lines([*EVENTS, event(unixReviewTime=10**30)]),
            ":33",
            "1 of 33 events have no usable time, the first is event 33",
        ),
        (
            lines([*EVENTS, event(unixReviewTime="yesterday")]),
            ":33",
            "1 of 33 events have no usable time, the first is event 33",
        ),
        (lines(EVENTS) + b"null\n", ":33", "1 of 33 events have no usable user, the first is event 33"),
        (lines([*EVENTS, event(reviewerID="")]), ":33", "1 of 33 events have no usable user, the first is event 33"),
        (lines([{"asin": "B1", "unixReviewTime": 5}] * 3), ":1", "3 of 3 events have no usable user"),
        (lines([{"reviewerID": "a", "asin": "B1"}] * 3), ":1", "3 of 3 events have no usable time"),
        (
            lines([*EVENTS, event(unixReviewTime=-5)]),
            ":33",
            "1 of 33 events have no usable time, the first is event 33",
        ),
        (lines([event(unixReviewTime=1_500_000_000_000)]), ":1", "1 of 1 events have no usable time"),
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
        (gzip.compress(lines(EVENTS), mtime=0)[:-12], "Unexpected end of GZIP stream"),
        (gzip.compress(lines(EVENTS), mtime=0)[:40], "Unexpected end of GZIP stream"),
        (gzip.compress(lines(EVENTS), mtime=0) + b"garbage", "Unexpected end of GZIP stream"),
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
        ("u.data", b"1\t1\t4\tlate\n", r"u\.data:1: 1 of 1 events have no usable time"),
        ("u.data", b"", r"u\.data: holds no events"),
        ("u.item", b"1|Title\n", r"u\.item:1: cannot be read as a table: Expected Number of Columns: 24"),
    ],
)
def test_a_table_that_is_none_names_its_line(name, content, finding, tmp_path):
    given = find("datasets", "movielens").load().example(tmp_path)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=finding):
        read(tmp_path, "movielens", **given)


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
        read(tmp_path, "amazon_2014", **given)
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
    data = read(tmp_path, "amazon_2014", **given, attributes=["title"])
    found = dict(zip(data.catalogue.ids, data.catalogue.attributes, strict=True))["B0"]
    assert found == (("title", title or ast.literal_eval(literal)["title"]),)


@pytest.mark.parametrize("url", ["https://no.such.host.invalid/e.csv", "s3://bucket/e.parquet"])
def test_a_remote_file_is_read_only_when_asked_for(url, tmp_path):
    with pytest.raises(BenchError, match=r"is not on this machine -> set dataset\.remote: true"):
        read(tmp_path, "table", events=url)
    with pytest.raises(MissingError):  # no such host, or no way to get DuckDB's httpfs: both say so
        read(tmp_path, "table", events=url, remote=True)


# --- what DuckDB would guess, round or read past without a word ---


def table(folder: Path, content: str, name: str = "e.csv", **settings: Any) -> RecData:
    (folder / name).write_text(content)
    return read(folder, "table", events=str(folder / name), **settings)


def order(data: RecData) -> list[str]:
    return [data.catalogue.ids[item - 1] for item in data.items]


def test_a_second_header_in_the_middle_loses_no_row(tmp_path):
    content = "user,item,time\nu,a,1\nu,b,2\nuser,item,time,rating\nv,a,3,5\nv,b,4,5\n"
    with pytest.raises(DataError, match=r"e\.csv:4: cannot be read as a table: Expected Number of Columns: 3 Found: 4"):
        table(tmp_path, content)


@pytest.mark.parametrize("content", ["user,item,time\nu,a\nu,b,2\n", "user,item,time\nu,a,1,9\n"])
def test_a_row_of_another_width_names_its_line(content, tmp_path):
    with pytest.raises(DataError, match=r"e\.csv:2: cannot be read as a table: Expected Number of Columns: 3"):
        table(tmp_path, content)


def test_columns_are_named_by_the_first_line_alone(tmp_path):
    with pytest.raises(DataError, match=r"no column 'user'"):
        table(tmp_path, "made by a tool\nuser,item,time\nu,a,1\n")
    with pytest.raises(DataError, match=r"e\.csv:1: has two columns called 'item'"):
        table(tmp_path, "user,item,item,time\nu,a,b,1\n")
    with pytest.raises(DataError, match=r"e\.csv: is empty"):
        table(tmp_path, "")
    assert order(table(tmp_path, "\ufeffuser;item;time\nu;a,1;1\n")) == ["a,1"]
    assert order(table(tmp_path, 'user|"item"|time\nu|"a|b"|1\n')) == ["a|b"]


def test_part_files_of_other_columns_are_named(tmp_path):
    (tmp_path / "p-1.csv").write_text("user,item,time\nu,a,1\n")
    (tmp_path / "p-2.csv").write_text("user,time,item\nu,2,b\n")
    with pytest.raises(DataError, match=r"p-2\.csv:1: has the columns user, time, item, the first part .*p-1\.csv"):
        read(tmp_path, "table", events=str(tmp_path / "p-*.csv"))


@pytest.mark.parametrize(("unit", "times"), [("s", ("1.9", "1.6", "1.51")), ("ms", ("2.0", "1.999", "1.5"))])
@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_fractions_of_a_unit_keep_their_order(unit, times, form, tmp_path):
    rows = list(zip("abc", times, strict=True))
    if form == "csv":
        content = "user,item,time\n" + "".join(f"u,{item},{time}\n" for item, time in rows)
    else:
        content = "".join(f'{{"user":"u","item":"{item}","time":{time}}}\n' for item, time in rows)
    data = table(tmp_path, content, f"e.{form}", time_unit=unit)
    assert (order(data), data.time_unit) == (["c", "b", "a"], "us")


def test_json_lines_rewrite_no_id_and_no_text(tmp_path):
    users = ["2020-1-1", "2020-01-01", 12345678901234567890123, 12345678901234567890124, 1.5, True]
    rows = [{"user": user, "item": f"i{place}", "time": place} for place, user in enumerate(users)]
    (tmp_path / "i.jsonl").write_text(
        '{"item":"i0","title":"1984-6-8","price":2}\n{"item":"i1","title":"x","price":"$5","tags":["a",1]}\n'
    )
    content = "".join(json.dumps(row) + "\n" for row in rows)
    data = table(tmp_path, content, "e.jsonl", items=str(tmp_path / "i.jsonl"))
    assert list(data.user_ids) == [
        "2020-1-1",
        "2020-01-01",
        "12345678901234567890123",
        "12345678901234567890124",
        "1.5",
        "true",
    ]
    assert data.catalogue.attributes[0] == (("title", "1984-6-8"), ("price", "2"))
    assert data.catalogue.attributes[1] == (("title", "x"), ("price", "$5"), ("tags", "a, 1"))


def test_a_rating_that_is_no_number_is_not_high_enough(tmp_path):
    content = "user,item,time,stars\nu,a,1,5\nu,b,2,nan\nu,c,3,1\n"
    with pytest.raises(DataError, match="1 of 3 events have no usable rating, the first is event 2"):
        table(tmp_path, content, rating="stars", min_rating=3.0)
    data = table(tmp_path, content, rating="stars", min_rating=3.0, broken_rows="drop")
    assert (order(data), data.tally["events_without_rating"]) == (["a"], 1)


def zstd(folder: Path, rows: int) -> Path:
    path = folder / "e.csv.zst"
    with duckdb.connect() as db:
        db.execute(
            f"copy (select 'u' || i % 7 as \"user\", 'i' || i as item, i as time from range({rows}) r(i)) "
            f"to '{path}' (format csv, header, compression zstd)"
        )
    return path


@pytest.mark.parametrize("lost", [1, 2, 5, 59, 1_000])
def test_a_zstd_file_that_is_cut_off_is_found_out(lost, tmp_path):
    path = zstd(tmp_path, 60_000)
    assert is_whole(path)
    assert len(read(tmp_path, "table", events=str(path)).items) == 60_000
    path.write_bytes(path.read_bytes()[:-lost])
    with pytest.raises(DataError, match=r"e\.csv\.zst: cannot be read: the zstd stream is cut off or broken"):
        read(tmp_path, "table", events=str(path))


def test_several_zstd_frames_are_one_file_and_anything_behind_them_is_none(tmp_path):
    path = zstd(tmp_path, 100)
    whole = path.read_bytes()
    path.write_bytes(whole + whole)
    assert is_whole(path)
    for broken in (whole + b"x", b"plain", b""):
        path.write_bytes(broken)
        assert not is_whole(path)


@pytest.mark.parametrize(
    ("ratings", "finding"),
    [
        ("1,2,4.0,1000\n", r"ratings\.csv:1: begins with 1,2,4\.0,1000, should begin with userId,movieId"),
        ("movieId,userId,rating,timestamp\n1,2,4.0,1000\n", "begins with movieId,userId"),
    ],
)
def test_movielens_without_its_header_or_with_another_is_refused(ratings, finding, tmp_path):
    (tmp_path / "ratings.csv").write_text(ratings)
    (tmp_path / "movies.csv").write_text("movieId,title,genres\n2,A,War\n")
    with pytest.raises(DataError, match=finding):
        read(tmp_path, "movielens", path=str(tmp_path), release="25m")


def test_a_yelp_date_that_is_none_is_counted_with_its_event(tmp_path):
    given = find("datasets", "yelp").load().example(tmp_path)
    path = tmp_path / "yelp_academic_dataset_review.json"
    path.write_text(path.read_text() + '{"user_id":"u","business_id":"b1","date":"2019-13-45"}\n')
    with pytest.raises(DataError, match="1 of 33 events have no usable time, the first is event 33"):
        read(tmp_path, "yelp", **given)
    assert read(tmp_path, "yelp", **given, broken_rows="drop").tally["events_without_time"] == 1


@pytest.mark.parametrize("name", ["/abs/file.gz", "*", "**x", "a\0b", "x" * 300, "../../etc/passwd"])
@pytest.mark.parametrize(
    ("plugin", "setting"), [("amazon_2014", "reviews"), ("table", "events"), ("interactions", "file")]
)
def test_a_name_of_any_kind_is_a_file_or_none(plugin, setting, name, tmp_path):
    given = {"path": str(tmp_path), "category": "Beauty"} if plugin == "amazon_2014" else {}
    with pytest.raises(BenchError):
        read(tmp_path, plugin, **given, **{setting: name})


def test_a_circle_of_links_is_no_file(tmp_path):
    (tmp_path / "x.csv").symlink_to(tmp_path / "x.csv")
    with pytest.raises(MissingError, match=r"x\.csv"):
        read(tmp_path, "table", events=str(tmp_path / "x.csv"))


@pytest.mark.parametrize("literal", ["[" * 5_000 + "]" * 5_000, "'\\Uffffffff'", "'\\U00110000'"])
def test_a_literal_that_means_harm_is_an_error_with_its_line(literal, tmp_path):
    given = find("datasets", "steam").load().example(tmp_path)
    path = next(path for path in sorted(tmp_path.iterdir()) if "review" in path.name.lower())
    content = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(content + f"{{'username': {literal}, 'product_id': '1'}}\n".encode()))
    with pytest.raises(DataError, match=r":\d+: is neither JSON nor a Python literal"):
        read(tmp_path, "steam", **given)


def test_the_papers_figures_are_not_expected_under_other_filters(tmp_path):
    plugin = find("datasets", "interactions").load()
    (tmp_path / "inter.txt").write_text("1 1\n")
    for given, expected in (({}, True), ({"min_user_events": 5}, False), ({"repeats": "drop"}, False)):
        made = plugin(plugin.config_type().model_validate({"file": str(tmp_path / "inter.txt")} | given))
        assert made._has(UNFILTERED) is expected


@pytest.mark.parametrize(
    "given",
    [
        {"min_user_events": -5},
        {"min_user_events": 10**44},
        {"min_rating": float("inf")},
        {"memory_limit": "999999999999999TB"},
        {"attributes": ["title", "title"]},
    ],
)
def test_settings_beyond_all_reason_are_refused(given, tmp_path):
    with pytest.raises(ValidationError):
        table(tmp_path, "user,item,time\nu,a,1\n", **given)


def test_attributes_without_items_are_refused(tmp_path):
    with pytest.raises(SpecError, match="there are no texts of items to take them from"):
        table(tmp_path, "user,item,time\nu,a,1\n", attributes=["title"])
