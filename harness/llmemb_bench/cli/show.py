"""A plugin's settings as a table."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from rich.console import Console
from rich.markup import escape
from rich.text import Text

from llmemb_bench.base.terminal import table
from llmemb_bench.registry.config import Choice, SpecPath
from llmemb_bench.registry.entries import Entry
from llmemb_bench.spec.words import described


def print_plugin(entry: Entry, console: Console) -> None:
    """Name, first line, documentation, and one row a setting."""
    plugin = entry.load()
    console.print(Text(f"{entry.kind}/{entry.name}", style="bold"), entry.summary, highlight=False)
    console.print(inspect.cleandoc(plugin.__doc__ or ""), highlight=False)
    headings = ("setting", "type", "default", "meaning and origin")
    settings = table(*headings, folded=headings, boxed=True)
    for row in _rows(plugin.config_type(), ""):
        settings.add_row(*map(escape, row))
    console.print(settings if settings.row_count else "(no settings)", highlight=False)


def _rows(config: type[BaseModel], prefix: str) -> Iterator[tuple[str, str, str, str]]:
    for name, field in config.model_fields.items():
        inner, meaning = _settings_in(field.annotation), (field.description or "").replace("\n", " ")
        words = "settings, as below" if inner else described(config).at([name]).words()
        yield prefix + name, words, _default(field), meaning
        if inner:
            yield from _rows(inner, f"{prefix}{name}.")


def _settings_in(annotation: Any) -> type[BaseModel] | None:
    """The settings class of `Settings` or `Settings | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found = (_settings_in(part) for part in get_args(annotation))
    return next((settings for settings in found if settings is not None), None)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    return _plain(field.get_default(call_default_factory=True))


def _plain(value: Any) -> str:
    """A default as one would write it in a spec."""
    match value:
        case None:
            return "absent"
        case bool():
            return str(value).lower()
        case Choice():
            return value.use
        case SpecPath():
            return value.text
        case BaseModel():
            return "..."
        case list():
            return f"[{', '.join(map(_plain, value))}]"
        case str() if value != value.strip() or not value:
            return f'"{value}"'
    return str(value)
