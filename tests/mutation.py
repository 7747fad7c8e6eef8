"""Do the tests notice a wrong operator? `python -m tests.mutation [MODULE[:LINE] ...]` prints the mutants that survive.

Each comparison, arithmetic or boolean operator, constant, condition and returned value of a few modules is changed,
one at a time, and the quick tests of that module are run until one fails. Tests are collected once; every mutant is a
fork of that process, in which the module's functions get the code of the mutant: no file is written, and most mutants
take a fraction of a second.
"""

from __future__ import annotations

import ast
import copy
import importlib
import inspect
import os
import resource
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import pytest

from tests import ROOT

SECONDS = 15
"""Of processor time: a mutant that takes longer goes round in circles, and counts as noticed."""
COUNTS = "tests/training/test_monitor.py::test_ranking_by_counts_is_the_ranking_of_a_method_that_scores_them"
TESTS = {
    "evaluation.ranking": (COUNTS, "tests/evaluation/test_ranking.py", "tests/plugins/test_counting.py"),
    "evaluation.buckets": ("tests/evaluation/test_buckets.py",),
    "evaluation.expectation": (
        "tests/evaluation/test_metrics.py::test_a_wrong_metric_is_an_error_that_names_it",
        "tests/evaluation/test_metrics.py::test_any_sequence_of_one_number_a_rank_will_do",
        "tests/evaluation/test_expectation.py",
        "tests/evaluation/test_ranking.py",
    ),
    "values.split": ("tests/values/test_split.py", "tests/evaluation/test_ranking.py"),
    "values.padding": ("tests/values/test_padding.py", "tests/evaluation/test_ranking.py"),
    "settings.split": ("tests/settings/test_split.py", "tests/values/test_split.py"),
}
"""Module to the tests that are to notice; none may start threads (DuckDB), which a fork does not have."""
PLAIN = (
    *("-x", "-q", "--no-header", "--show-capture=no", "--tb=no", "--hypothesis-seed=0", "-m", "not slow and not gpu"),
    *("-p", "no:cacheprovider", "-p", "no:benchmark", "--override-ini", "addopts="),
)
COMPARED = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
COMPUTED = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mod,
    ast.Mod: ast.FloorDiv,
    ast.Pow: ast.Mult,
    ast.LShift: ast.RShift,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}


@dataclass(frozen=True)
class Mutant:
    """One change of a module."""

    line: int
    change: str
    tree: ast.Module


def changes(node: ast.AST) -> Iterator[ast.AST]:
    """What may stand in a node's place."""
    match node:
        case ast.Compare(ops=ops):
            for place, operator in enumerate(ops):
                for other in COMPARED[type(operator)]:
                    yield _with(node, ops=[*ops[:place], other(), *ops[place + 1 :]])
        case ast.BinOp(op=operator) | ast.AugAssign(op=operator) if type(operator) in COMPUTED:
            yield _with(node, op=COMPUTED[type(operator)]())
        case ast.BoolOp(op=operator):
            yield _with(node, op=ast.Or() if isinstance(operator, ast.And) else ast.And())
        case ast.UnaryOp(operand=operand):
            yield operand
        case ast.IfExp(test=test) | ast.If(test=test) | ast.While(test=test):
            yield _with(node, test=ast.UnaryOp(ast.Not(), test))
        case ast.Constant(value=bool() as value):
            yield ast.Constant(not value)
        case ast.Constant(value=int() | float() as value):
            yield ast.Constant(value + 1)
            yield ast.Constant(value - 1)


def _with(node: ast.AST, **fields: object) -> ast.AST:
    other = copy.copy(node)
    for name, value in fields.items():
        setattr(other, name, value)
    return other


def mutants(source: str) -> Iterator[Mutant]:
    """Every change of a module, but for annotations and texts."""
    for number, node in enumerate(_places(ast.parse(source))):
        for turn in range(len(list(changes(node)))):
            tree = ast.parse(source)
            found = _places(tree)[number]
            other = list(changes(found))[turn]
            change = " -> ".join(ast.unparse(ast.fix_missing_locations(one)).splitlines()[0] for one in (found, other))
            _Swap(found, other).visit(tree)
            yield Mutant(found.lineno, change, ast.fix_missing_locations(tree))


