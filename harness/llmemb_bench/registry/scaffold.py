"""`new`: a working plugin file to start from, in a package that specs can find."""

from __future__ import annotations

import keyword
import re
from pathlib import Path

from llmemb_bench.base.errors import MissingError, SpecError
from llmemb_bench.registry.entries import entries, kind_of, packages, roots_of
from llmemb_bench.registry.kinds import KINDS
from llmemb_bench.registry.projects import name_of, packages_around, project_of

NAME = re.compile(r"[a-z][a-z0-9_]{0,59}")


def new_plugin(kind: str, name: str, package: Path | None) -> Path:
    """Write `<package>/<kind>/<name>.py` from the kind's skeleton; never over an existing file.

    Without a package it goes into that of the project around the working folder. Raises SpecError for a name that
    cannot be one or is taken and where no package is, MissingError where nothing can be written.
    """
    kind = kind_of(kind)
    _refuse_name(name)
    package = package or _package_here(kind, name)
    path = package / kind / f"{name}.py"
    if path.exists():
        raise SpecError("already exists", where=str(path), fix="choose another name, or delete it first")
    _refuse_package(package)
    _refuse_taken(kind, name, package)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for folder in (package, path.parent):
            (folder / "__init__.py").touch()
        path.write_text(_skeleton(kind, name), encoding="utf-8")
    except OSError as error:
        raise MissingError(f"cannot be written: {error.strerror}", where=str(path), fix="--into FOLDER") from error
    return path


def _package_here(kind: str, name: str) -> Path:
    found = next(packages_around(Path.cwd()), None)
    if found is None:
        raise SpecError(
            "no plugin package is here: which one should the file go into?",
            fix=f"llmemb-bench new {kind} {name} --into my_plugins",
        )
    return found


def _skeleton(kind: str, name: str) -> str:
    """The skeleton under its new name; a class is never called like one that it uses."""
    text, contract = KINDS[kind].skeleton_text(), KINDS[kind].contract_name
    title = "".join(part.capitalize() for part in name.split("_"))
    if re.search(rf"\b{title}\b", text):
        title += contract if title != contract else "Plugin"
    return text.replace("Skeleton", title).replace("skeleton", name)


def _refuse_name(name: str) -> None:
    if _can_name(name):
        return
    proposed = re.sub(r"\W+", "_", name.lower(), flags=re.ASCII).lstrip("_0123456789")[:50].rstrip("_")
    example = next(filter(_can_name, (proposed, f"my_{proposed}", "my_own")))
    raise SpecError(f"'{name}' cannot name a plugin", fix=f"use lower-case letters, digits and _, e.g. {example}")


def _can_name(name: str) -> bool:
    return NAME.fullmatch(name) is not None and not keyword.iskeyword(name) and not name.endswith("_")


def _refuse_taken(kind: str, name: str, package: Path) -> None:
    for entry in entries():
        if (entry.kind, entry.name) == (kind, name) and entry.package != package.resolve().name:
            fix = f"choose another name: my_{name}"
            raise SpecError(f"the {KINDS[kind].singular} '{name}' already exists, in {entry.origin}", fix=fix)


def _refuse_package(package: Path) -> None:
    """A package that Python knows under this name from elsewhere would hide it, or be hidden by it."""
    name = package.resolve().name
    if not name.isidentifier() or keyword.iskeyword(name):
        raise SpecError(f"'{name}' cannot name a Python package", where="--into", fix="--into my_plugins")
    known = [root for root in roots_of(name) if root.resolve() != package.resolve()]
    project = project_of(package)
    if known and not (project and packages().get(name) == name_of(project)):  # else a copy of it is installed
        raise SpecError(f"there is a package '{name}' already: {known[0]}", where="--into", fix="--into my_plugins")
