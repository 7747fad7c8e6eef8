"""Projects that hold plugin packages: which `pyproject.toml` a package belongs to, and how specs come to find it."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from llmemb_bench.base.errors import MissingError

GROUP = "llmemb_bench.plugins"
"""The entry-point group that names plugin packages."""
FILE = "pyproject.toml"
LEVELS = 3
"""Folders above a package that its project may be in: beside it, or above `src/` or `plugins/`."""


def project_of(package: Path) -> Path | None:
    """The folder of the `pyproject.toml` that a package folder belongs to."""
    above = package.resolve().parents[:LEVELS]
    return next((folder for folder in above if (folder / FILE).is_file()), None)


def _declared(project: Path) -> dict[str, Any]:
    """The `[project]` table of a folder's `pyproject.toml`; empty where there is none."""
    try:
        read = tomllib.loads((project / FILE).read_text(encoding="utf-8"))["project"]
    except (OSError, ValueError, KeyError):
        return {}
    return read if isinstance(read, dict) else {}


def name_of(project: Path) -> str:
    """What a project is installed as."""
    return str(_declared(project).get("name", ""))


def packages_of(project: Path) -> list[str]:
    """Names of the plugin packages that a project enters."""
    points = _declared(project).get("entry-points", {})
    named = points.get(GROUP, {}) if isinstance(points, dict) else {}
    return [str(package) for package in named.values()] if isinstance(named, dict) else []


def packages_around(folder: Path) -> Iterator[Path]:
    """Folders of the plugin packages that the project around a folder enters."""
    for project in (folder, *folder.parents):
        for name in packages_of(project):
            yield from (folder for folder in (project / name, *sorted(project.glob(f"*/{name}"))) if folder.is_dir())


def way_in(package: Path) -> str:
    """What to do so that specs find the plugins of a package folder."""
    project = project_of(package)
    if project is None:
        return f"write {short(package.parent / FILE)} as CONTRIBUTING.md has it, then: {install(package.parent)}"
    if package.name in packages_of(project):
        return install(project)
    entered = f'{package.name} = "{package.name}"'
    return (
        f'in {short(project / FILE)}, under [project.entry-points."{GROUP}"], add {entered}, then: {install(project)}'
    )


def install(project: Path) -> str:
    """The command that makes a project's plugins known, as they lie there."""
    return f"pip install -e {short(project)}"


def short(path: Path) -> str:
    """A path as it is short to type from here."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative


def entry_point(package: str) -> str:
    """The two lines of a `pyproject.toml` that name a plugin package."""
    return f'[project.entry-points."{GROUP}"]\n{package} = "{package}"'


def indented(text: str) -> str:
    """Lines set off from the words around them."""
    return "\n".join(f"    {line}" if line else "" for line in text.splitlines())


def write_project(package: Path) -> Path:
    """Write the `pyproject.toml` of a package folder that has none; raises MissingError where that cannot be."""
    path = package.parent / FILE
    text = (
        '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n\n'
        f'[project]\nname = "{package.resolve().name.replace("_", "-")}"\nversion = "0.1"\n\n'
        f"{entry_point(package.resolve().name)}\n\n"
        f'[tool.hatch.build.targets.wheel]\npackages = ["{package.resolve().name}"]\n'
    )
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise MissingError(f"cannot be written: {error.strerror}", where=str(path), fix="--into FOLDER") from error
    return path