def _places(tree: ast.AST) -> list[ast.AST]:
    """Nodes that may change, in order."""
    skipped = {id(inner) for node in ast.walk(tree) for part in _beyond(node) for inner in ast.walk(part)}
    return [node for node in ast.walk(tree) if id(node) not in skipped and any(True for _ in changes(node))]


def _beyond(node: ast.AST) -> Iterator[ast.AST]:
    """What is no code of a function and no constant: annotations, decorators, fields of a class."""
    yield from getattr(node, "decorator_list", ())
    yield from (part for name in ("annotation", "returns") if (part := getattr(node, name, None)))
    if isinstance(node, ast.ClassDef):
        yield from (part for part in node.body if not isinstance(part, ast.FunctionDef))


class _Swap(ast.NodeTransformer):
    def __init__(self, node: ast.AST, other: ast.AST) -> None:
        self.node, self.other = node, ast.copy_location(other, node)

    def visit(self, node: ast.AST) -> ast.AST:
        return self.other if node is self.node else super().generic_visit(node)


def swap(mutant: Mutant, module: ModuleType) -> None:
    """Let the functions and constants of a module be those of the mutant, wherever they were imported to."""
    fresh = {"__name__": module.__name__}
    exec(compile(mutant.tree, str(module.__file__), "exec"), fresh)  # noqa: S102  # our own module, changed by us
    real, other = _functions(vars(module)), _functions(fresh)
    for name in real.keys() & other.keys():
        real[name].__code__, real[name].__defaults__ = other[name].__code__, other[name].__defaults__
        real[name].__kwdefaults__ = other[name].__kwdefaults__
    for name in vars(module):
        if name.isupper() and name in fresh:
            setattr(module, name, fresh[name])


def _functions(names: Mapping[str, Any], within: str = "") -> dict[str, FunctionType]:
    """The plain functions of a module and of its classes, by name."""
    found = {}
    for name, value in names.items():
        plain = inspect.unwrap(getattr(value, "func", None) or getattr(value, "fget", None) or value)
        if isinstance(plain, FunctionType) and plain.__module__ == names.get("__module__", names["__name__"]):
            found[within + name] = plain
        elif isinstance(value, type) and value.__module__ == names["__name__"]:
            found |= _functions(vars(value) | {"__name__": value.__module__}, f"{name}.")
    return found


def noticed(mutant: Mutant, module: ModuleType, session: pytest.Session) -> bool:
    """Whether a test fails, or goes round in circles."""
    child = os.fork()
    if child == 0:
        try:
            resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
            swap(mutant, module)
            _run(session)
        finally:
            os._exit(0 if session.testsfailed == 0 and sys.exception() is None else 1)
    return os.waitpid(child, 0)[1] != 0


class Mutation:
    """In place of running the tests once: once as they are, then for each mutant in a fork until one fails."""

    def __init__(self, module: str, line: str) -> None:
        self.name, self.line, self.count = f"llmemb_bench.{module}", line, 0
        self.survivors: list[Mutant] = []

    def pytest_configure(self) -> None:
        from hypothesis import Phase, settings

        # Any failure will do, so none is made smaller, and none is kept for the next mutant.
        settings.register_profile("mutation", database=None, phases=[Phase.explicit, Phase.generate])
        settings.load_profile("mutation")

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        module = importlib.import_module(self.name)
        _run(session)
        if session.testsfailed or not session.items:
            raise session.Failed("the tests fail without any mutant")
        for mutant in mutants(Path(str(module.__file__)).read_text()):
            if self.line not in ("", str(mutant.line)):
                continue
            self.count += 1
            if not noticed(mutant, module, session):
                self.survivors.append(mutant)
                sys.stderr.write(f"{self.name}:{mutant.line}: {mutant.change}\n")
        return True


def _run(session: pytest.Session) -> None:
    """All tests, until one fails."""
    for item, following in zip_longest(session.items, session.items[1:]):
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        if session.shouldfail:
            return


def main(modules: list[str]) -> int:
    """Print the survivors; 1 where there are any."""
    os.chdir(ROOT)
    alive = 0
    for wanted in modules or TESTS:
        module, _, line = wanted.partition(":")
        mutation = Mutation(module, line)
        code = pytest.main([*PLAIN, *TESTS[module]], plugins=[mutation])
        print(f"{wanted}: {mutation.count} mutants, {len(mutation.survivors)} survive")  # noqa: T201
        alive += len(mutation.survivors) + bool(code)
    return 1 if alive else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
