"""YAML as written: plain values, and the file and line that each one stands on.

YAML 1.2 (so `1e-4` is a number and `no` a string), doubled keys refused, no tags that build objects.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.reader import ReaderError

from llmemb_bench.base.errors import BenchError, Problem, SpecError
from llmemb_bench.registry.config import SpecPath, SpecText

Loc = tuple[str | int, ...]
"""The way to a value: keys and list positions from the top."""

LONGEST_SPEC = 100_000  # bytes; a spec is written by hand, and more would take seconds to read
LONGEST_UNFOLDED = 10 * LONGEST_SPEC  # characters; aliases can multiply long texts too
MOST_VALUES = 20_000  # aliases can multiply: refuse to unfold more than this
DEEPEST = 50  # levels; the deepest setting of ours lies ten below the top
MOST_BASES = 20  # files that extend one another
LARGEST_NUMBER = 2**63 - 1  # what DuckDB, NumPy and torch count with
PLAIN = frozenset(
    f"tag:yaml.org,2002:{name}" for name in ("map", "seq", "str", "int", "float", "bool", "null", "timestamp")
)
"""Tags of plain values; any other builds an object."""


VARIABLE = re.compile(r"[^\s,\[\]{}\"']*\$\{[^}]*\}[^\s,\[\]{}\"']*")
"""A path with a variable, on a line that is not YAML because of it."""


@dataclass
class Document:
    """The values of a spec and the location of each."""

    value: dict[str, Any]
    locations: dict[Loc, str] = field(default_factory=dict)

    def where(self, loc: Loc) -> str:
        """`file:line` of a value, or of the nearest value around it."""
        while loc and loc not in self.locations:
            loc = loc[:-1]
        return self.locations.get(loc, "")


def read(path: Path) -> Document:
    """A spec file with what it `extends` merged below it."""
    return _read(path, ())


def _read(path: Path, seen: tuple[Path, ...]) -> Document:
    text, here = _text_of(path), path.resolve()
    if here in seen:
        raise SpecError("extends itself", where=str(path), fix="break the circle of 'extends:'")
    if len(seen) == MOST_BASES:
        raise SpecError(f"is extended by {MOST_BASES} files one after another", where=str(path), fix="merge some")
    document = parse(text, str(path), path.parent)
    if "extends" not in document.value:
        return document
    base_name = document.value.pop("extends")
    if not isinstance(base_name, str):
        raise SpecError("should name one file", where=document.where(("extends",)), fix="extends: base.yaml")
    try:
        base_path = SpecPath(base_name, path.parent).filled()
    except BenchError as error:
        (problem,) = error.problems
        raise type(error)(problem.finding, where=document.where(("extends",)), fix=problem.fix) from error
    base = _read(base_path, (*seen, here))
    base.value.pop("name", None)
    value = _merge(base.value, document.value)
    return Document(value, base.locations | document.locations)


def _text_of(path: Path) -> str:
    try:
        with path.open("rb") as file:  # at most so much: it may be a device that never ends
            read = file.read(LONGEST_SPEC + 1)
        if len(read) > LONGEST_SPEC:
            raise SpecError(f"is larger than {LONGEST_SPEC:,} bytes; is it a spec?", where=str(path))
        return read.decode("utf-8-sig")
    except OSError as error:
        raise SpecError(
            f"cannot be read: {error.strerror}", where=str(path), fix="llmemb-bench run specs/NAME.yaml"
        ) from error
    except UnicodeDecodeError as error:
        line = read[: error.start].count(b"\n") + 1
        raise SpecError(f"is not UTF-8 text: {error.reason}", where=f"{path}:{line}", fix="save it as UTF-8") from error
    except ValueError as error:
        raise SpecError(f"cannot be a file's name: {error}", where=str(path)) from error


def parse(text: str, name: str, folder: Path) -> Document:
    """One YAML document whose top is a mapping; a SpecError tells every fault in it at once."""
    yaml = YAML(typ="safe", pure=True)
    reader = _Reader(yaml, name, folder)
    try:
        node = yaml.compose(text)
        value = reader.build(node, ()) if node is not None else None
    except MarkedYAMLError as error:
        raise _not_yaml(error, text, name) from error
    except ReaderError as error:
        line = text[: error.position].count("\n") + 1
        raise SpecError(
            f"holds the character {chr(error.character)!r}, which no YAML may", where=f"{name}:{line}", fix="remove it"
        ) from error
    except (YAMLError, ValueError) as error:
        raise SpecError(f"is not YAML: {error}", where=name) from error
    except RecursionError as error:
        raise SpecError(f"is nested more than {DEEPEST} levels deep", where=name) from error
    if reader.problems:
        raise SpecError.of(reader.problems)
    if not isinstance(value, dict):
        raise SpecError("should be a mapping of keys to values", where=name, fix="start with 'version: 1'")
    return Document(value, reader.locations)


def _not_yaml(error: MarkedYAMLError, text: str, name: str) -> SpecError:
    mark = error.problem_mark or error.context_mark
    line = mark.line if mark else 0
    written = [*text.splitlines(), ""][min(line, text.count("\n"))]
    fix = "check the indentation"
    if "${" in written:
        fix = f'quote what holds ${{...}}, for example "{(VARIABLE.search(written) or ["${env:NAME}/file"])[0]}"'
    elif named := re.search(r"%(\w+)%", written):
        fix = f'"${{env:{named[1]}}}/..." in place of {named[0]}'
    elif "\t" in written:
        fix = "write spaces in place of tabs"
    elif written.startswith("---"):
        fix = "keep one document: what follows '---' is another"
    finding = f"is not YAML: {error.problem or error.context}"
    return SpecError(finding, where=f"{name}:{line + 1}", fix=fix)


class _Reader:
    """Turns YAML nodes into plain values and notes their lines."""

    def __init__(self, yaml: YAML, name: str, folder: Path) -> None:
        self.yaml, self.name, self.folder = yaml, name, folder
        self.locations: dict[Loc, str] = {}
        self.problems: list[Problem] = []
        self.length = 0

    def build(self, node: Node, loc: Loc) -> Any:
        where = self._where(node)
        if len(self.locations) > MOST_VALUES or self.length > LONGEST_UNFOLDED:
            size = f"{MOST_VALUES:,} values or {LONGEST_UNFOLDED:,} characters"
            raise SpecError(f"holds more than {size}", where=where, fix="use fewer aliases")
        if len(loc) > DEEPEST:
            raise SpecError(
                f"is nested more than {DEEPEST} levels deep",
                where=where,
                fix="write it flat; an alias may not stand in what it names",
            )
        if str(node.tag) not in PLAIN:
            raise SpecError(f"the tag '{node.tag}' builds an object", where=where, fix="write plain values")
        self.locations.setdefault(loc, where)
        if isinstance(node, MappingNode):
            return self._mapping(node, loc)
        if isinstance(node, SequenceNode):
            return [self.build(child, (*loc, index)) for index, child in enumerate(node.value)]
        return self._scalar(node)

    def _where(self, node: Node) -> str:
        return f"{self.name}:{node.start_mark.line + 1}"

    def _scalar(self, node: Node) -> Any:
        text = str(node.value)
        self.length += len(text)
        try:
            value = self.yaml.constructor.construct_object(node)
        except MarkedYAMLError:
            raise
        except Exception:  # the library's own way to say that a text is no number or no date
            value = None
            self._refuse(node, f"'{_short(text)}' is not a valid {str(node.tag).rpartition(':')[2]}", "quote it")
        if isinstance(value, int) and abs(value) > LARGEST_NUMBER:
            self._refuse(node, f"the number {_short(text)} is too large", f"at most {LARGEST_NUMBER}")
            return 0
        if isinstance(value, str) and any("\ud800" <= one <= "\udfff" for one in value):
            self._refuse(node, "holds half of a character (a lone surrogate)", "write the character itself")
        return SpecText(value, self.folder) if isinstance(value, str) else value

    def _mapping(self, node: MappingNode, loc: Loc) -> dict[str, Any]:
        built: dict[str, Any] = {}
        for key_node, child in node.value:
            if not isinstance(key_node, ScalarNode):
                self._refuse(key_node, "a key should be a word", "key: value")
                continue
            key = str(key_node.value)
            if key in built:
                first = self.locations[(*loc, key)]
                self._refuse(key_node, f"the key '{_short(key)}' appears twice (first at {first})", "keep one")
                continue
            self.length += len(key)
            self.locations[(*loc, key)] = self._where(key_node)
            built[key] = self.build(child, (*loc, key))
        return built

    def _refuse(self, node: Node, finding: str, fix: str) -> None:
        self.problems.append(Problem(self._where(node), finding, fix))


def _short(text: str, length: int = 40) -> str:
    return text if len(text) <= length else f"{text[:length]}... ({len(text):,} characters)"


def _merge(base: Any, over: Any) -> Any:
    """Maps are merged key by key, all else is replaced; another plugin does not inherit settings."""
    if not (isinstance(base, dict) and isinstance(over, dict)):
        return over
    if "use" in over and base.get("use") != over["use"]:
        return over
    return {key: _merge(base.get(key), over[key]) if key in over else base[key] for key in [*base, *over]}


def override(document: Document, assignment: str) -> None:
    """Apply one `--set a.b=c`; the value is YAML, relative paths start from the working folder. Raises SpecError."""
    where = f"--set {_short(assignment, 100)}"
    dotted, equals, text = assignment.partition("=")
    if not (dotted and equals):
        raise SpecError("should read KEY=VALUE", where=where, fix="--set recommender.train.epochs=5")
    given = parse(f"value: {text}", where, Path.cwd()).value
    if given.keys() != {"value"}:
        raise SpecError("should set one key", where=where, fix="one --set for each key")
    value = given["value"]
    keys = ["matrix", dotted.removeprefix("matrix.")] if dotted.startswith("matrix.") else dotted.split(".")
    varied = document.value.get("matrix") or {}
    for path in varied if isinstance(varied, Mapping) else ():
        if keys[0] != "matrix" and (dotted == path or dotted.startswith(f"{path}.")):
            raise SpecError(f"the matrix varies '{path}'", where=where, fix=f"--set 'matrix.{path}=[...]'")
    assign(document.value, keys, value, where)
    relocate(document, tuple(keys), where)


def relocate(document: Document, loc: Loc, where: str) -> None:
    """Say that a value, and all in it, stands elsewhere."""
    for inner in [known for known in document.locations if known[: len(loc)] == loc]:
        del document.locations[inner]
    document.locations[loc] = where


def assign(top: dict[str, Any], keys: list[str], value: Any, where: str) -> None:
    """Put a value at a dotted path; a bare plugin name on the way becomes `{use: NAME}`; a value on
    the way that holds nothing is a SpecError."""
    holder = top
    for key in keys[:-1]:
        inner = holder.get(key)
        if isinstance(inner, str):
            inner = {"use": inner}
        if not isinstance(inner, dict | None):
            raise SpecError(f"'{key}' is not a mapping, so nothing can be set in it", where=where)
        holder[key] = dict(inner or {})
        holder = holder[key]
    holder[keys[-1]] = value
