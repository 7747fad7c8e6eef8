"""YAML as written: plain values, and the file and line that each one stands on.

YAML 1.2 (so `1e-4` is a number and `no` a string), doubled keys refused, no tags that build objects.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, SequenceNode

from llmemb_bench.config import SpecText
from llmemb_bench.errors import Problem, SpecError

Loc = tuple[str | int, ...]
"""The way to a value: keys and list positions from the top."""

LONGEST_SPEC = 1_000_000  # bytes; a spec is written by hand
MOST_VALUES = 100_000  # aliases can multiply: refuse to unfold more than this


@dataclass
class Document:
    """The values of a spec and where each of them stands."""

    value: dict[str, Any]
    places: dict[Loc, str] = field(default_factory=dict)

    def place(self, loc: Loc) -> str:
        """`file:line` of a value, or of the nearest value around it."""
        while loc and loc not in self.places:
            loc = loc[:-1]
        return self.places.get(loc, "")


def read(path: Path) -> Document:
    """A spec file with what it `extends` merged below it."""
    return _read(path, ())


def _read(path: Path, seen: tuple[Path, ...]) -> Document:
    if path.resolve() in seen:
        raise SpecError("extends itself", where=str(path), fix="break the circle of 'extends:'")
    document = parse(_text_of(path), str(path), path.parent)
    if "extends" not in document.value:
        return document
    base_name = document.value.pop("extends")
    if not isinstance(base_name, str):
        raise SpecError("should name one file", where=document.place(("extends",)), fix="extends: base.yaml")
    base = _read(path.parent / base_name, (*seen, path.resolve()))
    base.value.pop("name", None)
    value = _merge(base.value, document.value)
    return Document(value, base.places | document.places)


def _text_of(path: Path) -> str:
    try:
        if path.stat().st_size > LONGEST_SPEC:
            raise SpecError(f"is larger than {LONGEST_SPEC:,} bytes; is it a spec?", where=str(path))
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise SpecError(
            f"cannot be read: {error.strerror}", where=str(path), fix="llmemb-bench run specs/NAME.yaml"
        ) from error
    except UnicodeDecodeError as error:
        raise SpecError(f"is not UTF-8 text: {error.reason}", where=str(path)) from error


def parse(text: str, name: str, folder: Path) -> Document:
    """One YAML document whose top is a mapping; every fault in it is reported at once."""
    yaml = YAML(typ="safe", pure=True)
    try:
        node = yaml.compose(text)
        reader = _Reader(yaml, name, folder)
        value = reader.build(node, ()) if node is not None else None
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise SpecError(
            f"is not YAML: {error.problem or error.context}",
            where=f"{name}:{line}",
            fix="check the indentation",
        ) from error
    except (YAMLError, ValueError) as error:
        raise SpecError(f"is not YAML: {error}", where=name) from error
    if reader.problems:
        raise SpecError.of(reader.problems)
    if not isinstance(value, dict):
        raise SpecError("should be a mapping of keys to values", where=name, fix="start with 'version: 1'")
    return Document(value, reader.places)


class _Reader:
    """Turns YAML nodes into plain values and notes their lines."""

    def __init__(self, yaml: YAML, name: str, folder: Path) -> None:
        self.yaml, self.name, self.folder = yaml, name, folder
        self.places: dict[Loc, str] = {}
        self.problems: list[Problem] = []

    def build(self, node: Node, loc: Loc) -> Any:
        if len(self.places) > MOST_VALUES:
            raise ValueError(f"holds more than {MOST_VALUES:,} values")
        tag = str(node.tag)
        if not tag.startswith("tag:yaml.org,2002:") or "python" in tag:
            raise ValueError(f"line {node.start_mark.line + 1}: the tag '{tag}' builds an object; write plain values")
        self.places.setdefault(loc, f"{self.name}:{node.start_mark.line + 1}")
        if isinstance(node, MappingNode):
            return self._mapping(node, loc)
        if isinstance(node, SequenceNode):
            return [self.build(child, (*loc, place)) for place, child in enumerate(node.value)]
        return self._scalar(node)

    def _scalar(self, node: Node) -> Any:
        value = self.yaml.constructor.construct_object(node)
        return SpecText(value, self.folder) if isinstance(value, str) else value

    def _mapping(self, node: MappingNode, loc: Loc) -> dict[str, Any]:
        built: dict[str, Any] = {}
        for key_node, child in node.value:
            key, where = str(key_node.value), f"{self.name}:{key_node.start_mark.line + 1}"
            if key in built:
                first = self.places[(*loc, key)]
                self.problems.append(Problem(where, f"the key '{key}' stands twice (first at {first})", "keep one"))
                continue
            self.places[(*loc, key)] = where
            built[key] = self.build(child, (*loc, key))
        return built


def _merge(base: Any, over: Any) -> Any:
    """Maps are merged key by key, all else is replaced; another plugin does not inherit settings."""
    if not (isinstance(base, dict) and isinstance(over, dict)):
        return over
    if "use" in over and base.get("use") != over["use"]:
        return over
    return {key: _merge(base.get(key), over[key]) if key in over else base[key] for key in [*base, *over]}


def override(document: Document, assignment: str) -> None:
    """Apply one `--set a.b=c`; the value is YAML, relative paths start from the working folder."""
    where = f"--set {assignment}"
    dotted, equals, text = assignment.partition("=")
    if not (dotted and equals):
        raise SpecError("should read KEY=VALUE", where=where, fix="--set recommender.train.epochs=5")
    value = parse(f"value: {text}", where, Path.cwd()).value.get("value")
    keys = ["matrix", dotted.removeprefix("matrix.")] if dotted.startswith("matrix.") else dotted.split(".")
    varied = document.value.get("matrix") or {}
    for path in varied if isinstance(varied, Mapping) else ():
        if keys[0] != "matrix" and (dotted == path or dotted.startswith(f"{path}.")):
            raise SpecError(f"the matrix varies '{path}'", where=where, fix=f"--set 'matrix.{path}=[...]'")
    assign(document.value, keys, value, where)
    relocate(document, tuple(keys), where)


def relocate(document: Document, loc: Loc, where: str) -> None:
    """A value that the command line gave stands there, and no longer in the file."""
    for inner in [known for known in document.places if known[: len(loc)] == loc]:
        del document.places[inner]
    document.places[loc] = where


def assign(top: dict[str, Any], keys: list[str], value: Any, where: str) -> None:
    """Put a value at a dotted path; a bare plugin name on the way becomes `{use: NAME}`."""
    holder = top
    for key in keys[:-1]:
        inner = holder.get(key)
        if isinstance(inner, str):
            inner = {"use": inner}
        if not isinstance(inner, dict | None):
            raise SpecError(f"'{key}' is no mapping, so nothing can be set in it", where=where)
        holder[key] = dict(inner or {})
        holder = holder[key]
    holder[keys[-1]] = value
