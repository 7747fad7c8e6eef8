"""What was run with several settings under one name: every number is shown, says what it is of, and is averaged with
none of another kind."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

SPEC = """\
version: 1
name: mine
seeds: [1, 2]
dataset: {use: table, events: events.csv}
recommender: {method: popularity}
evaluate: {protocols: [full], cutoffs: [5]}
"""
TRAINED = """\
version: 1
name: mine
dataset: {use: table, events: events.csv, items: items.csv}
embeddings: {encoder: {use: tfidf, dim: 4}}
recommender:
  method: id_only
  backbone: {use: sasrec, dim: 8, max_len: 6}
  objective: bce
  train: {epochs: 1, batch_size: 8}
evaluate: {protocols: [full]}
"""


class Results:
    """A results folder and the commands over it."""

    def __init__(self, folder: Path, cli: Callable) -> None:
        self.folder, self.cli = folder, cli

    def run(self, spec: str, *words: object, of: str = "mine.yaml") -> None:
        (self.folder / of).write_text(spec)
        ran = self.cli("run", self.folder / of, "--results", self.folder / "results", "--progress", "none", *words)
        assert ran.code == 0, ran.err

    def rows(self, metric: str = "hr@5") -> list[dict]:
        found = json.loads(self.cli("report", "--results", self.folder / "results", "--format", "json").out)["rows"]
        return [row for row in found if (row["bucket"], row["metric"]) == ("overall", metric)]

    def table(self) -> str:
        return self.cli("report", "--results", self.folder / "results").out

    def hits(self, seed: int, name: str) -> float:
        """HR@5 of a run folder, counted from its ranks without our code."""
        import duckdb

        [file] = (self.folder / "results" / "runs").glob(f"mine/{name}*-s{seed}*/per_user.parquet")
        query = f"select n_greater, n_equal from '{file}' where protocol = 'full'"
        greater, equal = np.array(duckdb.sql(query).fetchall()).T
        return float(np.clip((5 - greater) / (equal + 1), 0, 1).mean())


@pytest.fixture
def results(cli, events_csv, tmp_path) -> Results:
    return Results(tmp_path, cli)


def labels(rows: Sequence[dict], *names: str) -> list[tuple]:
    return [tuple(row[name] for name in names) for row in rows]


def test_other_settings_and_the_first_again_are_two_rows_and_never_one_mean(results):
    results.run(TRAINED, "--seed", "1", "--seed", "2")
    first = results.table()
    assert "epochs=" not in first
    results.run(TRAINED, "--seed", "1", "--set", "recommender.train.epochs=3")
    results.run(TRAINED, "--seed", "1", "--seed", "2")
    rows = results.rows("hr@10")
    assert labels(rows, "method", "seeds") == [("id_only (epochs=1)", [1, 2]), ("id_only (epochs=3)", [1])]
    assert f"{rows[0]['mean']:.4f}" in first
    assert "none of 2 settings of id_only x sasrec x none in mine is chosen" in results.table()


@pytest.mark.parametrize(
    ("changed", "titles"),
    [
        ("evaluate.cutoffs=[10, 5]", ["cutoffs=[5]", "cutoffs=[10, 5]"]),
        ("evaluate.head_share=0.4", ["head_share=0.2", "head_share=0.4"]),
        ("evaluate.history=keep", ["history=mask", "history=keep"]),
        ("evaluate.popularity=all", ["popularity=training", "popularity=all"]),
        ("evaluate.tail_below=3", ["tail_below=none", "tail_below=3"]),
        ("dataset.min_item_events=9", ["min_item_events=1", "min_item_events=9"]),
    ],
)
def test_another_protocol_or_dataset_is_another_table_that_says_what_differs(changed, titles, results):
    results.run(SPEC, "--seed", "1")
    results.run(SPEC, "--seed", "1", "--set", changed)
    tables = results.table()
    assert labels(results.rows(), "method", "seeds") == [("popularity", [1])] * 2
    for title in titles:
        assert f"{title}) · full" in tables


def test_a_protocol_more_is_a_table_more_and_no_row_twice(results):
    results.run(SPEC)
    results.run(SPEC, "--set", "evaluate.protocols=[sampled-5, full]")
    assert labels(results.rows(), "method", "protocol", "seeds", "n_settings") == [
        ("popularity", "full", [1, 2], 1),
        ("popularity", "sampled-5", [1, 2], 1),
    ]


def test_a_metric_more_is_a_column_more_and_no_row_twice(results):
    results.run(SPEC)
    before = results.rows()
    results.run(SPEC, "--set", "evaluate.metrics=[mrr, hr]")
    results.run(SPEC)
    assert results.rows() == before
    assert labels(results.rows("mrr@5"), "method", "seeds") == [("popularity", [1, 2])]
    lines = [line for line in results.table().splitlines() if "│ popularity" in line]
    assert [("–" in line) for line in lines] == [False]  # 180 columns hold three metrics


def test_a_metric_that_fewer_seeds_have_stands_in_a_line_of_its_own(results):
    results.run(SPEC)
    results.run(SPEC, "--seed", "2", "--set", "evaluate.metrics=[mrr]")
    lines = [line.replace("│", " ").split() for line in results.table().splitlines() if "│ popularity" in line]
    assert [line[1] for line in lines] == ["2", "1"]
    assert [line.count("–") for line in lines] == [3, 6]


def test_seeds_that_come_later_enter_the_mean_of_their_row(results):
    results.run(SPEC, "--set", "recommender.method=popularity")
    results.run(TRAINED.replace("[full]", "[full], cutoffs: [5]"), "--seed", "3")
    results.run(TRAINED.replace("[full]", "[full], cutoffs: [5]"), "--seed", "4")
    [row] = [row for row in results.rows() if row["method"] == "id_only"]
    each = [results.hits(seed, "id_only") for seed in (3, 4)]
    assert (row["seeds"], row["mean"]) == ([3, 4], pytest.approx(np.mean(each)))
    assert row["std"] == pytest.approx(np.std(each, ddof=1))


def test_an_entry_that_left_the_matrix_is_still_there(results):
    matrix = "matrix: {recommender.method: [popularity, cooccurrence]}\n"
    results.run(SPEC.replace("{method: popularity}", "{}") + matrix)
    results.run(SPEC)
    assert labels(results.rows(), "method", "seeds") == [("popularity", [1, 2]), ("cooccurrence", [1, 2])]


def test_what_a_matrix_varied_and_what_a_spec_says_is_one_row_where_it_is_the_same(results):
    varied = "matrix: {recommender.backbone.dim: [4, 8]}\n"
    results.run(TRAINED + varied, "--seed", "1")
    results.run(TRAINED + varied, "--seed", "2")
    before = labels(results.rows("hr@10"), "backbone", "seeds")
    assert before == [("sasrec (dim=4)", [1, 2]), ("sasrec (dim=8)", [1, 2])]
    results.run(TRAINED, "--seed", "1")  # dim: 8
    assert labels(results.rows("hr@10"), "backbone", "seeds") == [("sasrec (dim=4)", [1, 2]), ("sasrec", [1, 2])]


def test_settings_of_an_encoder_stand_with_its_name(results):
    results.run(TRAINED, "--set", "recommender.method=llmemb")
    results.run(TRAINED, "--set", "recommender.method=llmemb", "--set", "embeddings.encoder.dim=8")
    rows = results.rows("hr@10")
    assert labels(rows, "method", "encoder") == [("llmemb", "tfidf (dim=4)"), ("llmemb", "tfidf (dim=8)")]
    assert labels(rows, "n_settings", "chosen") == [(1, True)] * 2  # other vectors are no search


def test_two_files_of_one_name_keep_their_data_apart(results):
    text = (results.folder / "events.csv").read_text().splitlines()
    (results.folder / "half.csv").write_text("\n".join(text[:91]) + "\n")
    results.run(SPEC)
    results.run(SPEC.replace("events.csv", "half.csv"), of="other.yaml")
    rows = results.rows()
    assert sorted(labels(rows, "dataset", "n_users")) == [("table-events.csv", 30), ("table-half.csv", 15)]


def test_two_folders_with_a_spec_of_one_name_do_not_write_over_each_other(results):
    text = (results.folder / "events.csv").read_text().splitlines()
    (results.folder / "other").mkdir()
    (results.folder / "other" / "events.csv").write_text("\n".join(text[:91]) + "\n")
    for _ in range(2):
        results.run(SPEC, "--seed", "1")
        results.run(SPEC, "--seed", "1", of="other/mine.yaml")
    rows = results.rows()
    assert labels(rows, "n_users", "seeds") == [(30, [1]), (15, [1])]
    assert len({row["dataset"] for row in rows}) == 2
    assert len(list((results.folder / "results" / "runs" / "mine").iterdir())) == 2


def test_a_seed_of_an_edited_file_is_not_averaged_with_those_before(results):
    results.run(SPEC)
    events = results.folder / "events.csv"
    events.write_text("\n".join(events.read_text().splitlines()[:91]) + "\n")
    results.run(SPEC, "--seed", "2")
    rows = results.rows()
    assert labels(rows, "n_users", "seeds") == [(30, [1]), (15, [2])]
    assert all("table-events.csv (data=" in row["dataset"] for row in rows)
    results.run(SPEC)
    assert labels(results.rows(), "dataset", "n_users", "seeds") == [("table-events.csv", 15, [1, 2])]


def test_vectors_from_a_file_that_changed_are_not_averaged_with_those_before(results):
    items = [f"i{place}" for place in range(20)]
    spec = TRAINED.replace("{use: tfidf, dim: 4}", "{use: precomputed, vectors: vectors.npy, ids: ids.txt}")
    (results.folder / "ids.txt").write_text("\n".join(items) + "\n")
    for seed in (1, 2):
        np.save(results.folder / "vectors.npy", np.random.default_rng(seed).normal(size=(20, 4)).astype(np.float32))
        results.run(spec.replace("id_only", "llmemb"), "--seed", seed)
    rows = results.rows("hr@10")
    assert labels(rows, "seeds") == [([1],), ([2],)]
    assert all("inputs=" in row["method"] for row in rows)


def test_where_nothing_fits_the_report_names_what_there_is(results):
    results.run(SPEC)
    results.run(SPEC.replace("mine", "other"), "--seed", "7")
    for words in (["nothing"], ["--seed", "3"], ["mine", "--seed", "7"]):
        ran = results.cli("report", *words, "--results", results.folder / "results")
        assert (ran.code, ran.out) == (2, "")
        assert "there are: mine (seeds 1, 2); other (seeds 7)" in ran.err
