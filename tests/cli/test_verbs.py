"""The small verbs: what they print, and what they tell a newcomer to type next."""

from __future__ import annotations

import json
import re

import pytest

from llmemb_bench.registry.entries import entries
from llmemb_bench.registry.kinds import KINDS


def test_new_writes_a_plugin_and_says_how_specs_find_it(cli, tmp_path):
    ran = cli("new", "backbones", "my_net", "--into", tmp_path / "my_plugins")
    assert ran.code == 0
    assert "llmemb-bench test backbones/my_net" in ran.out
    assert '[project.entry-points."llmemb_bench.plugins"]\n    my_plugins = "my_plugins"' in ran.out
    again = cli("new", "backbones", "my_net", "--into", tmp_path / "my_plugins")
    assert (again.code, "already exists" in again.err) == (2, True)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("new", "backbons", "x"), "no kind of plugin is called 'backbons' -> did you mean 'backbones'?"),
        (("new", "backbones", "2x"), "'2x' cannot name a plugin"),
        (("new", "backbones", "class"), "'class' cannot name a plugin"),
        (("list", "loses"), "no kind of plugin is called 'loses' -> did you mean 'losses'?"),
        (("show", "sasrecc"), "no plugin is called 'sasrecc' -> did you mean 'sasrec'?"),
        (("test", "losses/sasrec"), "no plugin is called 'sasrec'"),
    ],
)
def test_a_wrong_name_is_a_usage_error_with_a_suggestion(words, message, cli):
    ran = cli(*words)
    assert (ran.code, message in ran.err) == (2, True), ran.err


def test_list_names_every_plugin_once_with_its_first_line(cli):
    printed = cli("list").out
    for entry in entries():
        assert entry.name in printed
        assert entry.summary[:40] in printed
    assert set(KINDS) <= set(printed.split())


@pytest.mark.parametrize("entry", entries(), ids=lambda entry: f"{entry.kind}/{entry.name}")
def test_show_names_every_setting_with_its_default(entry, cli):
    printed = cli("show", f"{entry.kind}/{entry.name}").out
    for name in entry.load().config_type().model_fields:
        assert name in printed


@pytest.mark.parametrize("name", ["table", "llmemb", "sentence_encoder", "yelp", "bert4rec", "hr"])
def test_show_tells_types_and_defaults_as_one_writes_them(name, cli):
    printed = " ".join(cli("show", name).out.split())
    assert not re.search(r"Validator|<function|0x[0-9a-f]{4}|Optional|typing|Annotated|None|False|True", printed)


def test_show_names_the_settings_inside_a_setting_that_may_be_absent(cli):
    printed = cli("show", "sentence_encoder").out
    assert re.search(r"lora\.rank +│ whole number, 1 or more +│ 8 ", printed)
    assert re.search(r"max_tokens +│ whole number, 1 or more", printed)


def test_list_check_says_what_it_checked(cli):
    ran = cli("list", "metrics", "--check")
    assert ran.code == 0
    assert ran.out.splitlines()[-1] == (
        "checked: 3 plugins of llmemb-bench imported, one class of the kind in each file: none broken; "
        "their contracts: llmemb-bench test"
    )
    assert "checked" not in cli("list", "metrics").out


def test_the_schema_is_written_to_a_file(cli, tmp_path):
    assert cli("schema", "-o", tmp_path / "a" / "schema.json").code == 0
    assert json.loads((tmp_path / "a" / "schema.json").read_text())["title"]
