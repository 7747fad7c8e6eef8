"""Paths as people write them: `~`, `$HOME`, `${env:NAME}`, in settings and in options."""

from __future__ import annotations

import shutil

import pytest

from llmemb_bench.base.errors import SpecError
from llmemb_bench.registry.config import SpecPath, expanded

SPEC = """\
version: 1
name: rep
dataset: {use: table, events: events.csv}
recommender: {method: popularity}
evaluate: {protocols: [full], metrics: [mrr], cutoffs: [5]}
"""


@pytest.fixture
def home(tmp_path, events_csv, monkeypatch):
    """The home folder, with the events; the working folder is another."""
    folder = tmp_path / "home"
    folder.mkdir()
    shutil.move(events_csv, folder / "events.csv")
    shutil.move(tmp_path / "items.csv", folder / "items.csv")
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "spec.yaml").write_text(SPEC)
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("D", str(folder))
    monkeypatch.chdir(tmp_path / "work")
    return folder


def last_line(ran) -> str:
    assert "Traceback" not in ran.err
    return ran.err.splitlines()[-1]


@pytest.mark.parametrize("path", ["~/events.csv", "~//events.csv", "${env:HOME}/events.csv", "~/../home/events.csv"])
def test_the_home_folder_is_where_a_tilde_says(path, home, cli):
    assert cli("run", "spec.yaml", "--set", f"dataset.events={path}", "--progress", "none").code == 0


def test_a_variable_may_hold_a_tilde(home, cli, monkeypatch):
    monkeypatch.setenv("D", "~")
    assert cli("run", "spec.yaml", "--set", "dataset.events=${env:D}/events.csv", "--progress", "none").code == 0


def test_a_tilde_in_a_spec_in_the_items_and_in_extends(home, cli):
    (home / "base.yaml").write_text(SPEC.replace("events.csv}", "~/events.csv, items: ~/items.csv}"))
    (home.parent / "work" / "child.yaml").write_text("extends: ~/base.yaml\nname: child\n")
    assert cli("run", "child.yaml", "--progress", "none").code == 0


def test_a_user_is_named_as_in_a_shell():
    assert str(expanded("~root/x")) == "/root/x"
    assert str(expanded("~nobody_of_that_name/x")) == "~nobody_of_that_name/x"
    assert str(expanded("a/~/x")) == "a/~/x"


def test_a_tilde_in_the_middle_is_a_name(home, cli):
    (home.parent / "work" / "~").mkdir()
    shutil.copy(home / "events.csv", home.parent / "work" / "~" / "e.csv")
    assert cli("run", "spec.yaml", "--set", "dataset.events=./~/e.csv", "--progress", "none").code == 0


def test_options_know_the_home_folder(home, cli, monkeypatch):
    (home / "spec.yaml").write_text(
        SPEC.replace("events.csv}", "events.csv, items: items.csv}").replace("metrics: [mrr], ", "")
    )
    assert cli("validate", "~/spec.yaml").code == 0
    assert cli("run", "~/spec.yaml", "--results", "~/out", "--progress", "none").code == 0
    run = next((home / "out" / "runs" / "rep").glob("popularity-*"))
    assert cli("report", "--results=~/out").code == 0
    assert cli("export", f"~/{run.relative_to(home)}", "-o", "~/exported", "--results", "~/out").code == 0
    assert (home / "exported" / "top_k.parquet").is_file()
    assert cli("data", "describe", "~/spec.yaml", "--results", "~/out").code in (0, 5)
    assert cli("schema", "-o", "~/schema.json").code == 0
    assert (home / "schema.json").is_file()
    monkeypatch.setenv("LLMEMB_BENCH_RESULTS", "~/out")
    assert cli("report").code == 0
    assert not [path for path in (home.parent / "work").iterdir() if path.name.startswith("~")]


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("$HOME/events.csv", "${env:HOME}/events.csv"),
        ("${D}/events.csv", "${env:D}/events.csv"),
        ("$D/$SUB/events.csv", "${env:D}/${env:SUB}/events.csv"),
        ("${HOME}/part-*.csv", "${env:HOME}/part-*.csv"),
        ("data/${D}.csv", "data/${env:D}.csv"),
        ("$env:D/events.csv", "${env:D}/events.csv"),
        ("$env:D\\events.csv", "${env:D}/events.csv"),
        ("%D%/events.csv", "${env:D}/events.csv"),
        ("%USERPROFILE%\\e\\events.csv", "${env:USERPROFILE}/e/events.csv"),
        ("${env:D}/$SUB/e.csv", "${env:D}/${env:SUB}/e.csv"),
    ],
)
def test_a_variable_of_the_shell_gets_a_hint(path, meant, home, cli):
    ran = cli("run", "spec.yaml", "--set", f"dataset.events='{path}'", "--progress", "none")
    assert (ran.code, f'-> "{meant}"' in last_line(ran)) == (2, True)


def test_a_dollar_in_the_name_of_a_file_is_a_dollar(tmp_path):
    (tmp_path / "a$b.csv").write_text("x")
    assert SpecPath("a$b.csv", tmp_path).resolve() == tmp_path / "a$b.csv"
    assert SpecPath("5$.csv", tmp_path).resolve() == tmp_path / "5$.csv"
    with pytest.raises(SpecError, match=r"\$c is not how a spec names a variable"):
        SpecPath("a$c.csv", tmp_path).resolve()


