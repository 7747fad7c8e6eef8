"""The rooms of the house: each may use those below it, none goes in a circle, and CONTRIBUTING tells them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import llmemb_bench
from tests import ROOT

HOUSE = Path(llmemb_bench.__file__).parent
ROOMS = (
    "base",
    "statistics",
    "registry",
    "settings",
    "values",
    "processes",
    "contracts",
    "skeletons",
    "data",
    "text",
    "evaluation",
    "training",
    "spec",
    "runs",
    "stages",
    "report",
    "running",
    "serving",
    "testing",
    "cli",
)
"""From the ground up."""


def imports(tree: ast.AST) -> Iterator[str]:
    """Our modules that a file imports, wherever in it; what is for types alone does not count."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{name.name}" for name in node.names)
        elif isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        yield from imports(node)


def used_rooms(file: Path) -> set[str]:
    """The rooms that a file of the house imports from."""
    found = [name.split(".") for name in imports(ast.parse(file.read_text()))]
    return {parts[1] for parts in found if parts[0] == "llmemb_bench" and parts[1] in ROOMS}


def test_every_file_of_the_house_is_in_a_room():
    assert sorted(path.name for path in HOUSE.glob("*.py")) == ["__init__.py", "__main__.py"]
    assert {path.parent.name for path in HOUSE.glob("*/*.py")} == set(ROOMS)


def test_a_room_uses_only_rooms_below_it():
    upwards = []
    for file in sorted(HOUSE.glob("*/**/*.py")):
        room = file.relative_to(HOUSE).parts[0]
        above = used_rooms(file) & set(ROOMS[ROOMS.index(room) + 1 :])
        upwards += [f"{file.relative_to(HOUSE)} uses {other}" for other in sorted(above)]
    assert upwards == []


def test_the_harness_never_names_the_built_in_plugins():
    for file in sorted(HOUSE.rglob("*.py")):
        assert not [name for name in imports(ast.parse(file.read_text())) if name.startswith("llmemb_plugins")], file


def test_contributing_has_a_row_for_every_room_from_the_ground_up():
    told = [
        line.split("`")[1] for line in (ROOT / "CONTRIBUTING.md").read_text().splitlines() if line.startswith("| `")
    ]
    assert [name for name in told if name in ROOMS] == list(ROOMS)
