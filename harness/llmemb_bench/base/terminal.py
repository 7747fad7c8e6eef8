"""Text on a terminal: whatever could move the cursor, change colours or reverse lines is shown escaped.

Ids, titles, names and paths come from files that others wrote. Files and JSON keep them as they are.
"""

from __future__ import annotations

import json
import os
import re
import unicodedata
from collections.abc import Container
from io import StringIO
from typing import Any

import typer
from rich.box import HEAVY_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

UNSEEN = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""Categories of characters that a reader cannot see: C0 and C1, bidirectional marks, zero-width ones, halves of
surrogate pairs, separators of lines and paragraphs."""
NAMED = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def shown(text: object, keep: str = "") -> str:
    """One line of text, unseen characters as `\\x1b` or `\\u202e`, but for those to `keep`."""
    line = str(text)
    if line.isprintable():
        return line
    return "".join(_escaped(one) if one not in keep and unicodedata.category(one) in UNSEEN else one for one in line)


def _escaped(one: str) -> str:
    code = ord(one)
    short = f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
    return NAMED.get(one) or (short if code < 0x10000 else f"\\U{code:08x}")


def say(text: object, *, err: bool = False) -> None:
    """One line to stdout or stderr."""
    typer.echo(shown(text), err=err)


def as_json(value: Any) -> str:
    """JSON that people can read too: letters of all languages as they are, unseen characters in JSON's own escapes."""
    text = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False)
    return re.sub(r"[^\n\x20-\x7e]", _in_json, text)


def _in_json(match: re.Match[str]) -> str:
    one = match[0]
    if unicodedata.category(one) not in UNSEEN:
        return one
    code = one.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{code[index : index + 4]}" for index in range(0, len(code), 4))


class _Seen(Console):
    """A console that treats no text as markup and escapes invisible characters, in tables and titles too."""

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(shown(text, keep="\n"), **options)


WIDTH = 180
"""Of tables that do not go to a terminal: in a file or a pipe."""


def console(width: int | None = None, *, err: bool = False, file: StringIO | None = None) -> Console:
    """Where tables go; `width` where they do not go to a terminal and COLUMNS says none."""
    made = _Seen(stderr=err, file=file, markup=False, emoji=False)
    if width is not None and not made.is_terminal and not os.environ.get("COLUMNS", "").isdecimal():
        made.width = width
    return made


def tables(file: StringIO | None = None) -> Console:
    """Where tables go, stdout or a file: as wide as the terminal or COLUMNS says, else WIDTH."""
    return console(WIDTH, file=file)


def table(
    *headings: str,
    right: Container[str] = (),
    folded: Container[str] = (),
    title: str | None = None,
    boxed: bool = False,
) -> Table:
    """A table whose cells keep to one line, but for those of `folded` columns; `right` ones hold numbers."""
    made = Table(title=title, title_justify="left", box=HEAVY_HEAD if boxed else None, pad_edge=boxed)
    for heading in headings:
        is_folded = heading in folded
        made.add_column(
            heading,
            no_wrap=not is_folded,
            overflow="fold" if is_folded else "ellipsis",
            justify="right" if heading in right else "left",
        )
    return made
