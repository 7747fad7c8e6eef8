"""What `run` says: a line a cell with its numbers, and at the end the table with what must be known of it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import duckdb
import numpy as np
import pytest

from llmemb_bench.runs.database import DATABASE

SPEC = """\
version: 1
name: mine
seeds: [1, 2]
dataset: {use: table, events: events.csv}
recommender:
  backbone: {use: sasrec, dim: 8, max_len: 6}
  objective: bce
  train: {epochs: 1, batch_size: 8}
evaluate: {protocols: [sampled-5, full], cutoffs: [5, 1]}
matrix: {recommender.method: [popularity, id_only]}
"""


@pytest.fixture
def run(cli, events_csv, tmp_path) -> Callable:
    def call(text: str = SPEC, *words: object, mode: str = "plain"):
        (tmp_path / "spec.yaml").write_text(text)
        return cli("run", tmp_path / "spec.yaml", "--results", tmp_path / "results", "--progress", mode, *words)

    return call


def told(err: str) -> list[str]:
    return [line.strip() for line in err.splitlines() if line.startswith("    ")]


def test_each_cell_leaves_its_numbers_and_seconds_and_the_run_ends_with_the_table(run, cli, tmp_path):
    ran = run()
    lines = told(ran.err)
    assert len(lines) == 4
    for line in lines:
        assert re.fullmatch(r"HR@5 \d.*, tail \d.* · NDCG@5 \d.*, tail \d.* \(sampled-5\) in \d+\.\d s", line)
    [folder] = (tmp_path / "results" / "runs" / "mine").glob("id_only-*-s2")
    query = f"select n_greater, n_equal from '{folder / 'per_user.parquet'}' where protocol = 'sampled-5'"
    greater, equal = np.array(duckdb.sql(query).fetchall()).T
    hits = np.clip((5 - greater) / (equal + 1), 0, 1).mean()
    assert f"HR@5 {hits:.4f}," in lines[3]
    *table, last = ran.out.splitlines()
    assert last == f"4 of 4 cells done; see: llmemb-bench report --results {tmp_path / 'results'}"
    assert table == cli("report", "mine", "--results", tmp_path / "results").out.splitlines()
    assert sum("NDCG@5" in line for line in table) == 2


def test_a_cell_that_was_there_already_says_its_numbers_too(run):
    first = told(run().err)
    again = told(run().err)
    assert again == [re.sub(r" in [\d.]+ s$", " (was already there)", line) for line in first]


def test_without_progress_there_is_the_table_alone(run):
    ran = run(mode="none")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.count("│ popularity ") == 2 * 2  # for each protocol a table a metric
    assert ran.out.splitlines()[-1].startswith("4 of 4 cells done; see: ")


@pytest.mark.parametrize(
    ("metrics", "line"),
    [
        ("[mrr]", r"MRR@5 [\d.]+, tail [\d.]+ \(full\) in .*"),
        ("[mrr, ndcg]", r"NDCG@5 [\d.]+, tail [\d.]+ \(full\) in .*"),
    ],
)
def test_a_cell_says_what_it_measured_where_that_is_neither_hits_nor_ndcg(metrics, line, run):
    text = SPEC.replace("[sampled-5, full]", f"[full], metrics: {metrics}").replace("popularity, id_only", "popularity")
    [said] = told(run(text, "--seed", "1").err)
    assert re.fullmatch(line, said)


def test_an_empty_tail_is_no_number(run):
    text = SPEC.replace("[sampled-5, full]", "[full], tail_below: 1").replace("popularity, id_only", "popularity")
    ran = run(text, "--seed", "1")
    assert ", tail – · NDCG@5" in ran.err
    assert "fewer than 30 tail users" in ran.out


def test_the_cells_that_failed_leave_the_table_to_the_others(run):
    varied = "matrix: {evaluate.protocols: [[full], [sampled-50]]}"
    text = SPEC.partition("matrix")[0].replace("recommender:", "recommender:\n  method: popularity") + varied
    ran = run(text, "--seed", "1")  # of twenty items
    assert (ran.code, ran.out.splitlines()[-1].partition(";")[0]) == (3, "1 of 2 cells done, 1 failed")
    assert "│ popularity" in ran.out
    assert len(told(ran.err)) == 1
    ran = run(text.replace("events.csv", "nothing.csv").replace("name: mine", "name: other"))
    assert (ran.code, len(ran.out.splitlines())) == (4, 1)


def test_how_training_ended_is_told_once_for_all_seeds_and_never_of_counting(run):
    [late] = [line for line in " ".join(run().out.split()).split("warning: ") if "last tenth" in line]
    assert late.startswith("id_only x sasrec on table-events.csv: the best epoch is among the last tenth, so more")
    assert "raise recommender.train.epochs" in late


def test_patience_that_runs_out_is_no_warning(run):
    out = run(SPEC.replace("epochs: 1,", "epochs: 60, patience: 1, learning_rate: 1.0e-9,")).out
    assert "last tenth" not in out
    assert "cut off" not in out


def test_the_report_warns_of_runs_that_an_earlier_version_made(run, cli, tmp_path):
    """Their folders have no series and their store has no settings; the index is made anew from the folders."""
    run(mode="none")
    results = tmp_path / "results"
    for manifest in results.glob("runs/*/*/manifest.json"):
        about = json.loads(manifest.read_text())
        del about["series"]
        manifest.write_text(json.dumps(about | {"schema": 4}))
        (manifest.parent / "seal.json").unlink()
    with duckdb.connect(str(results / DATABASE)) as db:
        for column in ("series", "settings"):
            db.execute(f"alter table runs drop column {column}")
    run(SPEC.replace("name: mine", "name: other"), "--seed", "1", mode="none")
    rows = json.loads(cli("report", "mine", "--results", results, "--format", "json").out)["rows"]
    assert {tuple(row["seeds"]) for row in rows} == {(1, 2)}
    warned = {row["method"] for row in rows if any("last tenth" in warning for warning in row["warnings"])}
    assert warned == {"id_only"}
