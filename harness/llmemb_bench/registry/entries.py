"""The folder is the registry: `<package>/<kind>/<name>.py` holds exactly one plugin.

One entry-point group names the packages, built-in ones included. Listing reads file names and first
docstring lines and imports nothing; a plugin's module is imported when it is named, so a broken one
never stops the others.
"""

from __future__ import annotations

import ast
import difflib
import importlib
import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import metadata, util
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.requirements import Requirement

from llmemb_bench.base import progress
from llmemb_bench.base.errors import BenchError, MissingError, Problem, SpecError, one_line
from llmemb_bench.base.signals import Terminated
from llmemb_bench.registry.kinds import KINDS
from llmemb_bench.registry.projects import GROUP, short, way_in
from llmemb_bench.registry.sources import code_hash

if TYPE_CHECKING:
    from llmemb_bench.contracts import Plugin

OURS = "llmemb-bench"
"""The project of the built-in plugins."""

_IMPORT_NAMES = {"scikit-learn": "sklearn"}


@dataclass(frozen=True)
class Entry:
    """One plugin file, not imported."""

    kind: str
    name: str
    module: str
    origin: str
    path: Path

    @property
    def package(self) -> str:
        """The importable package that it belongs to."""
        return self.module.rsplit(".", 2)[0]

    @property
    def summary(self) -> str:
        """First line of the file's docstring, read from the source."""
        try:
            documentation = ast.get_docstring(ast.parse(self.path.read_text(encoding="utf-8")))
        except (SyntaxError, ValueError, RecursionError, MemoryError, OSError) as error:
            return f"(cannot be read: {one_line(error)})"
        return (documentation or "(no docstring)").splitlines()[0]

    @cached_property
    def source_hash(self) -> str:
        """Of the plugin's code and of all that it imports of plugin packages: part of every cache key. Taken once: what
        is written into a file later is not what runs."""
        return code_hash(self.module, self.path, _homes(entries()))

    def load(self) -> type[Plugin]:
        """Import the module and return its one plugin class; a BenchError says what is wrong with the file, a
        MissingError which package it lacks."""
        try:
            module = importlib.import_module(self.module)
        except ModuleNotFoundError as error:
            raise _missing(error, self) from error
        except (KeyboardInterrupt, Terminated):
            raise
        except BaseException as error:  # a plugin is foreign code: whatever it raises is one row, not a crash
            raise self._broken("cannot be imported", error) from error
        contract = KINDS[self.kind].load_contract()
        found = [
            member
            for member in vars(module).values()
            if inspect.isclass(member) and issubclass(member, contract) and member.__module__ == self.module
        ]
        if len(found) != 1:
            raise BenchError(
                f"holds {len(found)} subclasses of {contract.__name__}, should hold exactly one",
                where=str(self.path),
                fix="keep one plugin per file; the file's name is the plugin's",
            )
        plugin: type[Plugin] = found[0]
        try:
            plugin.config_type()
        except Exception as error:
            raise self._broken("has no usable settings", error) from error
        return plugin

    def _broken(self, finding: str, error: BaseException) -> BenchError:
        return BenchError(
            f"the {KINDS[self.kind].singular} '{self.name}' {finding}: {one_line(error)}",
            where=str(self.path),
            fix=f"fix the file, then: llmemb-bench list {self.kind} --check",
        )


def _missing(error: ModuleNotFoundError, entry: Entry) -> BenchError:
    """A package that is not installed, or a module that an installed one does not have (any more)."""
    name = error.name or ""
    missing = name.partition(".")[0]
    if name != missing and roots_of(missing):
        return BenchError(
            f"the {KINDS[entry.kind].singular} '{entry.name}' imports '{name}', "
            f"which the package '{missing}' does not have",
            where=str(entry.path),
            fix=_import_elsewhere(name) or f"fix the file, then: llmemb-bench list {entry.kind} --check",
        )
    extra = extra_of(missing)
    install = f"pip install 'llmemb-bench[{extra}]'" if extra else f"pip install {missing}"
    return MissingError(
        f"the {KINDS[entry.kind].singular} '{entry.name}' needs the package '{missing}', which is not installed",
        fix=install,
    )


def _import_elsewhere(module: str) -> str:
    """Where a module of this name lies in its package now, or one that is written nearly so; empty for neither."""
    package, leaf = module.partition(".")[0], module.rpartition(".")[2]
    known = [
        ".".join((package, *path.relative_to(root).with_suffix("").parts)).removesuffix(".__init__")
        for root in roots_of(package)
        for path in sorted(root.rglob("*.py"))
    ]
    leaves = {name.rpartition(".")[2]: name for name in reversed(known)}
    close = difflib.get_close_matches(leaf, leaves, n=1, cutoff=0.8)
    return f"import it from {leaves[close[0]]}" if close else ""


def extra_of(package: str) -> str | None:
    """The smallest extra of this distribution that brings an importable package."""
    about = metadata.metadata(OURS)
    needed = [Requirement(line) for line in about.get_all("Requires-Dist") or []]
    brought = {
        extra: {_importable(one.name) for one in needed if one.marker and one.marker.evaluate({"extra": extra})}
        for extra in about.get_all("Provides-Extra") or []
    }
    fitting = [extra for extra, packages in brought.items() if package in packages]
    return min(fitting, key=lambda extra: len(brought[extra]), default=None)


