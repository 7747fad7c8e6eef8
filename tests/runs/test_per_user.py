"""Per-user values of runs, paired: the same users in one order, under one protocol."""

from __future__ import annotations

import json
from pathlib import Path

import duckdb
import numpy as np
import pytest

from llmemb_bench.base.errors import DataError, SpecError
from llmemb_bench.evaluation.measure import metrics_of
from llmemb_bench.runs.per_user import read_per_user, refuse_other_protocols
from llmemb_bench.settings.evaluate import Evaluate

PROTOCOL = {"cutoffs": [10], "history": "mask", "popularity": "training events"}
USERS = [
    # user, target, n_greater, n_equal, train_popularity, is_head
    ("u1", "a", 0, 0, 50, True),
    ("u2", "b", 9, 0, 3, False),
    ("u3", "c", 10, 0, 0, False),
    ("u4", "a", 8, 3, 50, True),
    ("u5", "b", 200, 50, 3, False),
]


def write(folder: Path, users=USERS, *, head: bool = True, protocols=("full",), **changes) -> Path:
    """A run folder with the two files that are read."""
    folder.mkdir()
    manifest = {"protocol": PROTOCOL, "protocol_hash": "p", "data": "d", "dataset": "toy"} | changes
    (folder / "manifest.json").write_text(json.dumps(manifest))
    rows = [(protocol, *user) for protocol in protocols for user in users]
    with duckdb.connect() as db:
        db.execute(
            'create table t (protocol varchar, "user" varchar, target varchar, n_greater bigint, n_equal bigint, '
            "train_popularity bigint, is_head boolean)"
        )
        db.executemany("insert into t values (?, ?, ?, ?, ?, ?, ?)", rows)
        columns = "*" if head else "* exclude (is_head)"
        db.execute(f"copy (select {columns} from t) to '{folder / 'per_user.parquet'}' (format parquet)")
    return folder


def values(read, run: Path, name: str = "hr@10") -> list[float]:
    metric, cutoff = metrics_of(Evaluate())[name]
    return read.worth(metric, cutoff)[read.codes[run]].tolist()


def test_values_are_the_expectation_over_ties_by_hand(tmp_path):
    """u4: ranks 9 to 12 are as likely, two of the four within the cut-off."""
    run = write(tmp_path / "a")
    read = read_per_user([run], "full", 10)
    assert values(read, run) == [1.0, 1.0, 0.0, 0.5, 0.0]
    gains = [1.0, 1 / np.log2(11), 0.0, (1 / np.log2(10) + 1 / np.log2(11)) / 4, 0.0]
    assert values(read, run, "ndcg@10") == pytest.approx(gains, rel=1e-6)
    assert [read.users(name).tolist() for name in ("head", "tail seen", "tail cold")] == [
        [True, False, False, True, False],
        [False, True, False, False, True],
        [False, False, True, False, False],
    ]


def test_runs_that_list_users_in_other_orders_are_paired_by_user(tmp_path):
    first, second = write(tmp_path / "a"), write(tmp_path / "b", USERS[::-1])
    read = read_per_user([first, second], "full", 10)
    assert values(read, first) == values(read, second)
    assert read.users("head").tolist() == [True, False, False, True, False]


def test_a_protocol_beside_others_in_the_file_is_the_same_users(tmp_path):
    first, second = write(tmp_path / "a"), write(tmp_path / "b", protocols=("sampled-100", "full"))
    read = read_per_user([first, second], "full", 10)
    assert len(read.codes[second]) == len(USERS)
    assert values(read, first) == values(read, second)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"protocol_hash": "q", "protocol": PROTOCOL | {"history": "keep"}},
            "protocol's history is 'keep' here and 'mask' there",
        ),
        (
            {"protocol_hash": "q", "protocol": PROTOCOL | {"tail_below": 4}},
            "protocol's tail_below is 4 here and None there",
        ),
        ({"data": "e"}, "data is 'e' here and 'd' there"),
        ({"dataset": "other"}, "dataset is 'other' here"),
    ],
)
def test_runs_of_other_protocols_are_refused_with_the_setting_that_differs(changes, words, tmp_path):
    runs = [write(tmp_path / "a"), write(tmp_path / "b"), write(tmp_path / "c", **changes)]
    with pytest.raises(SpecError) as error:
        read_per_user(runs, "full", 10)
    assert words in str(error.value)
    assert str(runs[2]) in str(error.value)
    refuse_other_protocols(runs[:2])


def test_other_users_or_targets_are_an_error(tmp_path):
    runs = [write(tmp_path / "a"), write(tmp_path / "b", [*USERS[:4], ("u5", "c", 0, 0, 3, False)])]
    with pytest.raises(DataError, match="has other users or targets than a"):
        read_per_user(runs, "full", 10)
    with pytest.raises(DataError, match="no users of the protocol sampled-9"):
        read_per_user(runs[:1], "sampled-9", 10)


def test_a_damaged_file_is_an_error_that_names_it(tmp_path):
    run = write(tmp_path / "a")
    (run / "per_user.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match=r"per_user.parquet: cannot be read"):
        read_per_user([run], "full", 10)


def test_a_file_from_before_it_said_so_tells_head_by_count_where_counts_decide(tmp_path):
    facts = {"buckets": {"head_items_events_at_least": 50, "tail_items_tied_with_head": 0}}
    run = write(tmp_path / "a", head=False, dataset_facts=facts)
    assert read_per_user([run], "full", 10).users("head").tolist() == [True, False, False, True, False]
    tied = {"buckets": facts["buckets"] | {"tail_items_tied_with_head": 2}}
    for name, changes in (("b", {"dataset_facts": tied}), ("c", {"protocol": PROTOCOL | {"popularity": "all events"}})):
        with pytest.raises(DataError, match="does not say which targets are head items"):
            read_per_user([write(tmp_path / name, head=False, **{"dataset_facts": facts} | changes)], "full", 10)
