"""The README holds: its commands exist, its links lead somewhere, its first spec is valid."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import typer

from llmemb_bench.cli.app import app
from llmemb_bench.spec.cells import load_cells, text_spec
from tests import ROOT

README = (ROOT / "README.md").read_text()
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def test_the_readme_opens_with_the_two_commands():
    assert len(re.findall(r"<!-- (?:quickstart|tests) -->\n```bash\n[^\n]+\n```", README)) == 2
    assert README.index("<!-- quickstart -->") < README.index("<!-- tests -->") < 1800


def test_continuous_integration_runs_the_second_command_as_written():
    script = (ROOT / ".ci" / "run").read_text()
    [reads] = re.findall(r"^command=\$\((.*)\)$", script, re.MULTILINE)
    read = subprocess.run(["bash", "-c", reads], cwd=ROOT, capture_output=True, text=True, check=True)  # noqa: S607
    [written] = re.findall(r"<!-- tests -->\n```bash\n([^\n]+)\n```", README)
    assert read.stdout == written + "\n"
    assert 'bash -euo pipefail -c "$command"' in script


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\((?!https?://)([^)#]+)\)", page.read_text()):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_spec_that_is_named_exists(page):
    named = set(re.findall(r"specs/(\w+\.yaml)", page.read_text())) - {"mine.yaml"}
    assert named <= {path.name for path in (ROOT / "specs").glob("*.yaml")}


def test_every_verb_has_a_row_and_every_row_is_a_verb():
    cells = re.findall(r"^\| (`llmemb-bench .*?) \| ", README, re.MULTILINE)
    named = [re.findall(r"`(?:llmemb-bench )?([a-z]+(?: [a-z]+)?)", cell.replace("or `", "")) for cell in cells]
    group = {f"data {verb.removeprefix('data ')}" for verbs in named if verbs[0].startswith("data") for verb in verbs}
    verbs = {verb.split()[0] for verbs in named if not verbs[0].startswith("data") for verb in verbs}
    commands = typer.main.get_command(app).commands
    assert verbs | {"data"} == commands.keys()
    assert group == {f"data {verb}" for verb in commands["data"].commands}


def test_the_specs_are_valid(tmp_path):
    first, embeddings = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    (tmp_path / "mine.yaml").write_text(first)
    assert len(load_cells(tmp_path / "mine.yaml")) == 8
    (tmp_path / "vectors.yaml").write_text("dataset: {use: synthetic}\n" + embeddings)
    assert text_spec(tmp_path / "vectors.yaml").embeddings.encoder.use == "causal_lm"


def test_the_exit_codes_are_the_documented_ones():
    from llmemb_bench.base.errors import Exit

    told = "done|a run|the spec|some|this machine|not the data|interrupted|terminated"
    assert sorted(map(int, re.findall(rf"\b(\d+) (?:{told})", README))) == sorted(int(code) for code in Exit)


def test_the_constraints_pin_what_the_project_asks_for():
    pinned = {line.partition("==")[0].lower().replace("_", "-") for line in _lines(ROOT / "constraints.txt")}
    asked = re.findall(r'^  ?"?([A-Za-z][\w.-]+)[><=\[]', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert {name.lower().replace("_", "-") for name in asked} - {"llmemb-bench"} <= pinned


def _lines(path: Path) -> list[str]:
    return [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
