"""docs/methods.md says what the catalogue says of each method; `python tests/test_methods_page.py` writes its table."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest
import torch

from llmemb_bench.contracts import Backbone, Method, Parts
from llmemb_bench.registry.entries import OURS, Entry, entries, find
from llmemb_bench.registry.kinds import BackboneChoice
from llmemb_bench.testing.recommender import known

PAGE = Path(__file__).parent.parent / "docs" / "methods.md"
START, END = "<!-- table: python tests/test_methods_page.py -->\n", "<!-- end of table -->"
HEAD = "| method | needs | trains, beside the backbone | what it is |\n|---|---|---|---|\n"
METHODS = sorted(
    (entry for entry in entries() if entry.kind == "methods" and entry.origin == OURS), key=lambda e: e.name
)


def needs_of(plugin: type[Method]) -> str:
    """`text, backbone`; what trains says so in a column of its own."""
    return ", ".join(need for need in ("text", "backbone") if need in plugin.needs) or "-"


def trained_by(plugin: type[Method]) -> str:
    """Names of the parts with weights that training moves, with default settings."""
    if "training" not in plugin.needs:
        return "-"
    config, table = plugin.config_type()(), torch.randn(13, 16)
    table[0] = 0
    sasrec = BackboneChoice("sasrec", {"dim": 8})
    upstream = {name: known(table[:, :8]) for name in plugin.upstream(config)}
    backbone = find("backbones", "sasrec").load()(sasrec.config)
    assert isinstance(backbone, Backbone)
    method = plugin(config, Parts(12, backbone, table if "text" in plugin.needs else None, upstream))
    parts = {name.partition(".")[0] for name, weight in method.named_parameters() if weight.requires_grad}
    return ", ".join(f"`{part}`" for part in sorted(parts - {"backbone", "mask"})) or "-"


def row(entry: Entry) -> str:
    plugin = entry.load()
    assert issubclass(plugin, Method)
    return f"| [`{entry.name}`](#{entry.name}) | {needs_of(plugin)} | {trained_by(plugin)} | {entry.summary} |\n"


def table() -> str:
    return HEAD + "".join(map(row, METHODS))


def section(name: str) -> str:
    return PAGE.read_text(encoding="utf-8").partition(f"\n## {name}\n")[2].partition("\n## ")[0]


def test_the_table_is_that_of_the_catalogue():
    _, _, rest = PAGE.read_text(encoding="utf-8").partition(START)
    assert rest.partition(END)[0] == table(), "write it anew: python tests/test_methods_page.py"


def test_every_method_has_its_section_and_no_other():
    sections = re.findall(r"^## (.*)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert sections == [entry.name for entry in METHODS]


@pytest.mark.parametrize("name", [entry.name for entry in METHODS])
def test_a_section_tells_all_that_a_reader_asks(name):
    text, plugin = section(name), find("methods", name).load()
    for asked in ("Source:", "Trained:", "Settings:", "Decided here:", "Cost:"):
        assert f"\n- **{asked}**" in text, asked
    for setting in plugin.config_type().model_fields:
        assert f"`{setting}`" in text, setting
    assert inspect.cleandoc(plugin.__doc__ or "")


if __name__ == "__main__":
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(START)
    PAGE.write_text(before + START + table() + END + rest.partition(END)[2], encoding="utf-8")
