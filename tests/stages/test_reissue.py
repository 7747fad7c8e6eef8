"""A finished run is recognised by its identity: nothing is prepared, encoded, trained or ranked to find it."""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SPEC = """\
version: 1
name: again
seeds: [1, 2]
dataset: {use: table, events: events.csv, items: items.csv}
embeddings:
  encoder: {use: tfidf, dim: 4}
recommender:
  backbone: {use: sasrec, dim: 8, max_len: 6}
  objective: bce
  train: {epochs: 1}
evaluate: {protocols: [full, sampled-5]}
matrix: {recommender.method: [popularity, id_only, llmemb]}
"""
WORK = ("dataset.prepare", "vectors.encode", "recommender.train", "candidates.rank", "candidates.draw_candidates")
LARGE = """\
version: 1
name: large
seeds: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]
dataset: {use: synthetic, users: 60, catalogue: 100}
recommender: {}
evaluate: {protocols: [full]}
matrix:
  recommender.method: [popularity, cooccurrence, {use: cooccurrence, decay: 0.5}, {use: cooccurrence, decay: 0.7},
                       {use: cooccurrence, decay: 0.6}]
  evaluate.head_share: [0.1, 0.2, 0.3, 0.4]
"""
SECONDS = 2.0
"""Of a processor for 200 cells, beside what importing torch takes: about half of it on a quiet machine."""


@pytest.fixture
def run(cli, events_csv, tmp_path):
    (tmp_path / "spec.yaml").write_text(SPEC)

    def call(*words: object):
        return cli("run", tmp_path / "spec.yaml", "--results", tmp_path / "results", "--progress", "plain", *words)

    return call


def stages_on_the_shelf(results: Path) -> set[str]:
    return {path.name for path in (results / ".cache").glob("*")}


def test_finished_cells_are_found_without_a_cache_and_without_work(run, tmp_path, monkeypatch):
    assert run().code == 0
    results = tmp_path / "results"
    assert {"data", "vectors", "recommender", "candidates", "facts"} <= stages_on_the_shelf(results)
    shutil.rmtree(results / ".cache")
    for work in WORK:
        monkeypatch.setattr(f"llmemb_bench.stages.{work}", lambda *_, work=work: pytest.fail(f"{work} was called"))
    again = run()
    assert "6 of 6 cells done (6 were already there)" in again.out
    assert stages_on_the_shelf(results) == {"fingerprint"}


def test_one_missing_cell_is_made_alone(run, tmp_path):
    run()
    shutil.rmtree(tmp_path / "results" / ".cache")
    [gone] = (tmp_path / "results" / "runs" / "again").glob("popularity-*-s2")
    shutil.rmtree(gone)
    assert "(5 were already there)" in run().out
    assert gone.is_dir()
    assert stages_on_the_shelf(tmp_path / "results") == {"fingerprint", "data", "candidates", "facts"}


def test_other_raw_files_are_another_run(run, events_csv):
    run()
    with events_csv.open("a") as file:
        file.write("u0,i19,99\n")
    assert "6 of 6 cells done;" in run().out


def test_more_events_over_the_same_items_encode_nothing_again(run, events_csv, monkeypatch):
    run()
    with events_csv.open("a") as file:
        file.write("u29,i0,99\n")
    monkeypatch.setattr("llmemb_bench.stages.vectors.encode", lambda *_: pytest.fail("encoded again"))
    assert run().code == 0


def test_another_phrase_in_the_texts_trains_no_model_of_ids_again(run, tmp_path):
    run("--set", "matrix={recommender.method: [id_only]}")
    before = set((tmp_path / "results" / ".cache" / "recommender").glob("[!.]*"))
    run("--set", "matrix={recommender.method: [id_only]}", "--set", "dataset.phrase= {name}= {value}")
    assert set((tmp_path / "results" / ".cache" / "recommender").glob("[!.]*")) == before


@pytest.mark.slow
def test_two_hundred_finished_cells_are_found_in_seconds(tmp_path):
    (tmp_path / "spec.yaml").write_text(LARGE)
    command = [sys.executable, "-m", "llmemb_bench", "run", "spec.yaml", "--progress", "none"]

    def seconds(words: list[str]) -> tuple[float, str]:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        out = subprocess.run(words, check=True, capture_output=True, text=True, cwd=tmp_path).stdout
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime, out

    assert "200 of 200 cells done;" in seconds(command)[1]
    spent, out = seconds(command)
    assert "(200 were already there)" in out
    assert spent - seconds([sys.executable, "-c", "import torch"])[0] < SECONDS


def test_a_finished_run_in_a_folder_that_is_read_only_is_one_line(tmp_path):
    """It needs to write nothing, but whoever runs wants to; what lies there is shown by `report`."""
    rows = [f"u{user},i{user % 3 + time},{time}\n" for user in range(9) for time in range(5)]
    (tmp_path / "events.csv").write_text("user,item,time\n" + "".join(rows))
    (tmp_path / "spec.yaml").write_text(
        "version: 1\nname: kept\ndataset: {use: table, events: events.csv}\nrecommender: {method: popularity}\n"
        "evaluate: {protocols: [full], cutoffs: [2]}\n"
    )
    program = f"{sys.executable} -m llmemb_bench run spec.yaml --progress none"
    mount = "mount --bind results results && mount -o remount,ro,bind results"
    subprocess.run(program, shell=True, check=True, cwd=tmp_path, capture_output=True)  # noqa: S602  # our own words
    words = ["unshare", "-m", "bash", "-c", f"{mount} || exit 99; {program}"]
    try:
        ran = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("no unshare here")
    if ran.returncode in (1, 99):
        pytest.skip(f"nothing can be mounted here: {ran.stderr.strip()}")
    assert (ran.returncode, ran.stderr.count("\n"), "Traceback" in ran.stderr) == (4, 1, False)
    assert (
        ran.stderr
        == "error: results: cannot be used: Read-only file system -> choose another folder with --results DIR\n"
    )
