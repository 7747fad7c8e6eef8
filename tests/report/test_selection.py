"""`report --where`, `--metric`, `--bucket`, `--protocol`, `--sort`: rows are chosen and nothing else is done."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from llmemb_bench.base.errors import SpecError
from llmemb_bench.report.rows import read_rows
from llmemb_bench.report.selection import by, where
from llmemb_bench.runs.database import enter
from tests.helpers.stored_runs import write_run

VALUES = {"popularity": 0.1, "id_only": 0.3, "llmemb": 0.2}


@pytest.fixture
def results(tmp_path) -> Path:
    for method, value in VALUES.items():
        enter(tmp_path, write_run(tmp_path, method=method, configuration=method, value=value))
    return tmp_path


@pytest.fixture
def report(cli, results) -> Callable:
    return lambda *words: cli("report", "--results", results, *words)


def rows_of(ran) -> list[dict]:
    assert ran.code == 0, ran.err
    return json.loads(ran.out)["rows"]


def test_a_condition_selects_rows(report):
    rows = rows_of(report("--format", "json", "--where", "method != 'popularity' and bucket = 'tail' and mean > .25"))
    assert {(row["method"], row["bucket"]) for row in rows} == {("id_only", "tail")}
    assert len(rows) == 2 * 3


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        ("colour = 'red'", 'Referenced column "colour" not found'),
        ("mean", "is double and should be true or false"),
        ("mean > 0; drop table numbers", "more than one statement"),
        ("true) or (true", "syntax error"),
        ("", "nothing"),
        ("exists(select * from read_csv('/etc/hostname'))", "file system operations are disabled"),
        ("exists(select * from rows)", "does not exist"),
        ("method = ", "syntax error"),
        ("mean > 2", "holds for none of 90 numbers"),
    ],
)
def test_a_condition_that_is_none_names_the_columns_and_reaches_nothing(condition, words, report):
    if not condition:
        assert report("--where", condition).code == 0
        return
    ran = report("--where", condition)
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert words in ran.err
    assert "method" in ran.err.partition(" -> ")[2]


def test_metrics_buckets_and_protocols_are_named(report):
    words = ("--metric", "hr", "--metric", "mrr@10", "--bucket", "popularity 0-4", "--protocol", "sampled-100")
    rows = rows_of(report(*words, "--format", "json"))
    assert {(row["metric"], row["bucket"], row["protocol"]) for row in rows} == {
        ("hr@10", "popularity 0-4", "sampled-100"), ("mrr@10", "popularity 0-4", "sampled-100")
    }  # fmt: skip
    out = report(*words).out
    assert "popularity 0-4 ┃" in out
    assert "overall" not in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--metric", "ndgc"), "--metric: nothing was measured as 'ndgc' -> did you mean"),
        (("--protocol", "half"), "--protocol: nothing was measured as 'half' -> known: full, sampled-100"),
        (("--bucket", "torso"), "--bucket: no bucket is called 'torso' -> one of: head, overall, popularity 0-4,"),
        (("--sort", "colour"), "--sort: no column 'colour'"),
        (("--sort", "hr@10 torso"), "--sort: no bucket 'torso'"),
        (("nosuch",), "no experiment is called 'nosuch' -> name one of them; there are: demo (seeds 42)"),
        (("demo", "nosuch"), "no experiment is called 'nosuch'"),
    ],
)
def test_a_name_that_is_not_there_is_repeated_with_what_there_is(words, message, report):
    ran = report(*words)
    assert (ran.code, ran.out) == (2, "")
    assert message in ran.err


def test_a_metric_that_only_another_protocol_has_leaves_nothing(report, results):
    run = write_run(results, method="new", configuration="new", metrics=["mrr@5"])
    measured = json.loads((run / "metrics.json").read_text())
    measured["metrics"] = [row for row in measured["metrics"] if row["protocol"] == "full"]
    (run / "metrics.json").write_text(json.dumps(measured))
    enter(results, run)
    assert report("--metric", "mrr@5", "--format", "csv").code == 0
    ran = report("--metric", "mrr@5", "--protocol", "sampled-100", "--format", "csv")
    assert (ran.code, ran.out) == (2, "")
    assert "no number has this metric, bucket and protocol at once" in ran.err


def test_lines_are_sorted_by_a_number_or_a_name(results):
    rows = read_rows(results, [], [])
    assert list(dict.fromkeys(row.method for row in by(rows, "hr@10 tail"))) == ["id_only", "llmemb", "popularity"]
    assert list(dict.fromkeys(row.method for row in by(rows, "method"))) == ["id_only", "llmemb", "popularity"]
    assert [row.table for row in by(rows, "ndcg@10")] == [row.table for row in rows]


def test_a_quote_in_a_value_is_a_value(tmp_path):
    enter(tmp_path, write_run(tmp_path, method="it's"))
    rows = read_rows(tmp_path, [], [])
    assert where(rows, "method = 'it''s'") == rows
    with pytest.raises(SpecError):
        where(rows, "method = 'it's'")
