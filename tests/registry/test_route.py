"""The contributor's route, as CONTRIBUTING.md has it: in a clone after the README's install, and in a package of one's
own. What pip leaves behind is written by hand here; the slow test lets pip do it."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

import pytest

from llmemb_bench.base.errors import Exit
from llmemb_bench.registry.kinds import KINDS
from llmemb_bench.registry.scaffold import new_plugin
from tests import ROOT

ROUTE = re.findall(r"```bash\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL)
COMMANDS = [shlex.split(line, comments=True) for line in ROUTE[0].splitlines()]


def enter(site: Path, project: Path) -> None:
    """The metadata that pip leaves of a project."""
    declared = tomllib.loads((project / "pyproject.toml").read_text())["project"]
    info = site / f"{declared['name'].replace('-', '_')}-{declared['version']}.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {declared['name']}\nVersion: {declared['version']}\n")
    points = declared["entry-points"]["llmemb_bench.plugins"].items()
    (info / "entry_points.txt").write_text("[llmemb_bench.plugins]\n" + "".join(f"{k} = {v}\n" for k, v in points))


def project(folder: Path, name: str, package: str) -> Path:
    """A project that enters a package, whatever that is."""
    point = f'[project.entry-points."llmemb_bench.plugins"]\nmine = "{package}"\n'
    (folder / "pyproject.toml").write_text(f'[project]\nname = "{name}"\nversion = "1"\n{point}')
    return folder


@pytest.fixture
def site(tmp_path) -> Path:
    """What `pip install .` of this project leaves: copies, not links to the clone."""
    folder = tmp_path / "site"
    shutil.copytree(ROOT / "plugins" / "llmemb_plugins", folder / "llmemb_plugins")
    (folder / "llmemb_bench").symlink_to(ROOT / "harness" / "llmemb_bench")
    enter(folder, ROOT)
    return folder


@pytest.fixture
def clone(tmp_path) -> Path:
    """The parts of a clone that a plugin goes into."""
    folder = tmp_path / "clone"
    shutil.copytree(ROOT / "plugins", folder / "plugins", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def run(*words: str, at: Path, path: list[Path]) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path))}
    command = [sys.executable, "-m", "llmemb_bench", *words]
    return subprocess.run(command, cwd=at, capture_output=True, text=True, env=environment, check=False)


def test_the_route_of_contributing_holds_in_a_clone(site, clone):
    assert COMMANDS[0] == ["pip", "install", "-e", "."]
    for program, *words in COMMANDS[1:]:
        assert program == "llmemb-bench"
        ran = run(*words, at=clone, path=[clone / "plugins", site])
        assert ran.returncode == Exit.DONE, ran.stdout + ran.stderr
    assert (clone / "plugins" / "llmemb_plugins" / "backbones" / "my_backbone.py").is_file()


def test_without_the_editable_install_every_step_says_what_is_missing(site, clone):
    made = run("new", "backbone", "my_backbone", at=clone, path=[site])
    assert "wrote plugins/llmemb_plugins/backbones/my_backbone.py" in made.stdout
    assert "first, once, so that specs find it: pip install -e ." in made.stdout
    tested = run("test", "my_backbone", at=clone, path=[site])
    assert (tested.returncode, tested.stderr) == (
        Exit.USAGE,
        "error: no plugin is called 'my_backbone': plugins/llmemb_plugins/backbones/my_backbone.py is in no installed "
        "package -> pip install -e .\n",
    )


def test_a_package_of_ones_own_needs_two_commands(site, tmp_path):
    work = tmp_path / "work"
    work.mkdir()
    asked = run("new", "backbone", "my_net", at=work, path=[site])
    assert asked.returncode == Exit.USAGE
    assert "-> llmemb-bench new backbones my_net --into my_plugins\n" in asked.stderr
    assert list(work.iterdir()) == []
    made = run("new", "backbones", "my_net", "--into", "my_plugins", at=work, path=[site])
    assert made.returncode == Exit.DONE, made.stderr
    assert "first, once, so that specs find it: pip install -e .\n" in made.stdout
    enter(site, work)
    assert "backbones/my_net: " in run("test", "my_net", at=work, path=[work, site]).stdout
    second = run("new", "metric", "my_metric", at=work, path=[work, site])
    assert second.stdout == (
        "wrote my_plugins/metrics/my_metric.py\nnext: edit it, then: llmemb-bench test metrics/my_metric\n"
    )


@pytest.mark.parametrize("words", [("list",), ("show", "sasrec"), ("test", "hr")])
def test_a_project_that_enters_the_package_of_the_built_ins_is_refused(words, site, tmp_path):
    enter(site, project(tmp_path, "rival", "llmemb_plugins"))
    ran = run(*words, at=tmp_path, path=[site])
    assert (ran.returncode, ran.stdout) == (Exit.USAGE, "")
    assert re.fullmatch(
        r"error: entry point \"llmemb_bench.plugins\" of rival: 'llmemb-bench' and 'rival' both enter a package called "
        r"'llmemb_plugins': one hides the other -> pip uninstall rival, .*\n",
        ran.stderr,
    )


@pytest.mark.parametrize(
    ("package", "finding"),
    [
        ("nobody_has_this", "the package 'nobody_has_this' cannot be found"),
        ("nobody.has.this", "the package 'nobody.has.this' cannot be found"),
        ("email", "the package 'email' holds no plugin"),
        ("json.decoder", "the package 'json.decoder' holds no plugin"),
    ],
)
def test_an_entry_point_that_leads_nowhere_is_said_by_check_and_stops_nothing(package, finding, site, tmp_path):
    enter(site, project(tmp_path, "lost", package))
    listed = run("list", "metrics", at=tmp_path, path=[site])
    assert (listed.returncode, "ndcg" in listed.stdout) == (Exit.DONE, True), listed.stderr
    checked = run("list", "metrics", "--check", at=tmp_path, path=[site])
    assert checked.returncode == Exit.FAILED
    assert f"BROKEN entry point of lost: {finding} -> " in checked.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("backbone", "sasrec", "--into", "my_plugins"),
            "'sasrec' already exists, in llmemb-bench",
        ),
        (("metrics", "hr", "--into", "my_plugins"), "choose another name: my_hr"),
        (("loss", "mine", "--into", "llmemb_plugins"), "there is a package 'llmemb_plugins' already: "),
        (("loss", "mine", "--into", "llmemb_bench"), "there is a package 'llmemb_bench' already: "),
        (("loss", "mine", "--into", "json"), "there is a package 'json' already: "),
        (("loss", "mine", "--into", "my-plugins"), "'my-plugins' cannot name a Python package -> --into my_plugins"),
        (("loss", "mine", "--into", "class"), "'class' cannot name a Python package"),
        (("loss", "Mine-2"), "'Mine-2' cannot name a plugin -> use lower-case letters, digits and _, e.g. mine_2"),
        (("loss", "2x"), "e.g. x"),
        (("loss", "lambda"), "'lambda' cannot name a plugin -> use lower-case letters, digits and _, e.g. my_lambda"),
        (("loss", "größe"), "'größe' cannot name a plugin"),
        (("loss", "a" * 300), "cannot name a plugin"),
        (("loss", "../x"), "'../x' cannot name a plugin"),
        (("los", "x"), "no kind of plugin is called 'los' -> did you mean 'losses'?"),
        (("loss", "mine", "--into", "file/my_plugins"), "file/my_plugins/losses/mine.py: cannot be written: "),
    ],
)
def test_what_new_cannot_write_is_one_line(words, message, cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    ran = cli("new", *words)
    assert ran.code in (Exit.USAGE, Exit.ENVIRONMENT)
    assert ran.err.startswith("error: ")
    assert (message in ran.err, ran.err.count("\n"), ran.out) == (True, 1, ""), ran.err
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("spelt", [str, str.capitalize, lambda kind: "loss" if kind == "losses" else kind[:-1]])
def test_every_kind_is_understood_in_singular_and_plural(kind, spelt, package):
    assert new_plugin(spelt(kind), "mine", package) == package / kind / "mine.py"


@pytest.mark.parametrize("name", ["tensor", "loss", "field", "config", "skeleton", "float", "x"])
def test_a_class_is_not_called_like_one_that_it_uses(name, package):
    text = new_plugin("loss", name, package).read_text()
    imported = set(re.findall(r"import (.*)", text.replace(", ", "\nimport ")))
    assert not imported & set(re.findall(r"class (\w+)", text))
    compile(text, name, "exec")


@pytest.mark.slow  # pip makes a virtual environment's worth of files
def test_the_route_of_contributing_holds_with_pip(tmp_path):
    clone, environment = tmp_path / "clone", tmp_path / "venv"
    clone.mkdir()
    for name in ("harness", "plugins", "README.md", "LICENSE", "pyproject.toml"):
        source = ROOT / name
        shutil.copytree(source, clone / name) if source.is_dir() else shutil.copy(source, clone / name)
    venv.create(environment, with_pip=True)
    [packages] = environment.glob("lib/python*/site-packages")
    (packages / "borrowed.pth").write_text(f"{Path(pytest.__file__).parents[1]}\n")  # torch and the rest
    plain = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}

    def call(*words: str) -> subprocess.CompletedProcess[str]:
        command = [str(environment / "bin" / words[0]), *words[1:]]
        return subprocess.run(command, cwd=clone, env=plain, capture_output=True, text=True, check=False)

    installed = call("pip", "install", "--no-deps", ".")  # the README's
    assert installed.returncode == 0, installed.stderr
    call("llmemb-bench", "new", "backbone", "my_first")
    assert "pip install -e ." in call("llmemb-bench", "test", "my_first").stderr
    for words in COMMANDS:
        ran = call(*words, *(["--no-deps"] if words[0] == "pip" else []))
        assert ran.returncode == 0, ran.stdout + ran.stderr
    assert call("llmemb-bench", "test", "my_first").returncode == 0
