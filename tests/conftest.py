"""Fixtures that tests share."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # a worker a core; before anything imports torch
os.environ.pop("COLUMNS", None)  # what a command prints in a test does not depend on who runs it

import numpy as np
import pytest

from llmemb_bench.cli import main
from llmemb_bench.registry.entries import Entry
from llmemb_bench.values.split import Split
from tests import ROOT
from tests.helpers.commands import Ran
from tests.helpers.small_world import title_of
from tests.helpers.splits import make_split


@pytest.fixture
def real_data() -> Path:
    """The folder of real data sets; tests that need it skip where it is absent."""
    folder = Path(os.environ.get("LLMEMB_BENCH_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip("no real data: set LLMEMB_BENCH_DATA to their folder")
    return folder


@pytest.fixture
def random_split() -> Callable[..., Split]:
    """Random histories: `random_split(seed, n_users, n_items)`; some users are shorter than three events."""

    def build(seed: int = 0, n_users: int = 30, n_items: int = 25, longest: int = 12) -> Split:
        rng = np.random.default_rng(seed)
        lengths = rng.integers(1, longest + 1, size=n_users)
        lengths[0] = max(lengths[0], 3)
        return make_split([rng.integers(1, n_items + 1, size=length).tolist() for length in lengths], n_items)

    return build


@pytest.fixture
def cli(capsys, monkeypatch) -> Callable[..., Ran]:
    """Run the console script in this process: `cli("validate", "spec.yaml")`."""

    def call(*words: object) -> Ran:
        monkeypatch.setattr("sys.argv", ["llmemb-bench", *map(str, words)])
        capsys.readouterr()
        try:
            main()
            code = 0
        except SystemExit as ended:
            code = int(ended.code or 0)
        printed = capsys.readouterr()
        return Ran(code, printed.out, printed.err)

    return call


@pytest.fixture
def events_csv(tmp_path) -> Path:
    """Thirty users over twenty items with texts, as a user's own files."""
    rng = np.random.default_rng(0)
    lines = [
        f"u{user},i{item},{time}\n"
        for user in range(30)
        for time, item in enumerate(rng.choice(20, size=6, replace=False))
    ]
    (tmp_path / "events.csv").write_text("user,item,time\n" + "".join(lines))
    (tmp_path / "items.csv").write_text(
        "item,title\n" + "".join(f"i{item},Thing number {item} {title_of(item)}\n" for item in range(20))
    )
    return tmp_path / "events.csv"


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A plugin package on the path, entered by the same look-up as an installed one."""
    name = "borrowed_plugins"
    monkeypatch.syspath_prepend(tmp_path)
    root = tmp_path / name

    def find_own(kind: str, plugin: str) -> Entry:
        return Entry(kind, plugin, f"{name}.{kind}.{plugin}", "borrowed", root / kind / f"{plugin}.py")

    monkeypatch.setattr("llmemb_bench.testing.runner.find", find_own)
    yield root
    for module in [module for module in sys.modules if module.startswith(name)]:
        del sys.modules[module]
