"""From raw relations to histories: order, filters, ids and texts; and the real data sets' known counts."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from llmemb_bench.base.errors import DataError, MissingError, SpecError
from llmemb_bench.data.prepare import load, prepare
from llmemb_bench.data.statistics import describe
from llmemb_bench.data.texts import clean
from llmemb_bench.registry.entries import find, names
from llmemb_bench.report.data import differences
from llmemb_bench.settings.split import SplitConfig
from llmemb_bench.values.recdata import RecData
from llmemb_bench.values.split import Split
from tests.benchmarks import plain_route
from tests.helpers.datasets import read
from tests.helpers.raw_amazon import CATEGORY, write


def from_rows(folder: Path, rows: list[tuple[str, str, int]], **given) -> RecData:
    lines = "".join(f"{user},{item},{time}\n" for user, item, time in rows)
    (folder / "e.csv").write_text("user,item,time\n" + lines)
    return read(folder, "table", events=str(folder / "e.csv"), **given)


def histories(data: RecData) -> dict[str, list[str]]:
    return {
        user: [data.catalogue.ids[item - 1] for item in data.history(row)] for row, user in enumerate(data.user_ids)
    }


def test_events_are_in_time_order_and_ties_in_file_order(tmp_path):
    rows = [("u", "c", 3), ("u", "a", 1), ("v", "z", 9), ("u", "b2", 2), ("u", "b1", 2), ("v", "y", 9)]
    assert histories(from_rows(tmp_path, rows)) == {"u": ["a", "b2", "b1", "c"], "v": ["z", "y"]}


def test_one_pass_of_the_core_counts_once_and_iteration_goes_on(tmp_path):
    # Without item x (one event) user u keeps one event; only iteration sees that and drops u, then item a.
    rows = [("u", "x", 1), ("u", "a", 2), ("v", "a", 1), ("v", "b", 2), ("v", "c", 3), ("w", "b", 1), ("w", "c", 2)]
    once = from_rows(tmp_path, rows, min_user_events=2, min_item_events=2)
    assert histories(once) == {"u": ["a"], "v": ["a", "b", "c"], "w": ["b", "c"]}
    stable = from_rows(tmp_path, rows, min_user_events=2, min_item_events=2, iterate_core=True)
    assert histories(stable) == {"v": ["b", "c"], "w": ["b", "c"]}
    long = from_rows(tmp_path, rows, min_user_events=2, min_item_events=2, min_history=3)
    assert histories(long) == {"v": ["a", "b", "c"]}


def test_a_later_repeat_is_kept_or_dropped_as_asked(tmp_path):
    rows = [("u", "a", 3), ("u", "b", 2), ("u", "a", 1)]
    assert histories(from_rows(tmp_path, rows)) == {"u": ["a", "b", "a"]}
    assert histories(from_rows(tmp_path, rows, repeats="drop")) == {"u": ["a", "b"]}


def prepared_bytes(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@settings(deadline=None, max_examples=25)
@given(
    events=st.permutations(range(40)),
    items=st.permutations(range(9)),
    iterate=st.booleans(),
    repeats=st.sampled_from(["keep", "drop", "drop_simultaneous"]),
)
def test_no_order_of_rows_with_distinct_times_changes_a_prepared_byte(
    tmp_path_factory, events, items, iterate, repeats
):
    def made(event_order, item_order) -> dict[str, bytes]:
        folder = tmp_path_factory.mktemp("shuffled")
        rows = [f"u{place % 5},i{place * 7 % 9},{1000 + place}\n" for place in event_order]
        (folder / "e.csv").write_text("user,item,time\n" + "".join(rows))
        (folder / "i.csv").write_text("item,title\n" + "".join(f"i{item},Thing {item}\n" for item in item_order))
        plugin = find("datasets", "table").load()
        given = {"events": str(folder / "e.csv"), "items": str(folder / "i.csv"), "min_item_events": 2}
        config = plugin.config_type().model_validate(given | {"iterate_core": iterate, "repeats": repeats})
        (folder / "out").mkdir()
        prepare(plugin(config), folder / "out")
        return prepared_bytes(folder / "out")

    assert made(events, items) == made(range(40), range(9))


def test_a_plain_script_gives_the_same_histories_and_texts(tmp_path):
    write(tmp_path, 30_000, 3_000, level=1)
    core = {"min_user_events": 3, "min_item_events": 3, "min_history": 3}
    data = read(tmp_path, "amazon_2018", path=str(tmp_path), category=CATEGORY, **core)
    expected, texts = plain_route.prepare(tmp_path, json.loads)
    assert histories(data) == expected
    assert data.catalogue.attributes.names == plain_route.TEXT
    found = [[dict(attributes).get(name, "") for name in plain_route.TEXT] for attributes in data.catalogue.attributes]
    assert dict(zip(data.catalogue.ids, found, strict=True)) == texts


def test_a_tight_memory_limit_changes_no_byte(tmp_path):
    write(tmp_path / "raw", 200_000, 20_000, level=1)
    plugin = find("datasets", "amazon_2018").load()
    made = []
    for limit in ("160MB", "4GB"):
        given = {"path": str(tmp_path / "raw"), "category": CATEGORY, "min_user_events": 2, "memory_limit": limit}
        (tmp_path / limit).mkdir()
        prepare(plugin(plugin.config_type().model_validate(given)), tmp_path / limit)
        made.append(prepared_bytes(tmp_path / limit))
    assert made[0] == made[1]


def test_too_little_memory_says_which_setting_to_raise(tmp_path):
    write(tmp_path / "raw", 60_000, 6_000, level=1)
    with pytest.raises(DataError, match=r"1MB of memory are not enough -> raise dataset\.memory_limit"):
        read(tmp_path, "amazon_2018", path=str(tmp_path / "raw"), category=CATEGORY, memory_limit="1MB")


def test_a_rating_filter_keeps_what_is_rated_high_enough(tmp_path):
    (tmp_path / "e.csv").write_text("user,item,time,stars\nu,a,1,5\nu,b,2,2.5\nu,c,3,3\n")
    given = {"events": str(tmp_path / "e.csv"), "rating": "stars"}
    assert histories(read(tmp_path, "table", **given)) == {"u": ["a", "b", "c"]}
    data = read(tmp_path, "table", **given, min_rating=3.0)
    assert (histories(data), data.tally["events_below_min_rating"]) == ({"u": ["a", "c"]}, 1)
    with pytest.raises(DataError, match=r"no usable rating.*remove dataset\.min_rating"):
        read(tmp_path, "table", events=str(tmp_path / "e.csv"), min_rating=3.0)


def test_given_folds_come_from_a_column_or_from_files(tmp_path):
    (tmp_path / "e.csv").write_text("user,item,time,part\nu,d,1,test\nu,c,9,valid\nu,b,2,train\nu,a,1,Train\n")
    column = read(tmp_path, "table", events=str(tmp_path / "e.csv"), fold="part")
    for name, row in (("train", "u,b,2\nu,a,1"), ("validation", "u,c,9"), ("test", "u,d,1")):
        (tmp_path / f"{name}.csv").write_text(f"user,item,time\n{row}\n")
    paths = {name: str(tmp_path / f"{name}.csv") for name in ("validation", "test")}
    several = read(tmp_path, "table", events=str(tmp_path / "train.csv"), **paths)
    for data in (column, several):
        assert histories(data) == {"u": ["a", "b", "c", "d"]}
        assert data.folds.tolist() == [0, 0, 1, 2]
        split = Split(data, SplitConfig(by="file"))
        assert (split.targets("validation").tolist(), split.targets("test").tolist()) == ([3], [4])
    with pytest.raises(SpecError, match="give both 'validation' and 'test'"):
        read(tmp_path, "table", events=str(tmp_path / "train.csv"), test=paths["test"])
    (tmp_path / "e.csv").write_text("user,item,time,part\nu,d,1,later\n")
    with pytest.raises(DataError, match=r"no usable fold.*write train, validation or test"):
        read(tmp_path, "table", events=str(tmp_path / "e.csv"), fold="part")


@pytest.mark.parametrize(("unit", "moment"), [("s", 1), ("ms", 1000), ("us", 1_000_000)])
def test_numbers_of_any_unit_and_timestamps_name_the_same_day(unit, moment, tmp_path):
    day = 1_400_000_000 * moment
    (tmp_path / "e.csv").write_text("user,item,time\n" + "".join(f"u,i{place},{day + place}\n" for place in range(3)))
    data = read(tmp_path, "table", events=str(tmp_path / "e.csv"), time_unit=unit)
    assert describe(Split(data))["time"] == {"first_day": "2014-05-13", "last_day": "2014-05-13"}
    (tmp_path / "t.csv").write_text("user,item,time\nu,a,2014-05-13 16:53:20\nu,b,2014-05-13 16:53:20.5\n")
    words = read(tmp_path, "table", events=str(tmp_path / "t.csv"))
    assert describe(Split(words))["time"] == {"first_day": "2014-05-13", "last_day": "2014-05-13"}


def test_a_number_in_another_unit_is_found_out(tmp_path):
    (tmp_path / "e.csv").write_text("user,item,time\nu,a,1400000000000\n")
    with pytest.raises(DataError, match=r"no usable time.*in another unit"):
        read(tmp_path, "table", events=str(tmp_path / "e.csv"), time_unit="s")


def test_ids_that_look_like_numbers_stay_as_they_are(tmp_path):
    data = from_rows(tmp_path, [("007", "0010", 1), ("7", "10", 2)])
    assert (list(data.user_ids), list(data.catalogue.ids)) == (["007", "7"], ["0010", "10"])


def test_timestamps_in_words_are_read(tmp_path):
    (tmp_path / "e.csv").write_text("user,item,time\nu,b,2020-01-02 00:00:00\nu,a,2020-01-01 23:59:59\n")
    assert histories(read(tmp_path, "table", events=str(tmp_path / "e.csv"))) == {"u": ["a", "b"]}


def test_part_files_are_read_in_the_order_of_their_names(tmp_path):
    for part, item in (("b", "y"), ("a", "x"), ("c", "z")):
        (tmp_path / f"part-{part}.csv").write_text(f"user,item,time\nu,{item},1\n")
    data = read(tmp_path, "table", events=str(tmp_path / "part-*.csv"))
    assert histories(data) == {"u": ["x", "y", "z"]}
    with pytest.raises(MissingError, match=r"no file .*none-"):
        read(tmp_path, "table", events=str(tmp_path / "none-*.csv"))


@pytest.mark.parametrize("form", ["csv.gz", "jsonl", "parquet", "tsv"])
def test_a_users_own_table_may_have_any_of_the_formats(form, tmp_path):
    import duckdb

    path = tmp_path / f"e.{form}"
    with duckdb.connect() as db:
        db.execute("create table e as select * from (values ('u','b',2),('u','a',1)) t(who, what, moment)")
        if form == "csv.gz":
            path.write_bytes(gzip.compress(b"who,what,moment\nu,b,2\nu,a,1\n"))
        elif form == "tsv":
            path.write_text("who\twhat\tmoment\nu\tb\t2\nu\ta\t1\n")
        else:
            db.execute(f"copy e to '{path}' (format {'json' if form == 'jsonl' else form})")
    assert histories(read(tmp_path, "table", events=str(path), user="who", item="what", time="moment")) == {
        "u": ["a", "b"]
    }
    assert histories(read(tmp_path, "table", events=str(path), user="who", item="what", time=None)) == {"u": ["b", "a"]}


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("Soap &amp; Water; 2", "Soap & Water. 2"),
        ("a\nb\tc\x00d  e", "a b c d e"),
        ("  ", ""),
    ],
)
def test_attribute_values_become_one_clean_line(raw, expected):
    assert clean(raw) == expected


def test_attributes_select_and_order_the_text(tmp_path):
    (tmp_path / "i.csv").write_text("item,title,kind,size\na,Soap,thing,\n")
    items = str(tmp_path / "i.csv")
    [attributes] = from_rows(tmp_path, [("u", "a", 1)], items=items).catalogue.attributes
    assert attributes == (("title", "Soap"), ("kind", "thing"))
    chosen = from_rows(tmp_path, [("u", "a", 1)], items=items, attributes=["kind", "title"], instruction="It: ")
    assert chosen.catalogue.texts() == ["It: \n kind is thing; title is Soap"]


def test_a_spec_writes_its_own_prompt(tmp_path):
    (tmp_path / "i.csv").write_text("item,title,kind\na,Soap {value} {0},thing\n")
    given = {
        "items": str(tmp_path / "i.csv"),
        "instruction": "Product.",
        "phrase": "{name}: {value}",
        "phrases": {"title": "Called {value}"},
        "separator": ", ",
    }
    assert from_rows(tmp_path, [("u", "a", 1)], **given).catalogue.texts() == [
        "Product.\nCalled Soap {value} {0}, kind: thing"
    ]
    for phrase in ("no place", "{value.__class__}", "{value} {other}"):
        with pytest.raises(ValidationError, match=r"should hold \{value\}"):
            from_rows(tmp_path, [("u", "a", 1)], phrase=phrase)


def test_lists_become_text_without_their_empty_parts(tmp_path):
    rows = [{"item": "a", "tags": ["x", None, "", "y; z"], "sizes": [1, 2], "none": []}]
    (tmp_path / "i.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    [attributes] = from_rows(tmp_path, [("u", "a", 1)], items=str(tmp_path / "i.jsonl")).catalogue.attributes
    assert attributes == (("tags", "x, y. z"), ("sizes", "1, 2"))


def test_a_long_value_is_cut_and_counted(tmp_path):
    (tmp_path / "i.csv").write_text(f"item,title\na,{'x' * 300}\n")
    data = from_rows(tmp_path, [("u", "a", 1)], items=str(tmp_path / "i.csv"), attribute_chars=100)
    assert (list(data.catalogue.attributes), data.tally["values_cut"]) == ([(("title", "x" * 100),)], 1)


@pytest.mark.parametrize("name", names("datasets"))
def test_what_was_prepared_is_opened_as_a_memory_map(name, tmp_path):
    (tmp_path / "raw").mkdir()
    (tmp_path / "made").mkdir()
    plugin = find("datasets", name).load()
    data = prepare(plugin(plugin.config_type().model_validate(plugin.example(tmp_path / "raw"))), tmp_path / "made")
    again = load(tmp_path / "made")
    assert isinstance(again.items, np.memmap)
    assert isinstance(again.times, np.memmap)
    assert (again.key, again.user_ids, again.catalogue) == (data.key, data.user_ids, data.catalogue)
    assert not (tmp_path / "made" / "spill").exists()


@pytest.mark.parametrize("name", ["amazon_2014", "amazon_2018", "yelp", "movielens"])
def test_a_missing_file_says_where_to_get_it_and_where_to_put_it(name, tmp_path):
    required = {"category": "Beauty"} if name.startswith("amazon") else {}
    with pytest.raises(MissingError, match=r"https://.*dataset\.path"):
        read(tmp_path, name, path=str(tmp_path), **required)


def test_items_of_amazon_2014_are_python_literals_and_never_evaluated(tmp_path):
    given = find("datasets", "amazon_2014").load().example(tmp_path)
    assert read(tmp_path, "amazon_2014", **given).catalogue.attributes[0][0] == ("title", "Soap & Brush. size 0")
    evil = tmp_path / "meta_Beauty.json.gz"
    evil.write_bytes(gzip.compress(b"__import__('os').system('touch " + str(tmp_path).encode() + b"/evil')\n"))
    with pytest.raises(DataError, match="is neither JSON nor a Python literal"):
        read(tmp_path, "amazon_2014", **given)
    assert not (tmp_path / "evil").exists()


def cut_off(packed: bytes) -> bytes:
    return packed[:-12]


def damaged(packed: bytes) -> bytes:
    """Every byte of the stream turned over: no reader gets far."""
    return packed[:10] + bytes(byte ^ 0xFF for byte in packed[10:-8]) + packed[-8:]


@pytest.mark.parametrize("damage", [cut_off, damaged])
@pytest.mark.parametrize("name", ["amazon_2014", "amazon_2018", "interactions", "table"])
def test_a_broken_gzip_file_is_a_clear_error(name, damage, tmp_path):
    given = find("datasets", name).load().example(tmp_path)
    path = next(iter(sorted(tmp_path.glob("*.gz"))), None)
    if path is None:
        key, plain = next((key, Path(value)) for key, value in given.items() if Path(str(value)).is_file())
        path = plain.with_name(f"{plain.name}.gz")
        path.write_bytes(gzip.compress(plain.read_bytes()))
        given |= {key: str(path)}
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=r"cannot be read|cannot be unpacked"):
        read(tmp_path, name, **given)


def test_the_synthetic_world_is_the_same_every_time_and_has_a_long_tail(tmp_path):
    first, second = read(tmp_path, "synthetic"), read(tmp_path, "synthetic")
    assert first.catalogue == second.catalogue
    np.testing.assert_array_equal(first.items, second.items)
    counts = np.sort(Split(first).popularity[1:])[::-1]
    assert counts[: len(counts) // 5].sum() > 0.4 * counts.sum()
    assert (Split(first).lengths >= 3).all()


COUNTS = {
    "movielens": ({"path": "ml-100k"}, 943, 1682, 100_000),
    "amazon_2014": (
        {
            "path": "amazon-beauty-2014-5core/joined",
            "category": "Beauty",
            "reviews": "reviews_Beauty_5.partial.jsonl.gz",
            "meta": "meta_Beauty_5.partial.jsonl.gz",
        },
        22_363,
        12_101,
        198_502,
    ),
    "yelp": (
        {
            "path": "yelp-2019-5core/joined",
            "reviews": "yelp_review.partial.jsonl.gz",
            "businesses": "yelp_business.partial.jsonl.gz",
        },
        30_431,
        20_033,
        316_354,
    ),
    "amazon_2018": ({"path": "amazon-2018-raw-small", "category": "Gift_Cards", "core5": True}, 458, 148, 2_972),
}


@pytest.mark.parametrize("name", COUNTS)
def test_real_data_have_their_known_counts_and_texts(name, real_data, tmp_path):
    given, *counts = COUNTS[name]
    data = read(tmp_path, name, **(given | {"path": str(real_data / given["path"])}))
    assert [data.n_users, data.n_items, len(data.items)] == counts
    assert data.catalogue.attributes.filled().any(axis=1).all()


@pytest.mark.parametrize("name", ["yelp", "beauty"])
def test_the_papers_own_files_have_every_figure_that_is_known_of_them(name, real_data, tmp_path):
    plugin = find("datasets", "interactions").load()
    given = {"file": str(real_data / "paper-inter" / name / "inter.txt.gz")}
    dataset = plugin(plugin.config_type().model_validate(given))
    data = prepare(dataset, tmp_path)
    known = dataset.known()
    assert known is not None
    assert differences(describe(Split(data)), known) == []
    assert len(known.more) == 6
    assert list(data.catalogue.ids) == list(map(str, range(1, data.n_items + 1)))  # their own ids


RATED = [(user, user + place, 4, 1000 + place) for user in range(1, 9) for place in range(4)]


@pytest.mark.parametrize(
    ("release", "ratings", "movies", "encoding"),
    [
        ("1m", "{}::{}::{}::{}", "{}::Café (1995)::Drama|War", "latin-1"),
        ("10m", "{}::{}::{}.5::{}", "{}::Café (1995)::Drama|War", "utf-8"),
        ("20m", "{},{},{}.5,{}", '{},"Café (1995)",Drama|War', "utf-8"),
        ("25m", "{},{},{}.5,{}", '{},"Café (1995)",Drama|War', "utf-8"),
        ("32m", "{},{},{}.5,{}", '{},"Café (1995)",Drama|War', "utf-8"),
    ],
)
def test_every_release_of_movielens_is_read(release, ratings, movies, encoding, tmp_path):
    csv = ratings.count(",") > 0
    suffix, head = (
        ("csv", ("userId,movieId,rating,timestamp\n", "movieId,title,genres\n")) if csv else ("dat", ("", ""))
    )
    folder = tmp_path / f"ml-{release}"  # as the archive unpacks, below the folder that path names
    folder.mkdir()
    (folder / f"ratings.{suffix}").write_text(head[0] + "".join(ratings.format(*row) + "\n" for row in RATED))
    text = head[1] + "".join(movies.format(movie) + "\n" for movie in range(1, 13))
    (folder / f"movies.{suffix}").write_bytes(text.encode(encoding))
    data = read(tmp_path, "movielens", path=str(tmp_path), release=release, min_rating=4.0)
    assert (data.n_users, len(data.items)) == (8, 32)
    assert data.catalogue.attributes[0] == (("title", "Café (1995)"), ("genres", "Drama, War"))


def test_zstd_and_plain_files_are_read_like_gzip(tmp_path):
    import duckdb

    given = find("datasets", "amazon_2018").load().example(tmp_path)
    first = read(tmp_path, "amazon_2018", **given)
    for form, compression in ((".zst", "zstd"), ("", "none")):
        for path in tmp_path.glob("*.json.gz"):
            plain = gzip.decompress(path.read_bytes()).decode().splitlines()
            with duckdb.connect() as db:
                db.execute("create table line as select unnest(?) as line", [plain])
                target = f"{path.with_suffix('')}{form}"
                db.execute(f"copy line to '{target}' (format csv, header false, quote '', compression {compression})")
        packed = [path.rename(path.with_suffix(".away")) for path in tmp_path.glob("*.json.gz")]
        assert read(tmp_path, "amazon_2018", **given).key == first.key
        for path in [*packed, *tmp_path.glob("*.zst")]:
            path.rename(path.with_suffix(".gz" if path in packed else ".done"))
