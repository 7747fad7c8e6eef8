"""`compare` and `show` of runs: figures counted by hand."""

from __future__ import annotations

import json
import math
from pathlib import Path

import duckdb
import pytest

from llmemb_bench.report.sparkline import sparkline
from llmemb_bench.runs.database import enter
from tests.helpers.stored_runs import TRAINING, write_run

TRAIN = {"epochs": 5, "steps": None, "patience": 3, "validate_every": 1}
TARGETS = "aaabbbccdd"
RANKS = {"id_only": [0, 50, 50, 1, 50, 50, 0, 0, 50, 50], "llmemb": [0, 0, 0, 50, 50, 2, 0, 0, 50, 50]}
"""Ranks from 0 of ten users' targets: from user 1 on two gain 1, user 3 loses, user 5 gains a half."""
GAIN = {"u1": 1.0, "u2": 1.0, "u5": 0.5, "u3": -1 / math.log2(3)}


def write(results: Path, method: str, **changes) -> Path:
    settings = {"evaluate": {"cutoffs": [10]}, "recommender": {"method": {"use": method}, "train": TRAIN}}
    about = {"method": method, "backbone": "sasrec", "configuration": method, "settings": settings} | changes
    run = write_run(results, metrics=["hr@10", "ndcg@10"], protocol={"cutoffs": [10]}, **about)
    with duckdb.connect() as db:
        db.execute(
            f"""copy (select unnest(['full', 'sampled-100']) as protocol, 'u' || range as "user",
                      targets[range + 1] as target, ranks[range + 1] as n_greater, 0 as n_equal,
                      5 as train_popularity, range < 3 as is_head
                      from (select $ranks as ranks, $targets as targets), range(10) order by 1, range)
                to '{run / "per_user.parquet"}' (format parquet)""",
            {"ranks": RANKS[method], "targets": list(TARGETS)},
        )
    enter(results, run)
    return run


@pytest.fixture
def results(tmp_path) -> Path:
    for method in RANKS:
        write(tmp_path, method)
    return tmp_path


def test_two_runs_are_compared_by_settings_users_and_items(results, cli):
    ran = cli("compare", "id_only", "llmemb", "--results", results, "--format", "json")
    assert ran.code == 0, ran.err
    found = json.loads(ran.out)
    assert found["settings"] == {"recommender.method": ["id_only", "llmemb"]}
    assert (found["protocol"], found["metric"]) == ("full", "ndcg@10")
    hits = {one["bucket"]: one for one in found["metrics"] if one["metric"] == "hr@10"}
    assert (hits["overall"]["first"], hits["overall"]["second"]) == pytest.approx((0.4, 0.6))
    assert (hits["head"]["first"], hits["head"]["second"]) == pytest.approx((1 / 3, 1.0))
    assert hits["overall"]["comparison"]["difference"]["mean"] == pytest.approx(0.2)
    won = {one["bucket"]: (one["won"], one["lost"], one["same"]) for one in found["won"]}
    assert won == {"overall": (3, 1, 6), "head": (2, 0, 1), "tail": (1, 1, 5), "tail seen": (1, 1, 5)}
    assert {one["name"]: one["difference"] for one in found["users"]} == pytest.approx(GAIN)
    assert [one["name"] for one in found["users"]] == ["u1", "u2", "u5", "u3"]
    items = {one["name"]: (one["difference"], one["users"]) for one in found["items"]}
    assert list(items) == ["a", "b"]
    assert items["a"] == (pytest.approx(2.0), 3)
    assert items["b"] == (pytest.approx(0.5 - 1 / math.log2(3)), 3)


def test_the_page_of_two_runs_says_what_its_marks_mean(results, cli):
    out = cli("compare", "id_only", "llmemb", "--results", results).out
    assert "A  id_only x sasrec on toy, seed 42   (demo/id_only-id_only-42)" in out
    assert "recommender.method    id_only  llmemb" in out
    assert "differences are B minus A over the same users (full)" in out
    assert "1 seed: intervals and tests are over users alone" in out


def test_runs_of_different_protocols_are_refused_with_what_differs(results, cli):
    write(results, "llmemb", configuration="x", protocol_hash="q")
    ran = cli("compare", "id_only", "llmemb-x", "--results", results)
    assert (ran.code, ran.out) == (2, "")
    assert "cannot be paired with id_only-id_only-42: protocol_hash is 'q' here and 'p' there" in ran.err
    assert cli("compare", "id_only", "nosuch", "--results", results).code == 4


def test_a_run_is_shown_in_a_page(results, cli):
    late = TRAINING | {"best_epoch": 5, "epochs": 5}
    run = write(results, "llmemb", configuration="x", validation=0.25, training=late, training_seconds=7.0)
    lines = [{"epoch": 1, "loss": 4.0}, {"epoch": 1, "loss": 2.0, "validation": 0.1}, {"epoch": 2, "loss": 0.5}]
    (run / "events.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + "half a li")
    ran = cli("show", "llmemb-x", "--results", results)
    assert ran.code == 0, ran.err
    words = " ".join(ran.out.split())
    assert "llmemb x sasrec on toy, seed 42" in words
    assert "epoch 5 of 5 was the best (50 steps): ndcg@10 0.2500 in validation (full)" in words
    assert "training 7.0 s, ranking and the rest 1.0 s" in words
    assert "training loss █▄▁ 4 to 0.5" in words
    assert "warning: the best epoch is among the last tenth" in words
    assert "warning: fewer than 30 tail users" in words
    assert json.loads(cli("show", run, "--format", "json").out)["curves"]["validation"] == [0.1]


def test_a_plugin_goes_before_a_run_of_its_name(results, cli):
    assert "losses/" not in cli("show", "llmemb", "--results", results).out
    assert cli("show", "llmemb", "--results", results).out.startswith("methods/llmemb")
    assert "no plugin" in cli("show", "nosuch", "--results", results).err


@pytest.mark.parametrize(
    ("values", "curve"),
    [
        ([0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0], "▁▂▃▄▅▆▇█"),
        ([3.0, 3.0], "▁▁"),
        ([0.0, math.nan, 1.0], "▁ █"),
        ([], ""),
        ([math.nan], ""),
    ],
)
def test_a_curve_is_a_line_of_text(values, curve):
    assert sparkline(values) == curve


def test_a_long_curve_is_as_wide_as_asked_for():
    assert sparkline([*map(float, range(100)), *map(float, range(100, 0, -1))], 4) == "▁██▁"
