"""Buckets: train-only popularity, the identity with the overall value, nulls for empty ones."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmemb_bench.evaluation.buckets import HeadCut, bucket_facts, buckets_of, cut_of, head_items, item_counts
from llmemb_bench.evaluation.measure import evaluation_protocol, measure
from llmemb_bench.evaluation.ranking import Ranks
from llmemb_bench.settings.evaluate import Evaluate
from llmemb_bench.settings.split import SplitConfig
from tests.helpers.splits import make_split

PARTITIONS = ("popularity", "history")
SHARES = (["head", "tail"], ["head", "tail seen", "tail cold"])


@settings(deadline=None, max_examples=40)
@given(
    histories=st.lists(st.lists(st.integers(1, 15), min_size=3, max_size=30), min_size=1, max_size=25),
    data=st.data(),
)
def test_the_weighted_mean_of_buckets_is_the_overall_value(histories, data):
    split = make_split(histories, 15)
    n = len(histories)
    counts = st.lists(st.integers(0, 12), min_size=n, max_size=n)
    ranks = Ranks(np.array(data.draw(counts)), np.array(data.draw(counts)), np.full(n, 40))
    measured = measure(split, Evaluate(), {"full": ranks})["metrics"]
    for name in ("hr@10", "ndcg@10"):
        found = {row["bucket"]: row for row in measured if row["metric"] == name}
        overall = found["overall"]["value"]
        for parts in (*SHARES, *([b for b in found if b.startswith(p)] for p in PARTITIONS)):
            assert sum(found[part]["n_users"] for part in parts) == n
            weighted = sum(
                Fraction(found[part]["value"]) * found[part]["n_users"] for part in parts if found[part]["n_users"]
            )
            assert float(weighted / n) == pytest.approx(overall, rel=1e-14, abs=1e-300)


def test_an_empty_bucket_is_null_and_never_zero():
    split = make_split([[1, 2, 3]], 9)
    ranks = Ranks(np.array([0]), np.array([0]), np.array([7]))
    rows = measure(split, Evaluate(tail_below=1), {"full": ranks})["metrics"]
    head = next(row for row in rows if row["bucket"] == "head")
    assert (head["value"], head["n_users"]) == (None, 0)


def test_popularity_is_counted_on_training_events_only():
    before = make_split([[1, 2, 3, 4], [1, 2, 3, 5]], 9)
    after = make_split([[1, 2, 3, 4], [1, 2, 3, 4]], 9)  # another test target
    np.testing.assert_array_equal(before.popularity, after.popularity)
    assert before.popularity.tolist() == [0, 2, 2, 0, 0, 0, 0, 0, 0, 0]


def test_the_published_count_over_all_events_is_a_setting_and_another_protocol():
    split = make_split([[1, 2, 3, 4], [1, 2, 3, 4]], 9)
    assert item_counts(split, Evaluate()).tolist()[1:5] == [2, 2, 0, 0]
    assert item_counts(split, Evaluate(popularity="all")).tolist()[1:5] == [2, 2, 2, 2]
    kinds = [buckets_of(split, Evaluate(tail_below=2, popularity=kind))["tail"].all() for kind in ("training", "all")]
    assert kinds == [True, False]
    assert evaluation_protocol(SplitConfig(), Evaluate()) != evaluation_protocol(
        SplitConfig(), Evaluate(popularity="all")
    )


def test_repeats_of_one_user_all_count():
    assert make_split([[1, 1, 1, 2, 3]], 3).popularity.tolist() == [0, 3, 0, 0]


TEN = np.array([0, 5, 1, 9, 1, 1, 1, 1, 1, 1, 5])  # of ten items one has nine events, two have five, seven one


def test_where_equal_counts_go_by_id_head_is_the_pareto_share():
    for share, expected in {0.2: [1, 3], 0.21: [1, 3, 10], 0.4: [1, 2, 3, 10]}.items():
        assert np.flatnonzero(head_items(TEN, Evaluate(head_share=share, head_ties="by_id"))).tolist() == expected


@pytest.mark.parametrize(
    ("share", "expected"),
    [
        (0.1, [3]),
        (0.2, [3]),  # one and three of ten are as near: the smaller head
        (0.21, [1, 3, 10]),
        (0.64, [1, 3, 10]),
        (0.95, [1, 3, 10]),  # the whole catalogue is nearer, and no head
        (0.01, [3]),  # so is nothing
    ],
)
def test_the_cut_is_at_the_count_whose_share_is_nearest_and_never_through_equal_counts(share, expected):
    assert np.flatnonzero(head_items(TEN, Evaluate(head_share=share))).tolist() == expected


def test_one_item_more_than_the_share_is_better_than_hundreds_less():
    popularity = np.array([0, *[7] * 2, *[3] * 19, *[1] * 79])
    assert head_items(popularity, Evaluate()).sum() == 21
    assert head_items(popularity, Evaluate(head_ties="by_id")).sum() == 20


@pytest.mark.parametrize("popularity", [[0, 3, 3, 3], [0, 0, 0], [0, 4]])
def test_where_all_items_are_tied_none_is_head(popularity):
    assert not head_items(np.array(popularity), Evaluate()).any()


def test_a_cut_says_where_it_is_and_what_ids_decided():
    histories = [[1, 2, 3, 4, 5]] * 2 + [[1, 6, 7, 8, 9]]  # three events of item 1, two of 2 and 3, one of 6 and 7
    split = make_split(histories, 20)
    assert str(cut_of(split, Evaluate(head_share=0.1))) == "1 of 20 items (5.0%), 3 events or more"
    assert cut_of(split, Evaluate()) == HeadCut(20, 3, 2, 0)
    by_id = cut_of(split, Evaluate(head_share=0.1, head_ties="by_id"))
    assert str(by_id) == "2 of 20 items (10.0%), 2 events or more; 1 more with 2 are tail by their ids alone"
    assert str(cut_of(split, Evaluate(tail_below=4))) == "none of 20 items"


@given(
    counts=st.lists(st.integers(0, 12), min_size=1, max_size=80),
    share=st.floats(0, 1, exclude_min=True, exclude_max=True),
)
def test_no_two_items_of_equal_count_are_on_different_sides(counts, share):
    popularity = np.array([0, *counts])
    head = head_items(popularity, Evaluate(head_share=share))
    assert not set(popularity[1:][head[1:]]) & set(popularity[1:][~head[1:]])
    assert head[1:].any() == (len(set(counts)) > 1)
    assert not head[1:].all()
    assert not head[0]


def test_the_cut_is_part_of_the_protocol():
    found = [evaluation_protocol(SplitConfig(), Evaluate(head_ties=ties)) for ties in ("whole", "by_id")]
    assert [protocol["head_ties"] for protocol in found] == ["whole", "by_id"]


def test_the_tail_is_told_apart_from_what_training_never_saw():
    split = make_split([[1, 2, 1, 2, 1], [2, 1, 3, 4], [1, 2, 4, 3]], 9)  # targets 1, 4 and 3; nobody trains on 3, 4
    found = buckets_of(split, Evaluate())
    assert [found[name].tolist() for name in ("head", "tail", "tail seen", "tail cold")] == [
        [True, False, False],
        [False, True, True],
        [False, False, False],
        [False, True, True],
    ]
    counted = buckets_of(split, Evaluate(popularity="all", tail_below=9))
    assert counted["tail cold"].tolist() == [False, True, True]  # cold by training events, whatever popularity counts
    facts = bucket_facts(split, Evaluate())
    told = [facts[f"targets_{name}"] for name in ("head", "tail", "tail_seen", "tail_never_seen_in_training")]
    assert told == [1, 2, 0, 2]


def test_the_papers_threshold_cuts_by_count():
    popularity = np.array([0, 12, 13, 14])
    assert np.flatnonzero(head_items(popularity, Evaluate(tail_below=13))).tolist() == [2, 3]


def test_the_first_user_is_counted_in_every_bucket():
    split = make_split([[1, 1, 1, 2, 1], [3, 4, 5]], 9)
    found = buckets_of(split, Evaluate(tail_below=2))
    assert found["head"].tolist() == [True, False]
    assert found["tail"].tolist() == [False, True]


def test_groups_begin_and_end_where_their_names_say():
    popularity, lengths = (0, 4, 5, 9, 10, 19, 20, 39, 40), (2, 4, 5, 9, 10, 14, 15, 19, 20)
    filler = 10
    histories = [[filler] * length + [item] for item, length in enumerate(lengths, start=1)]
    everything = [item for item, count in enumerate(popularity, start=1) for _ in range(count)]
    found = buckets_of(make_split([*histories, [*everything, filler, filler]], filler), Evaluate())
    groups = {name: np.flatnonzero(rows).tolist() for name, rows in found.items() if name.startswith(PARTITIONS)}
    assert groups == {
        "popularity 0-4": [0, 1],
        "popularity 5-9": [2, 3],
        "popularity 10-19": [4, 5],
        "popularity 20-39": [6, 7],
        "popularity 40+": [8, 9],  # the last user's target is the filler
        "history 0-4": [0, 1],
        "history 5-9": [2, 3],
        "history 10-14": [4, 5],
        "history 15-19": [6, 7],
        "history 20+": [8, 9],
    }


def test_facts_tell_the_cut_and_that_there_is_none():
    split = make_split([[1, 2, 3, 4, 5]] * 2 + [[1, 6, 7, 8, 9]], 20)
    names = ("head_items", "head_items_events_at_least", "tail_items_tied_with_head")
    by_id = bucket_facts(split, Evaluate(head_share=0.1, head_ties="by_id"))
    assert [by_id[name] for name in names] == [2, 2, 1]
    none = bucket_facts(split, Evaluate(tail_below=4))
    assert [none[name] for name in names] == [0, "none is head", 0]
    assert cut_of(split, Evaluate(tail_below=4)) == HeadCut(20, 0, None, 0)
