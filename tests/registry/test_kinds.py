"""A kind of plugin is one entry in one table: with it, every verb and every key knows the kind."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from llmemb_bench.base.errors import SpecError
from llmemb_bench.contracts import Plugin
from llmemb_bench.registry.config import Choice, Config
from llmemb_bench.registry.entries import entries, find
from llmemb_bench.registry.kinds import KINDS, Kind
from llmemb_bench.spec.check import partial_spec
from llmemb_bench.spec.schema import spec_schema
from llmemb_bench.spec.source import parse
from llmemb_bench.stages.keys import stage_key

CONTRACT = """
from abc import abstractmethod

from llmemb_bench.contracts import Plugin
from llmemb_bench.testing.case import require


class Reranker(Plugin):
    def __init__(self, config):
        self.config = config

    @abstractmethod
    def order(self, items): ...


def it_keeps_every_item(case):
    items = [3, 1, 2]
    require(sorted(case.plugin(case.config).order(items)) == [1, 2, 3], "items are lost")


RERANKERS = (it_keeps_every_item,)
"""
SKELETON = '''"""skeleton: say what it is."""

from llmemb_bench.registry.config import Config
from newkind.contract import Reranker


class SkeletonConfig(Config):
    """Settings of `skeleton`."""

    depth: int = 10
    """How many items are ordered again."""


class Skeleton(Reranker):
    """Turns them round."""

    config: SkeletonConfig

    def order(self, items):
        return items[::-1]
'''


class RerankerChoice(Choice[Plugin, Config]):
    """What a spec's author writes to choose one."""

    kind = "rerankers"


class Part(Config):
    """A part of a spec that chooses plugins of the new kind."""

    rerankers: list[RerankerChoice] = []


@pytest.fixture
def package(tmp_path: Path, monkeypatch) -> Path:
    """An installed package that brings a new kind's contract and skeleton, and the kind's entry in the table."""
    folder = tmp_path / "newkind"
    folder.mkdir()
    for name, text in {"__init__": "", "contract": CONTRACT, "skeleton": SKELETON}.items():
        (folder / f"{name}.py").write_text(text)
    info = tmp_path / "newkind-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: newkind\nVersion: 0.1\n")
    (info / "entry_points.txt").write_text("[llmemb_bench.plugins]\nnewkind = newkind\n")
    monkeypatch.syspath_prepend(tmp_path)
    kind = Kind(
        RerankerChoice, "a ranking in, a better one out", "newkind.contract:Reranker", "newkind.contract:RERANKERS",
        "newkind.skeleton",
    )  # fmt: skip
    monkeypatch.setitem(KINDS, kind.name, kind)
    entries.cache_clear()
    yield folder
    entries.cache_clear()
    for module in [module for module in sys.modules if module.partition(".")[0] == "newkind"]:
        del sys.modules[module]


@pytest.fixture
def mine(package: Path, cli) -> Path:
    """A plugin of the new kind, as `new` writes it."""
    made = cli("new", "reranker", "mine", "--into", package)
    assert made.code == 0, made.err
    entries.cache_clear()
    return package / "rerankers" / "mine.py"


def test_every_verb_knows_a_kind_by_its_entry(mine: Path, cli):
    assert " ".join(cli("list", "rerankers").out.split()).endswith(" rerankers mine newkind mine: say what it is.")
    assert "rerankers/mine" in (shown := cli("show", "rerankers/mine").out)
    assert "How many items are ordered again." in shown
    assert cli("test", "rerankers/mine").out == "rerankers/mine: 4 passed\n"
    mine.write_text(mine.read_text().replace("items[::-1]", "items[:2]"))
    del sys.modules["newkind.rerankers.mine"]
    assert "failed: it keeps every item: items are lost" in cli("test", "rerankers/mine").out


def test_a_spec_chooses_plugins_of_it_and_is_told_what_is_wrong_with_their_settings(mine: Path, tmp_path: Path):
    right = partial_spec(parse("rerankers: [mine, {use: mine, depth: 3}]", "spec.yaml", tmp_path), Part)
    assert [choice.config.model_dump() for choice in right.rerankers] == [{"depth": 10}, {"depth": 3}]
    for wrong, said in [("{use: mine, deep: 3}", "depth"), ("{use: mime}", "did you mean 'mine'?")]:
        with pytest.raises(SpecError, match=r"spec\.yaml:1: .*") as error:
            partial_spec(parse(f"rerankers: [{wrong}]", "spec.yaml", tmp_path), Part)
        assert said in str(error.value)
    [names, plugin] = spec_schema()["$defs"]["rerankers"]["anyOf"]
    assert (names, set(plugin["properties"])) == ({"enum": ["mine"]}, {"use", "depth"})


def test_a_key_knows_its_settings_and_its_code(mine: Path):
    def key(**settings: int) -> str:
        entries.cache_clear()
        return stage_key("reranked", 1, [RerankerChoice("mine", settings)], [])

    assert key() == key(depth=10) != key(depth=9)
    before = key()
    mine.write_text(mine.read_text().replace("items[::-1]", "items[:]"))
    assert key() != before
    assert find("rerankers", "mine").path == mine


def test_the_table_needs_neither_torch_nor_a_contract():
    loaded = "import sys, json, llmemb_bench.registry.kinds; print(json.dumps(sorted(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)
    modules = json.loads(found.stdout)
    assert not [name for name in modules if name == "torch" or name.startswith(("llmemb_bench.contracts", "duckdb"))]


@pytest.mark.parametrize("kind", KINDS.values(), ids=list(KINDS))
def test_what_an_entry_names_is_there(kind: Kind):
    assert kind.load_contract().__name__ == kind.contract_name
    assert all(callable(check) for check in kind.load_checks())
    assert "class Skeleton" in kind.skeleton_text()
