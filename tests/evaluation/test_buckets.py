"""Buckets: train-only popularity, the identity with the overall value, nulls for empty ones."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import make_split
from llmemb_bench.data.settings import SplitConfig
from llmemb_bench.evaluation.buckets import buckets_of, head_items, item_counts
from llmemb_bench.evaluation.measure import measure, protocol_of
from llmemb_bench.evaluation.ranking import Ranks
from llmemb_bench.spec.frame import Evaluate

PARTITIONS = ("popularity", "history")


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
        for parts in (["head", "tail"], *([b for b in found if b.startswith(p)] for p in PARTITIONS)):
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
    assert protocol_of(SplitConfig(), Evaluate()) != protocol_of(SplitConfig(), Evaluate(popularity="all"))


def test_repeats_of_one_user_all_count():
    assert make_split([[1, 1, 1, 2, 3]], 3).popularity.tolist() == [0, 3, 0, 0]


def test_head_is_the_pareto_share_and_equal_counts_go_by_id():
    popularity = np.array([0, 5, 1, 9, 1, 1, 1, 1, 1, 1, 5])
    assert np.flatnonzero(head_items(popularity, Evaluate(head_share=0.2))).tolist() == [1, 3]
    assert np.flatnonzero(head_items(popularity, Evaluate(head_share=0.4))).tolist() == [1, 2, 3, 10]


def test_the_papers_threshold_cuts_by_count():
    popularity = np.array([0, 12, 13, 14])
    assert np.flatnonzero(head_items(popularity, Evaluate(tail_below=13))).tolist() == [2, 3]


def test_the_first_user_is_counted_in_every_bucket():
    split = make_split([[1, 1, 1, 2, 1], [3, 4, 5]], 9)
    found = buckets_of(split, Evaluate(tail_below=2))
    assert found["head"].tolist() == [True, False]
    assert found["tail"].tolist() == [False, True]
