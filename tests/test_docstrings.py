"""Every public function that raises an error of ours names it in its docstring."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import llmemb_bench
from llmemb_bench.base import errors

ROOT = Path(llmemb_bench.__file__).parent
OURS = {name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, errors.BenchError)}
Function = ast.FunctionDef | ast.AsyncFunctionDef


def public(tree: ast.AST, prefix: str = "") -> Iterator[tuple[str, Function]]:
    """Functions and methods that others may call, by dotted name; those inside of a function are its own affair."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, Function) and not node.name.startswith("_"):
            yield prefix + node.name, node
        elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from public(node, f"{prefix}{node.name}.")


def raised(function: Function) -> set[str]:
    """Names of our errors that follow a `raise`: of `SpecError(...)`, of `SpecError.of(...)`."""
    statements = [node.exc for node in ast.walk(function) if isinstance(node, ast.Raise) and node.exc is not None]
    return {inner.id for made in statements for inner in ast.walk(made) if isinstance(inner, ast.Name)} & OURS


FOUND = [
    pytest.param(function, id=f"{path.relative_to(ROOT)}:{name}")
    for path in sorted(ROOT.rglob("*.py"))
    if path.parent.name != "cli"  # where docstrings are for users
    for name, function in public(ast.parse(path.read_text(encoding="utf-8")))
    if raised(function)
]


@pytest.mark.parametrize("function", FOUND)
def test_a_docstring_names_the_errors_of_its_function(function: Function):
    missing = {name for name in raised(function) if name not in (ast.get_docstring(function) or "")}
    assert not missing


def test_functions_that_raise_are_found():
    assert len(FOUND) > 40
