"""Specs: YAML 1.2, extends, matrix, --set, labels, and every shipped spec."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmemb_bench.base.errors import BenchError, MissingError, SpecError
from llmemb_bench.base.hashing import digest
from llmemb_bench.registry.config import SpecPath
from llmemb_bench.registry.entries import find
from llmemb_bench.registry.resolve import resolve
from llmemb_bench.spec.cells import load_cells
from llmemb_bench.spec.schema import spec_schema
from llmemb_bench.spec.source import parse, read
from tests import ROOT

BASE = """\
version: 1
name: base
dataset: synthetic
recommender:
  method: id_only
  backbone: {use: sasrec, dim: 16}
  objective: bce
"""


def write(folder: Path, text: str, name: str = "spec.yaml") -> Path:
    (folder / name).write_text(text)
    return folder / name


@pytest.mark.parametrize("spec", sorted((ROOT / "specs").rglob("*.yaml")), ids=lambda path: path.name)
def test_every_shipped_comparison_has_counting_rows_and_each_of_them_once(spec):
    cells = load_cells(spec)
    uses = {cell.spec.recommender.method.use for cell in cells}
    counting = {use for use in uses if "training" not in find("methods", use).load().needs}
    assert "matrix" in read(spec).value
    assert uses > counting or spec.stem.endswith("_counting")
    assert "popularity" in counting
    rows = [(cell.spec.recommender.method, cell.spec.embeddings, cell.seed) for cell in cells]
    found = Counter(map(repr, (row for row in rows if row[0].use in counting)))
    assert set(found.values()) == {1}


@pytest.mark.parametrize("name", ["yelp", "beauty", "fashion"])
def test_the_papers_cells_read_texts_and_count_the_tail_as_published(name):
    for cell in load_cells(ROOT / "specs" / f"{name}_sasrec.yaml"):
        assert (cell.spec.evaluate.popularity, cell.spec.evaluate.tail_below) == ("all", 13 if name == "yelp" else 4)
        if embeddings := cell.spec.embeddings:
            read_as = {"bos": "leave_out", "eos": "append", "pooling": "mean", "max_tokens": 1024}
            assert read_as.items() <= embeddings.encoder.settings.items()


@pytest.mark.parametrize("spec", sorted((ROOT / "specs").rglob("*.yaml")), ids=lambda path: path.name)
def test_every_shipped_spec_is_valid_and_says_how_to_run_it(spec):
    assert load_cells(spec)
    head = spec.read_text().splitlines()[:3]
    assert any(
        line.startswith("# Run: ") and re.search(rf"llmemb-bench (run|embed) {spec.relative_to(ROOT)}", line)
        for line in head
    )


def test_yaml_is_read_as_version_1_2(tmp_path):
    values = parse("a: 1e-4\nb: no\nc: 12:30\nd: 0o10\ne: ~\n", "x", tmp_path).value
    assert values == {"a": 1e-4, "b": "no", "c": "12:30", "d": 8, "e": None}


def test_no_tag_builds_an_object(tmp_path):
    with pytest.raises(SpecError, match="builds an object -> write plain values"):
        parse("a: !!python/object/apply:os.system ['true']\n", "x", tmp_path)


def test_aliases_cannot_blow_up_a_spec(tmp_path):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]" for level in range(1, 8)]
    with pytest.raises(SpecError, match="holds more than"):
        parse("\n".join(lines), "x", tmp_path)


def test_a_bare_name_is_a_plugin_with_its_defaults(tmp_path):
    (cell,) = load_cells(write(tmp_path, BASE))
    assert resolve(cell.spec.recommender.objective) == {
        "use": "bce",
        "negatives": 1,
        "shared": False,
        "popularity": 0.0,
    }
    assert resolve(cell.spec.recommender.backbone)["max_len"] == 50


def test_extends_merges_maps_and_replaces_all_else(tmp_path):
    write(tmp_path, BASE + "seeds: [1, 2]\n", "base.yaml")
    spec = write(tmp_path, "extends: base.yaml\nname: child\nseeds: [3]\nrecommender: {backbone: {dim: 32}}\n")
    (cell,) = load_cells(spec)
    assert (cell.spec.name, cell.seed) == ("child", 3)
    assert cell.spec.recommender.backbone.settings["dim"] == 32
    assert cell.spec.recommender.backbone.use == "sasrec"


def test_another_plugin_inherits_no_settings(tmp_path):
    write(tmp_path, BASE, "base.yaml")
    spec = write(tmp_path, "extends: base.yaml\nname: child\nrecommender: {backbone: {use: gru4rec}}\n")
    (cell,) = load_cells(spec)
    assert cell.spec.recommender.backbone.settings == {}


def test_an_error_in_a_base_names_the_bases_line(tmp_path):
    write(tmp_path, BASE.replace("dim: 16", "dimm: 16"), "base.yaml")
    with pytest.raises(SpecError, match=r"base\.yaml:6: unknown key"):
        load_cells(write(tmp_path, "extends: base.yaml\nname: child\n"))


def test_a_circle_of_extends_is_an_error(tmp_path):
    write(tmp_path, "extends: b.yaml\n", "a.yaml")
    with pytest.raises(SpecError, match="extends itself"):
        read(write(tmp_path, "extends: a.yaml\n", "b.yaml"))


def test_the_matrix_is_a_product_and_seeds_multiply_it(tmp_path):
    text = (
        BASE + "seeds: [1, 2]\nmatrix:\n  recommender.backbone: [sasrec, gru4rec]\n  recommender.train.epochs: [3, 4]\n"
    )
    cells = load_cells(write(tmp_path, text))
    assert len(cells) == 8
    assert {(cell.labels.backbone, cell.labels.method) for cell in cells} == {
        (backbone, f"id_only (epochs={epochs})") for backbone in ("sasrec", "gru4rec") for epochs in (3, 4)
    }
    assert len({cell.folder for cell in cells}) == 8


def test_two_hundred_cells_are_checked_in_a_second_or_so(tmp_path):
    text = BASE + (
        "matrix:\n  recommender.backbone: [{use: sasrec, dim: 8}, gru4rec, bert4rec, hstu, fmlp]\n"
        "  recommender.objective: [bce, cross_entropy, gbce, sampled_softmax]\n"
        f"  recommender.train.epochs: {list(range(1, 11))}\n"
    )
    timed = (
        "import sys, time, pathlib; from llmemb_bench.spec.cells import load_cells; path = pathlib.Path(sys.argv[1])\n"
        "load_cells(path); begin = time.process_time(); cells = load_cells(path)\n"
        "print(len(cells), time.process_time() - begin)"
    )  # in a process of its own: here, every call has its types checked
    ran = subprocess.run(
        [sys.executable, "-c", timed, write(tmp_path, text)], capture_output=True, text=True, check=True
    )
    count, seconds = ran.stdout.split()
    assert (int(count), float(seconds) < 2) == (200, True)


def test_a_checked_choice_has_its_settings_made_once(tmp_path):
    (cell,) = load_cells(write(tmp_path, BASE))
    backbone = cell.spec.recommender.backbone
    assert backbone.config is cell.spec.model_copy().recommender.backbone.config
    assert type(backbone.config) is backbone.plugin.config_type()
    monitor = cell.spec.recommender.train.monitor  # a default, which no spec wrote
    assert monitor.config is monitor.config


def test_settings_tell_apart_two_uses_of_one_plugin(tmp_path):
    text = BASE + "matrix:\n  recommender.objective: [{use: bce, negatives: 1}, {use: bce, negatives: 5}]\n"
    assert [cell.labels.method for cell in load_cells(write(tmp_path, text))] == [
        "id_only (objective=bce negatives=1)",
        "id_only (objective=bce negatives=5)",
    ]


def test_a_counting_method_depends_on_no_part_that_it_does_not_use(tmp_path):
    text = BASE + "matrix:\n  recommender.method: [popularity, id_only]\n  recommender.backbone: [sasrec, gru4rec]\n"
    cells = load_cells(write(tmp_path, text))
    assert [(cell.labels.method, cell.labels.backbone) for cell in cells] == [
        ("popularity", "none"),
        ("id_only", "sasrec"),
        ("id_only", "gru4rec"),
    ]


def test_an_error_in_a_matrix_value_names_its_line(tmp_path):
    text = BASE + "matrix:\n  recommender.backbone:\n    - {use: sasrec}\n    - {use: sasrec, hedas: 2}\n"
    with pytest.raises(
        SpecError, match=r"spec\.yaml:11: unknown key 'recommender.backbone.hedas' -> did you mean 'heads'"
    ):
        load_cells(write(tmp_path, text))


def test_set_overrides_and_opens_a_bare_name(tmp_path):
    spec = write(tmp_path, BASE)
    (cell,) = load_cells(spec, ["recommender.objective.negatives=3", "recommender.train.learning_rate=1e-2"])
    assert cell.spec.recommender.objective.settings == {"negatives": 3}
    assert cell.spec.recommender.train.learning_rate == 0.01


def test_set_cannot_be_lost_under_the_matrix(tmp_path):
    spec = write(tmp_path, BASE + "matrix: {recommender.backbone: [sasrec]}\n")
    with pytest.raises(SpecError, match=r"the matrix varies 'recommender\.backbone'"):
        load_cells(spec, ["recommender.backbone.dim=8"])
    (cell,) = load_cells(spec, ["matrix.recommender.backbone=[gru4rec]"])
    assert cell.labels.backbone == "gru4rec"


def test_seeds_on_the_command_line_replace_the_specs(tmp_path):
    assert [cell.seed for cell in load_cells(write(tmp_path, BASE), seeds=[7, 9])] == [7, 9]


def test_paths_start_from_the_file_that_they_stand_in(tmp_path, monkeypatch):
    (tmp_path / "below").mkdir()
    write(tmp_path / "below", BASE.replace("synthetic", "{use: interactions, file: data/x.txt}"), "base.yaml")
    (cell,) = load_cells(write(tmp_path, "extends: below/base.yaml\nname: child\n"))
    from llmemb_bench.registry.resolve import paths_in

    assert [path.resolve() for path in paths_in(cell.spec.dataset)] == [tmp_path / "below" / "data" / "x.txt"]


def test_a_variable_is_never_stored_resolved(tmp_path, monkeypatch):
    monkeypatch.setenv("SOMEWHERE", "/secret")
    path = SpecPath("${env:SOMEWHERE}/x", tmp_path)
    assert resolve(path) == "${env:SOMEWHERE}/x"
    assert path.resolve() == Path("/secret/x")
    monkeypatch.delenv("SOMEWHERE")
    with pytest.raises(MissingError, match="export SOMEWHERE=FOLDER"):
        path.resolve()


def test_the_hash_of_a_configuration_tells_values_apart_and_ignores_order():
    assert digest({"a": 12, "b": 34}) != digest({"a": 34, "b": 12})
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})


@given(st.dictionaries(st.text(), st.integers() | st.text()), st.dictionaries(st.text(), st.integers() | st.text()))
def test_different_configurations_have_different_hashes(left, right):
    assert (digest(left) == digest(right)) == (left == right)


def test_the_schema_knows_every_plugin_and_forbids_unknown_keys():
    schema = spec_schema()
    json.dumps(schema)
    assert schema["additionalProperties"] is False
    backbones = {plugin["title"]: plugin for plugin in schema["$defs"]["backbones"]["anyOf"][1:]}
    assert {"sasrec", "gru4rec", "bert4rec"} <= backbones.keys()
    assert backbones["sasrec"]["additionalProperties"] is False
    assert backbones["sasrec"]["properties"]["heads"]["description"]


def test_validating_needs_no_data_and_no_weights(cli, tmp_path, monkeypatch):
    monkeypatch.delenv("LLMEMB_BENCH_DATA", raising=False)
    ran = cli("validate", *sorted((ROOT / "specs").rglob("*.yaml")))
    assert ran.code == 0
    assert ran.out.count("valid") == len(list((ROOT / "specs").rglob("*.yaml")))


def test_errors_are_sorted_by_who_must_act():
    assert [int(kind.exit_code) for kind in (BenchError, SpecError, MissingError)] == [1, 2, 4]
