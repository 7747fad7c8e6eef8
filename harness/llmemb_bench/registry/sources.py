"""What a plugin's code is: its file and every module of plugin packages that it imports, directly or not.

Files are read and never run. Imports are counted wherever they stand, in functions too; a name that is only put
together while the code runs (`import_module(f"...")`) is not seen. Comments, docstrings and layout count for nothing.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from llmemb_bench.base.hashing import digest, hash_of

Homes = Mapping[str, Sequence[Path]]
"""The folders of each top-level package whose modules count, by its name."""


@dataclass(frozen=True)
class Source:
    """One file: a hash of what it does, and its imports as (dots in front, module, name or nothing)."""

    code: str
    imports: tuple[tuple[int, str, str], ...]


def code_hash(module: str, path: Path, homes: Homes) -> str:
    """Of a module, which lies at `path`, and of all that it imports below `homes`."""
    found: dict[str, str] = {}
    waiting = {module: path}
    while waiting:
        name, file = waiting.popitem()
        source = _read(file)
        found[name] = source.code
        for wanted in {*_parents(name), *_imported(name, file, source)} - found.keys():
            if (location := _file_of(wanted, homes)) is not None:
                waiting[wanted] = location
    return digest(found)


def _parents(module: str) -> Iterator[str]:
    """The packages around a module: whoever imports it runs them too."""
    while module := module.rpartition(".")[0]:
        yield module


def _imported(module: str, path: Path, source: Source) -> Iterator[str]:
    """Names that may be modules, absolute."""
    here = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for dots, base, name in source.imports:
        around = here.split(".")[: len(here.split(".")) - dots + 1] if dots else []
        whole = ".".join([*around, *filter(None, [base])])
        yield from filter(None, (whole, f"{whole}.{name}" if name else ""))


def _file_of(module: str, homes: Homes) -> Path | None:
    """The file of a module of these packages; nothing for what is none."""
    top, *rest = module.split(".")
    for root in homes.get(top, ()):
        within = root.joinpath(*rest)
        for path in (within / "__init__.py", within.with_name(f"{within.name}.py")):
            if path.is_file() and (rest or path.name == "__init__.py"):
                return path
    return None


def _read(path: Path) -> Source:
    """Each version of a file is read once."""
    about = path.stat()
    return _read_version(path, about.st_mtime_ns, about.st_size)


@cache
def _read_version(path: Path, time: int, size: int) -> Source:
    try:
        tree = ast.parse(path.read_bytes())
        return Source(digest(_shape(tree)), tuple(_imports(tree)))
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # nobody can run it; as it stands it is still one
        return Source(hash_of(path), ())


def _shape(node: object) -> object:
    """A syntax tree as lists. What a version of Python adds to trees is empty in the code of others, and left out."""
    if isinstance(node, ast.AST):
        parts = [(name, _shape(inner)) for name, inner in ast.iter_fields(node)]
        return [type(node).__name__, *(part for part in parts if part[1] != [])]
    if isinstance(node, list):
        return [_shape(inner) for inner in node if not _is_text(inner)]
    return repr(node)


def _is_text(node: object) -> bool:
    """A string that stands as a statement: a docstring, or the words under a setting."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _imports(tree: ast.Module) -> Iterator[tuple[int, str, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((0, alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.level, node.module or "", alias.name) for alias in node.names)
