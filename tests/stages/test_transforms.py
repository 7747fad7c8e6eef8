"""Transforms of a spec: what they are fitted on, what is made again, what is kept, and what a run says of them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import duckdb
import numpy as np
import pytest
from ruamel.yaml import YAML

from llmemb_bench.base.seal import seal
from llmemb_bench.runs.files import read_yaml, write_yaml
from llmemb_bench.spec.cells import load_cells
from llmemb_bench.stages.cache import Cache
from llmemb_bench.stages.cell import CellStages, Graph
from llmemb_bench.stages.vectors import EncodedVectors, TransformedVectors
from llmemb_bench.text.transforms import apply_all
from tests.helpers.commands import Ran

SPEC = """\
version: 1
name: transformed
seeds: [1]
dataset: {use: table, events: events.csv, items: items.csv}
embeddings:
  encoder: {use: random, dim: 6}
  transforms: [{use: pca, dim: 4}]
recommender:
  method: {use: llmemb, alignment: {weight: 0.0}}
  backbone: {use: sasrec, dim: 8, max_len: 6}
  objective: bce
  train: {epochs: 1}
evaluate: {protocols: [full], cutoffs: [5]}
"""


@pytest.fixture
def spec(events_csv: Path) -> Path:
    """A spec over thirty users and twenty items, one of which only a test event knows."""
    lines = [line for line in events_csv.read_text().splitlines(keepends=True) if ",i19," not in line]
    events_csv.write_text("".join([*lines, "u9,i19,99\n"]))
    (events_csv.parent / "spec.yaml").write_text(SPEC)
    return events_csv.parent / "spec.yaml"


def stages(spec: Path, transforms: str) -> CellStages:
    [cell] = load_cells(spec, [f"embeddings.transforms={transforms}"])
    return Graph(Cache(spec.parent / "results" / ".cache")).cell(cell.spec, 1)


def transformed(spec: Path, transforms: str) -> TransformedVectors:
    found = stages(spec, transforms).text
    assert isinstance(found, TransformedVectors)
    return found


def address(spec: Path, transforms: str) -> str:
    return transformed(spec, transforms).address


def test_without_transforms_the_vectors_are_the_encoders(spec):
    assert isinstance(stages(spec, "[]").text, EncodedVectors)
    assert stages(spec, "[]").text.result().table.shape == (21, 6)
    assert transformed(spec, "[{use: pca, dim: 4}]").result().table.shape == (21, 4)
    assert not transformed(spec, "[standardize]").result().table[0].any()  # padding stays zero


def test_transforms_follow_each_other(spec):
    plain = stages(spec, "[]").text.result().table[1:].numpy().astype(np.float64)
    found = transformed(spec, "[standardize, {use: select_dims, dim: 2, rule: uniform}]").result().table[1:].numpy()
    np.testing.assert_allclose(found, ((plain - plain.mean(0)) / plain.std(0))[:, [0, 3]], atol=1e-5)


def test_only_items_of_training_are_fitted_on_where_that_is_said(spec):
    plain = stages(spec, "[]").text.result().table[1:].numpy().astype(np.float64)
    cell = stages(spec, "[{use: standardize, fit_on: training}]")
    known = cell.split.result().popularity[1:] > 0
    assert 0 < (~known).sum() < 5
    found = cell.text.result().table[1:].numpy()
    np.testing.assert_allclose(found, (plain - plain[known].mean(0)) / plain[known].std(0), atol=1e-5)
    assert json.loads((cell.text.folder / "made.json").read_text())["training_items"] == known.sum()


def test_the_key_holds_settings_order_and_the_rows_that_are_fitted_on(spec):
    pca, training = "[{use: pca, dim: 4}]", "[{use: pca, dim: 4, fit_on: training}]"
    before = [address(spec, pca), address(spec, training)]
    others = ["[{use: pca, dim: 3}]", "[{use: pca, dim: 4}, standardize]", "[standardize, {use: pca, dim: 4}]"]
    assert len({*before, *(address(spec, other) for other in others)}) == 5
    events = spec.parent / "events.csv"
    events.write_text(events.read_text() + "u9,i3,100\nu9,i4,101\n")  # i19 is in training now
    assert address(spec, pca) == before[0]
    assert address(spec, training) != before[1]


def test_what_was_fitted_is_kept_as_arrays_and_applies_to_new_items(spec):
    made = transformed(spec, "[{use: pca, dim: 4, fit_on: training}, {use: whiten, groups: 2}, permute]")
    made.fill()
    assert sorted(path.name for path in made.folder.iterdir()) == [
        "made.json",
        "seal.json",
        *(f"transform-{place}.safetensors" for place in range(3)),
        "vectors.safetensors",
    ]
    plain, ids = made.encoded.result().table[1:].numpy(), list(made.encoded.catalogue.result().ids)
    np.testing.assert_array_equal(apply_all(made.fitted(), plain, ids), made.result().table[1:].numpy())
    new = np.concatenate([plain[:2], np.ones((1, 6), dtype=np.float32)])
    found = apply_all(made.fitted(), new, [*ids[:2], "an item that came later"])
    np.testing.assert_array_equal(found[:2], made.result().table[1:3].numpy())
    assert found.shape == (3, 4)


def results_of(spec: Path, cli: Callable[..., Ran], matrix: str = "") -> Path:
    """The results of the spec, with a matrix over transforms."""
    spec.write_text(SPEC + (f"matrix: {{embeddings.transforms: {matrix}}}\n" if matrix else ""))
    ran = cli("run", spec, "--results", spec.parent / "results", "--progress", "plain")
    assert ran.code == 0, ran.err
    return spec.parent / "results"


def test_a_matrix_of_transforms_encodes_once_and_tells_its_rows_apart(spec, cli):
    values = "[[], [{use: pca, dim: 4}], [{use: pca, dim: 3}], [{use: pca, dim: 4}, permute], [gaussian]]"
    finished = results_of(spec, cli, values)
    assert len(list((finished / ".cache" / "vectors").glob("[!.]*"))) == 1
    labels = {
        "random (transforms=none)": [],
        "random (transforms=[pca dim=4])": [],
        "random (transforms=[pca dim=3])": [],
        "random (transforms=[pca dim=4, permute])": ["permute"],
        "random (transforms=[gaussian])": ["gaussian"],
    }
    manifests = [json.loads(path.read_text()) for path in finished.glob("runs/*/*/manifest.json")]
    assert {manifest["encoder"]: manifest["controls"] for manifest in manifests} == labels
    rows = json.loads(cli("report", "--format", "json", "--results", finished).out)
    assert {row["encoder"] for row in rows["rows"] if row["method"] == "llmemb"} == labels.keys()
    vectors = [path.read_text() for path in finished.glob("runs/*/*/vectors.json")]
    [made] = [json.loads(text) for text in vectors if "permute" in text]
    assert (made["text_dim"], made["dim"]) == (6, 4)
    assert made["transforms"] == [
        {"use": "pca", "fit_on": "all", "dim": 4, "fitted_on": "all", "is_control": False},
        {"use": "permute", "fit_on": "all", "seed": 42, "fitted_on": "all", "is_control": True},
    ]


def test_a_run_is_served_without_the_cache_and_with_the_settings_of_an_earlier_version(spec, cli):
    finished = results_of(spec, cli)
    [run] = [path.parent for path in finished.glob("runs/*/*/seal.json")]
    before = cli("recommend", run, "--user", "u1", "--results", finished)
    assert before.code == 0, before.err
    shutil.rmtree(finished / ".cache")
    written = read_yaml(run / "spec.resolved.yaml")
    assert written["embeddings"].pop("transforms") == [{"use": "pca", "fit_on": "all", "dim": 4}]
    written["embeddings"]["reduce"] = {"dim": 4}
    write_yaml(run / "spec.resolved.yaml", written)
    (run / "seal.json").unlink()
    seal(run)
    again = cli("recommend", run, "--user", "u1", "--results", finished)
    assert (again.code, again.out) == (0, before.out)


def test_embed_transforms_and_asks_which_split_only_where_it_matters(spec, cli):
    spec.write_text(SPEC + "matrix: {split: [{by: last_two}, {by: time}]}\n")
    out = spec.parent / "vectors.parquet"
    ran = cli("embed", spec, "-o", out, "--results", spec.parent / "results")
    assert ran.code == 0, ran.err
    assert duckdb.sql(f"select max(len(vector)) from '{out}'").fetchall() == [(4,)]
    asked = cli("embed", spec, "-o", out, "--set", "embeddings.transforms=[{use: standardize, fit_on: training}]")
    assert (asked.code, "the matrix varies 'split': which value should be used?" in asked.err) == (2, True)
    wide = cli("embed", spec, "-o", out, "--set", "embeddings.transforms=[{use: pca, dim: 7}]")
    assert (wide.code, "PCA cannot give 7 dimensions of 20 items with 6 each -> use at most 6" in wide.err) == (2, True)


@pytest.mark.parametrize(
    ("written", "now"),
    [
        ("reduce: {dim: 64}", "transforms: [{use: pca, dim: 64}]"),
        ("reduce: null", "transforms: []"),
        ("reduce: 64", "transforms: [{use: pca, dim: 64}]"),
    ],
)
def test_the_former_key_says_what_to_write_instead(written, now, spec, cli):
    spec.write_text(SPEC.replace("transforms: [{use: pca, dim: 4}]", written))
    ran = cli("validate", spec)
    told = "'embeddings.reduce' no longer exists: PCA is one of the transforms"
    assert ran.code == 2
    assert f"{spec}:7: {told} -> {now}\n" in ran.err + ran.out
    spec.write_text(SPEC.replace("  transforms: [{use: pca, dim: 4}]\n", f"  {now}\n"))
    assert YAML(typ="safe").load(spec.read_text())["embeddings"]["transforms"] is not None
    assert cli("validate", spec).code == 0


def test_the_former_key_in_a_matrix_and_on_the_command_line(spec, cli):
    spec.write_text(SPEC + "matrix: {embeddings.reduce: [{dim: 2}, {dim: 3}]}\n")
    ran = cli("validate", spec)
    assert "spec.yaml:14: 'embeddings.reduce' no longer exists" in (told := ran.err + ran.out)
    assert "transforms: [{use: pca, dim: 2}]" in told
    assert "transforms: [{use: pca, dim: 3}]" in told
    spec.write_text(SPEC)
    ran = cli("run", spec, "--set", "embeddings.reduce={dim: 8}")
    assert (ran.code, "--set embeddings.reduce={dim: 8}: 'embeddings.reduce' no longer exists" in ran.err) == (2, True)
