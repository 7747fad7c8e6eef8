"""No command imports anything from the folder that it is typed in.

For the processes that a command starts, hostile modules lie in the folders of `test_processes.py` (accelerate) and
`test_scft.py` (an adapter read back).
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.packages import install

HOSTILE = (
    "json",
    "numpy",
    "torch",
    "random",
    "typer",
    "duckdb",
    "transformers",
    "yaml",
    "sitecustomize",
    "llmemb_plugins",
)


@pytest.fixture
def hostile(tmp_path, monkeypatch) -> Path:
    """The current folder, full of modules that leave a mark where they are imported."""
    folder = tmp_path / "here"
    folder.mkdir()
    for name in HOSTILE:
        (folder / f"{name}.py").write_text(f"open({str(folder / 'ran')!r}, 'a').write('{name} ')\n")
    monkeypatch.chdir(folder)
    return folder


def marks(folder: Path) -> str:
    return (folder / "ran").read_text() if (folder / "ran").exists() else ""


CONSOLE = [sys.executable, "-P", "-c", "from llmemb_bench.cli import main; main()"]
"""As pip writes the script, whose folder is not the current one."""
MODULE = [sys.executable, "-m", "llmemb_bench"]


def environment(**more: str) -> dict[str, str]:
    """Where our code lies, without what would keep the current folder out already."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"} | more


@pytest.mark.parametrize(
    ("command", "words"),
    [(CONSOLE, ["validate", "s.yaml"]), (MODULE, ["show", "sasrec"]), (MODULE, ["list"])],
    ids=["script", "module", "module, light"],
)
def test_a_command_imports_nothing_from_the_current_folder(command, words, hostile):
    (hostile / "s.yaml").write_text("version: 1\nname: s\n")
    ran = subprocess.run([*command, *words], capture_output=True, text=True, env=environment(), check=False)
    assert "Traceback" not in ran.stderr, ran.stderr
    assert marks(hostile) == ""


def test_the_modules_of_the_current_folder_would_run_if_they_were_asked_for(hostile):
    subprocess.run([sys.executable, "-c", "import json, torch"], capture_output=True, env=environment(), check=False)
    assert marks(hostile) == "json torch "


def test_installed_plugins_are_found_all_the_same(hostile, tmp_path):
    site = tmp_path / "site"
    site.mkdir()
    install(site)
    more = {"PYTHONPATH": os.pathsep.join(filter(None, [str(site), os.environ.get("PYTHONPATH")]))}
    for command in (CONSOLE, MODULE, [sys.executable, "-P", "-m", "llmemb_bench"]):
        ran = subprocess.run(
            [*command, "list", "backbones"], capture_output=True, text=True, env=environment(**more), check=False
        )
        assert "tiny_mean" in ran.stdout, ran.stderr
    assert marks(hostile) == ""