@pytest.mark.parametrize(
    ("line", "quoted"),
    [
        ("dataset: {use: table, events: ${env:D}/events.csv}", '"${env:D}/events.csv"'),
        ("dataset: {events: ${env:D}/events.csv, use: table}", '"${env:D}/events.csv"'),
        ("dataset: {use: table, events: data/${env:D}.csv}", '"data/${env:D}.csv"'),
        ("dataset: {use: table, attributes: [${env:D}/x]}", '"${env:D}/x"'),
        ("dataset: {use: table, events: ${D}/events.csv}", '"${D}/events.csv"'),
    ],
)
def test_a_variable_in_a_flow_map_wants_quotes(line, quoted, home, cli):
    spec = home.parent / "work" / "spec.yaml"
    spec.write_text(SPEC.replace("dataset: {use: table, events: events.csv}", line))
    ran = cli("validate", "spec.yaml")
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert ran.err.startswith("error: spec.yaml:3: is not YAML")
    assert f"quote what holds ${{...}}, for example {quoted}" in ran.err


@pytest.mark.parametrize("text", ["dataset: {use: table, events: '${env:D}/events.csv'}", "~/e"])
def test_what_is_quoted_or_stands_alone_needs_no_hint(text, home, cli):
    spec = home.parent / "work" / "spec.yaml"
    line = text if text.startswith("dataset") else "dataset:\n  use: table\n  events: ${env:D}/events.csv"
    spec.write_text(SPEC.replace("dataset: {use: table, events: events.csv}", line))
    assert cli("run", "spec.yaml", "--progress", "none").code == 0


@pytest.mark.parametrize("path", ["", ".", "..", "a\0b", "x" * 5_000, "~", "${env:D}"])
def test_what_is_no_file_is_one_line(path, home, cli):
    text = SPEC.replace("events: events.csv", "events: " + '"' + path.replace("\0", "\\0") + '"')
    (home.parent / "work" / "spec.yaml").write_text(text)
    ran = cli("run", "spec.yaml", "--progress", "none")
    assert (ran.code in (2, 4), ran.err.count("\n")) == (True, 1)


@pytest.mark.parametrize("path", ["${env:D/e.csv", "${D:-x}/e.csv", "$(pwd)/e.csv", "`pwd`/e.csv", "${ENV:D}/e.csv"])
def test_what_only_a_shell_reads_gets_one_hint(path, home, cli):
    ran = cli("run", "spec.yaml", "--set", f"dataset.events='{path}'", "--progress", "none")
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert 'no shell reads a spec -> "${env:NAME}/..." for a variable' in ran.err


@pytest.mark.parametrize("path", ["C:\\data\\e.csv", "c:/data/e.csv"])
def test_a_path_of_windows_is_told_as_one(path, home, cli):
    ran = cli("run", "spec.yaml", "--set", f"dataset.events='{path}'", "--progress", "none")
    assert ran.code == 2
    assert "but of Windows -> /mnt/c/data/e.csv, if it is mounted there" in last_line(ran)


def test_a_variable_of_windows_without_quotes_is_no_yaml(home, cli):
    ran = cli("run", "spec.yaml", "--set", "dataset.events=%D%/events.csv")
    assert ran.code == 2
    assert last_line(ran).endswith('-> "${env:D}/..." in place of %D%')


def extending(home, cli, name: str):
    (home / "s.yaml").write_text(SPEC)
    (home.parent / "work" / "child.yaml").write_text(f"name: child\nextends: '{name}'\n")
    return cli("validate", "child.yaml")


def test_extends_knows_a_variable(home, cli):
    assert extending(home, cli, "${env:D}/s.yaml").code == 0
    assert extending(home, cli, "../home/${env:S}.yaml").code == 4


@pytest.mark.parametrize(
    ("name", "code", "said"),
    [
        ("$D/s.yaml", 2, "child.yaml:2: '$D/s.yaml' is not a path on this machine, and $D is not how a spec names"),
        ("${D}/s.yaml", 2, '-> "${env:D}/s.yaml"'),
        ("$env:D/s.yaml", 2, '-> "${env:D}/s.yaml"'),
        ("%D%\\s.yaml", 2, '-> "${env:D}/s.yaml"'),
        ("$(pwd)/s.yaml", 2, "child.yaml:2: '$(pwd)/s.yaml' is not a path on this machine, and no shell reads a spec"),
        ("${env:NOT_SET_HERE}/s.yaml", 4, "child.yaml:2: the environment variable NOT_SET_HERE is not set"),
        ("nothing.yaml", 2, "nothing.yaml: cannot be read: No such file"),
    ],
)
def test_what_extends_does_not_find_is_told(name, code, said, home, cli):
    ran = extending(home, cli, name)
    assert (ran.code, ran.err.count("\n")) == (code, 1)
    assert said in ran.err


@pytest.mark.parametrize("words", [("report", "--results", ""), ("schema", "-o", ""), ("validate", ""), ("run", "")])
def test_an_empty_path_is_refused(words, home, cli):
    ran = cli(*words)
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert "a path on the command line is empty -> name one" in ran.err


@pytest.mark.parametrize(
    "path", ["$HOME/r", "${HOME}/r", "${env:HOME}/r", "$env:HOME/r", "$(pwd)/r", "a/$D/r", "%D%/r"]
)
def test_what_the_shell_did_not_expand_is_told(path, home, cli):
    for words in (("report", "--results"), ("schema", "-o"), ("validate",)):
        ran = cli(*words, path)
        assert (ran.code, ran.err.count("\n")) == (2, 1)
        assert f"'{path}' is not a path on this machine: the shell did not expand it" in ran.err
    assert not [one for one in (home.parent / "work").iterdir() if one.name != "spec.yaml"]


@pytest.mark.parametrize("name", ["cost$usd.json", "100%.json", "$5.json"])
def test_a_dollar_in_the_name_of_a_file_to_write_is_a_dollar(name, home, cli):
    assert cli("schema", "-o", name).code == 0
    assert (home.parent / "work" / name).is_file()
