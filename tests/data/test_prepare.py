"""From raw relations to histories: order, filters, ids and texts; and the real data sets' known counts."""

from __future__ import annotations

import gzip
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmemb_bench.data.prepare import load, prepare
from llmemb_bench.data.recdata import RecData
from llmemb_bench.data.split import Split
from llmemb_bench.data.statistics import leaks
from llmemb_bench.data.texts import clean
from llmemb_bench.errors import DataError, MissingError
from llmemb_bench.registry import find, names


def read(folder: Path, name: str, **given) -> RecData:
    """Prepare into a fresh folder below this one."""
    plugin = find("datasets", name).load()
    return prepare(plugin(plugin.config_type().model_validate(given)), Path(tempfile.mkdtemp(dir=folder)))


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


@settings(deadline=None, max_examples=15)
@given(st.permutations(range(24)))
def test_the_order_of_rows_with_distinct_times_changes_no_history(tmp_path_factory, order):
    rows = [(f"u{place % 5}", f"i{place * 7 % 9}", place) for place in range(24)]
    shuffled = [rows[place] for place in order]
    assert histories(from_rows(tmp_path_factory.mktemp("rows"), shuffled)) == histories(
        from_rows(tmp_path_factory.mktemp("rows"), rows)
    )


def test_ids_that_look_like_numbers_stay_as_they_are(tmp_path):
    data = from_rows(tmp_path, [("007", "0010", 1), ("7", "10", 2)])
    assert (list(data.user_ids), list(data.catalogue.ids)) == (["007", "7"], ["0010", "10"])


def test_timestamps_in_words_are_read(tmp_path):
    (tmp_path / "e.csv").write_text("user,item,time\nu,b,2020-01-02 00:00:00\nu,a,2020-01-01 23:59:59\n")
    assert histories(read(tmp_path, "table", events=str(tmp_path / "e.csv"))) == {"u": ["a", "b"]}


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


@pytest.mark.parametrize("name", ["amazon_2014", "amazon_2018", "interactions"])
def test_a_cut_off_gzip_file_is_a_clear_error(name, tmp_path):
    given = find("datasets", name).load().example(tmp_path)
    path = next(iter(sorted(tmp_path.glob("*.gz"))), None)
    if path is None:
        path = tmp_path / "inter.txt.gz"
        path.write_bytes(gzip.compress((tmp_path / "inter.txt").read_bytes()))
        given = {"file": str(path)}
    path.write_bytes(path.read_bytes()[:-12])
    with pytest.raises(DataError, match="cannot be read"):
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


@pytest.mark.parametrize(
    ("name", "counts", "short", "repeats", "cold"),
    [
        ("yelp", (15_720, 11_383, 192_214), 0, 1, 323),
        ("beauty", (52_204, 57_289, 394_908), 1_706, 0, 4_828),
    ],
)
def test_the_papers_own_files_have_their_known_facts(name, counts, short, repeats, cold, real_data, tmp_path):
    data = read(tmp_path, "interactions", file=str(real_data / "paper-inter" / name / "inter.txt.gz"))
    facts = leaks(Split(data))
    assert (data.n_users, data.n_items, len(data.items)) == counts
    found = facts["users_below_three_events"], facts["repeated_events"], facts["cold_targets"]
    assert found == (short, repeats, cold)
    assert list(data.catalogue.ids) == list(map(str, range(1, data.n_items + 1)))  # their own ids