def _importable(distribution: str) -> str:
    return _IMPORT_NAMES.get(distribution, distribution.replace("-", "_"))


def roots_of(package: str) -> list[Path]:
    """Folders of an importable package, or where a module of that name is; nothing of it is run."""
    try:
        spec = util.find_spec(package)
    except (ImportError, ValueError, AttributeError):  # of a.b: there is no a, or it is no package
        return []
    if spec is None:
        return []
    locations = spec.submodule_search_locations
    return [Path(location) for location in locations] if locations is not None else [Path(spec.origin or package)]


def _scan(package: str, origin: str) -> Iterator[Entry]:
    roots = roots_of(package)
    if not roots:
        progress.alert(f"warning: the plugins of {origin} are left out: '{package}' cannot be found")
    for root in roots:
        for kind in KINDS:
            for path in sorted((root / kind).glob("[!_]*.py")):
                yield Entry(kind, path.stem, f"{package}.{kind}.{path.stem}", origin, path)


def _origin(point: metadata.EntryPoint) -> str:
    return point.dist.name if point.dist else point.value


def packages() -> dict[str, str]:
    """Name of each package that enters by the group, and whose it is; raises SpecError where two projects enter one."""
    found: dict[str, str] = {}
    for point in sorted(metadata.entry_points(group=GROUP), key=_origin):
        origin = found.setdefault(point.module, _origin(point))
        if origin != _origin(point):
            other = next(name for name in (_origin(point), origin) if name != OURS)
            raise SpecError(
                f"'{origin}' and '{_origin(point)}' both enter a package called '{point.module}': one hides the other",
                where=f'entry point "{GROUP}" of {other}',
                fix=f"pip uninstall {other}, rename its package, and install it again",
            )
    return found


def unreachable() -> list[Problem]:
    """Packages that enter by the group and hold no plugin."""
    problems = []
    for package, origin in packages().items():
        if not any(_scan(package, origin)):
            found = "holds no plugin" if roots_of(package) else "cannot be found"
            fix = f"it should name the package with the folders {', '.join(KINDS)}; then install {origin} again"
            problems.append(Problem(f"entry point of {origin}", f"the package '{package}' {found}", fix))
    return problems


@cache
def entries() -> tuple[Entry, ...]:
    """Every plugin of every installed package that enters by the group, sorted by kind and name."""
    found = {entry for package, origin in packages().items() for entry in _scan(package, origin)}
    order = list(KINDS)
    return tuple(sorted(found, key=lambda entry: (order.index(entry.kind), entry.name, entry.origin)))


@cache
def _homes(known: tuple[Entry, ...]) -> dict[str, list[Path]]:
    """Folders of the packages that plugins lie in, whole: what stands beside the folders of kinds counts too."""
    return {top: roots_of(top) for top in {entry.module.partition(".")[0] for entry in known}}


def kind_of(word: str) -> str:
    """The kind that a word means, in singular or plural; raises SpecError with a suggestion."""
    meant = {kind: kind for kind in KINDS} | {kind.singular: kind.name for kind in KINDS.values()}
    if word.lower() not in meant:
        raise SpecError(f"no kind of plugin is called '{word}'", fix=suggestion(word.lower(), list(KINDS)))
    return meant[word.lower()]


def names(kind: str) -> list[str]:
    """Names that a spec may use for a kind."""
    return sorted({entry.name for entry in entries() if entry.kind == kind})


def suggestion(word: str, known: list[str]) -> str:
    """A fix for an unknown word."""
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"did you mean '{close[0]}'?" if close else f"known: {', '.join(known) or 'none'}"


def find(kind: str, name: str) -> Entry:
    """The entry that a spec names; an unknown or doubled name is a SpecError."""
    matches = [entry for entry in entries() if (entry.kind, entry.name) == (kind, name)]
    if not matches:
        raise unknown(name, kind)
    if len(matches) > 1:
        origins = " and ".join(f"{entry.origin} ({entry.path})" for entry in matches)
        raise SpecError(f"two {kind} are called '{name}': {origins}", fix="uninstall or rename one of them")
    return matches[0]


def unknown(name: str, kind: str | None = None) -> SpecError:
    """The error for an unknown name; suggests an uninstalled plugin here, one of another kind, or a similar name."""
    finding = f"no {KINDS[kind].singular if kind else 'plugin'} is called '{name}'"
    if (path := _uninstalled(name, kind)) is not None:
        return SpecError(f"{finding}: {short(path)} is in no installed package", fix=way_in(path.parent.parent))
    others = [entry.kind for entry in entries() if entry.name == name]
    if others:
        return SpecError(finding, fix=f"'{name}' is one of the {others[0]}")
    known = sorted({entry.name for entry in entries() if kind in (None, entry.kind)})
    return SpecError(finding, fix=suggestion(name, known))


def _uninstalled(name: str, kind: str | None) -> Path | None:
    """A plugin's file of this name below the working folder."""
    if not name.isidentifier():
        return None
    locations = (f"{above}{part}/{name}.py" for part in ([kind] if kind else KINDS) for above in ("", "*/", "*/*/"))
    return next((path for location in locations for path in sorted(Path.cwd().glob(location))), None)
