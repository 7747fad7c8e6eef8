"""What counts as a plugin's code in keys: its file and all that it imports of plugin packages, and nothing else."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from llmemb_bench.registry.entries import entries, find
from llmemb_bench.registry.sources import _read_version, code_hash

METRIC = '''"""A metric."""

from llmemb_bench.registry.config import Config
from llmemb_bench.contracts import Metric
{imports}


class MineConfig(Config):
    base: float = 2.0
    """Words under a setting."""


class Mine(Metric):
    """Words."""

    config: MineConfig

    def gain(self, ranks):
        """More words."""
        {inside}
        return self.config.base ** (1.0 - ranks)
'''


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        for folder in path.parents:
            if folder != root and folder.is_relative_to(root) and not folder.name.endswith("dist-info"):
                (folder / "__init__.py").touch()
        path.write_text(text)


def install(root: Path, package: str, files: dict[str, str]) -> None:
    """A package with plugins, as pip leaves it."""
    write(root, {f"{package}/{name}": text for name, text in files.items()})
    info = root / f"{package}-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 0.1\n")
    (info / "entry_points.txt").write_text(f"[llmemb_bench.plugins]\n{package} = {package}\n")


Changed = Callable[[str, str, str], bool]


@pytest.fixture
def changed(tmp_path, monkeypatch) -> Changed:
    """Install two packages, say of which file what text is another, and hear whether the plugin `mine` is another."""
    plain = {"imports": "", "inside": ""}
    files = {
        "metrics/mine.py": METRIC.format(**plain | {"imports": "from . import _near", "inside": "import _lazy"}),
        "metrics/_near.py": "from ..shared import CONSTANT\n",
        "metrics/_other.py": "OTHER = 1\n",
        "metrics/theirs.py": METRIC.format(**plain),
        "shared.py": "import second.losses._deep as deep\nCONSTANT = 1\n",
        "losses/_unused.py": "UNUSED = 1\n",
    }
    install(tmp_path, "first", files)
    second = {"losses/_deep.py": "def deep():\n    from second.tools import far\n", "tools/far.py": "FAR = 1\n"}
    install(tmp_path, "second", second | {"metrics/second_one.py": METRIC.format(**plain)})
    write(tmp_path, {"bystander/code.py": "CODE = 1\n"})
    monkeypatch.syspath_prepend(tmp_path)

    def current() -> str:
        entries.cache_clear()
        return find("metrics", "mine").source_hash

    def call(name: str, old: str, new: str) -> bool:
        before, text = current(), (tmp_path / name).read_text()
        assert old in text
        (tmp_path / name).write_text(text.replace(old, new))
        return current() != before

    yield call
    entries.cache_clear()
    assert not {"first", "second"} & sys.modules.keys(), "hashing imports nothing"


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("first/metrics/mine.py", "1.0 - ranks", "2.0 - ranks"),
        ("first/metrics/mine.py", "base: float = 2.0", "base: float = 3.0"),
        ("first/metrics/_near.py", "CONSTANT\n", "CONSTANT\nX = 1\n"),
        ("first/shared.py", "CONSTANT = 1", "CONSTANT = 2"),
        ("first/shared.py", "CONSTANT = 1", "CONSTANT = 'one'"),
        ("first/metrics/__init__.py", "", "import first.losses\n"),
        ("second/losses/_deep.py", "def deep", "def deeper"),
        ("second/tools/far.py", "FAR = 1", "FAR = 2"),
    ],
    ids=["own", "a-default", "private", "beside-kinds", "a-text", "package", "other-package", "in-a-function"],
)
def test_code_that_a_plugin_runs_counts_wherever_it_lies(name, old, new, changed: Changed):
    assert changed(name, old, new)


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("first/metrics/mine.py", '"""A metric."""', '"""A better metric.\n\nOf mine.\n"""'),
        ("first/metrics/mine.py", '"""Words under a setting."""', '"""Others."""'),
        ("first/metrics/mine.py", '        """More words."""\n', "        # a comment\n"),
        ("first/metrics/mine.py", "1.0 - ranks", "1.0  -  (ranks)"),
        ("first/metrics/_near.py", "\n", "  # a comment\n"),
        ("first/metrics/_other.py", "OTHER = 1", "OTHER = 2"),
        ("first/metrics/theirs.py", "1.0 - ranks", "2.0 - ranks"),
        ("first/losses/_unused.py", "UNUSED = 1", "UNUSED = 2"),
        ("second/metrics/second_one.py", "1.0 - ranks", "2.0 - ranks"),
        ("bystander/code.py", "CODE = 1", "CODE = 2"),
    ],
)
def test_words_layout_and_files_that_it_never_imports_count_for_nothing(name, old, new, changed: Changed):
    assert not changed(name, old, new)


def test_a_package_that_is_not_of_plugins_does_not_count(changed: Changed):
    changed("first/metrics/_near.py", "\n", "\nimport bystander.code\n")
    assert not changed("bystander/code.py", "CODE = 1", "CODE = 2")


@pytest.mark.parametrize("statement", ["from .. import shared", "import one.shared", "from one import shared as x"])
def test_every_way_to_import_is_followed(statement, tmp_path):
    write(tmp_path, {"one/kind/plugin.py": f"def run():\n    {statement}\n", "one/shared.py": "X = 1\n"})
    path, homes = tmp_path / "one/kind/plugin.py", {"one": [tmp_path / "one"]}
    before = code_hash("one.kind.plugin", path, homes)
    (tmp_path / "one/shared.py").write_text("X = 22\n")
    assert code_hash("one.kind.plugin", path, homes) != before


def test_a_circle_of_imports_and_a_file_that_is_no_python_end(tmp_path):
    write(tmp_path, {"one/a.py": "from one import b\n", "one/b.py": "from one.a import x\nimport one.c\n"})
    write(tmp_path, {"one/c.py": "def broken(:\n"})
    homes = {"one": [tmp_path / "one"]}
    before = code_hash("one.a", tmp_path / "one/a.py", homes)
    (tmp_path / "one/c.py").write_text("def broken(::\n")
    assert code_hash("one.a", tmp_path / "one/a.py", homes) != before


def test_each_plugin_of_ours_has_a_hash_of_its_own_and_no_file_is_read_twice():
    found = {entry: entry.source_hash for entry in entries() if entry.origin == "llmemb-bench"}
    assert len(set(found.values())) == len(found)
    entries.cache_clear()
    read = _read_version.cache_info().misses
    assert {entry: entry.source_hash for entry in entries() if entry.origin == "llmemb-bench"} == found
    assert _read_version.cache_info().misses == read, "no file is read twice"
