"""Settings as plain values with every default filled in: what is stored, compared and hashed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from llmemb_bench.registry.config import MACHINE, Choice, SpecPath


def resolve(value: object, *, machine: bool = True, absolute: bool = False) -> Any:
    """Plain values with every default filled in, those of plugins too; paths stay as written, or become `absolute`.

    Without `machine`, settings that no result depends on are left out: what is compared and hashed.
    """
    plain = partial(resolve, machine=machine, absolute=absolute)
    if isinstance(value, Choice):
        return {"use": value.use, **plain(value.config)}
    if isinstance(value, BaseModel):
        fields = type(value).model_fields.items()
        kept = [name for name, about in fields if machine or MACHINE not in about.metadata]
        return {name: plain(getattr(value, name)) for name in kept}
    if isinstance(value, SpecPath):
        return str(value.resolve()) if absolute and value.is_path else value.text
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    return str(value) if isinstance(value, str) else value


def walk(value: object) -> Iterator[object]:
    """Every setting in a value, those of the plugins it chooses too."""
    yield value
    inner: list[object] = []
    if isinstance(value, Choice):
        inner = [value.config]
    elif isinstance(value, BaseModel):
        inner = [getattr(value, name) for name in type(value).model_fields]
    elif isinstance(value, Mapping):
        inner = list(value.values())
    elif isinstance(value, list):
        inner = value
    for part in inner:
        yield from walk(part)


def choices_in(value: object) -> list[Choice[Any, Any]]:
    """Every plugin chosen in a value, directly or by another plugin."""
    return [part for part in walk(value) if isinstance(part, Choice)]


def paths_in(value: object) -> list[SpecPath]:
    """Every path set in a value, by its plugins too."""
    return [part for part in walk(value) if isinstance(part, SpecPath) and part.is_path]


def folders_in(value: object) -> dict[str, str]:
    """Where each relative path set in a value starts from: of this machine, so for local results only."""
    relative = [path for path in paths_in(value) if not Path(path.text).is_absolute()]
    return {path.text: str(path.folder.resolve()) for path in relative}
