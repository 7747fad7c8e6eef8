"""A plugin's settings as a table."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from rich.console import Console
from rich.table import Table
from rich.text import Text

from llmemb_bench.config import Choice, SpecPath
from llmemb_bench.registry import Entry


def print_plugin(entry: Entry, console: Console) -> None:
    """Name, first line, documentation, and one row a setting."""
    plugin = entry.load()
    console.print(Text(f"{entry.kind}/{entry.name}", style="bold"), entry.summary, highlight=False)
    console.print(inspect.cleandoc(plugin.__doc__ or ""), highlight=False)
    table = Table()
    for heading in ("setting", "type", "default", "meaning and origin"):
        table.add_column(heading, overflow="fold")
    for row in _rows(plugin.config_type(), ""):
        table.add_row(*row)
    console.print(table if table.row_count else "(no settings)")


def _rows(config: type[BaseModel], prefix: str) -> Iterator[tuple[str, str, str, str]]:
    for name, field in config.model_fields.items():
        yield prefix + name, _type(field), _default(field), (field.description or "").replace("\n", " ")
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from _rows(inner, f"{prefix}{name}.")


def _type(field: FieldInfo) -> str:
    shown = field.annotation.__name__ if isinstance(field.annotation, type) else str(field.annotation)
    shown = re.sub(r"typing\.|\b[\w.]+\.(?=\w)|Annotated\[|, FieldInfo\(.*?\)\]?", "", shown)
    return shown.replace("NoneType", "None")


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    return _plain(field.get_default(call_default_factory=True))


def _plain(value: Any) -> str:
    if isinstance(value, Choice):
        return value.use
    if isinstance(value, SpecPath):
        return value.text
    return "..." if isinstance(value, BaseModel) else str(value)
