"""From a raw value to one clean line of words: what counts as missing, what entities mean, how nested values are said.

Decided here alone, for every dataset and every format.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Collection
from html.entities import html5

from llmemb_bench.data.literals import rewritten

MISSING = frozenset(
    {
        *("", "nan", "NaN", "NAN", "None", "none", "NONE", "null", "Null", "NULL", "nil", "NaT", "<NA>", "NA"),
        *("N/A", "n/a", "N/a", "#N/A", "n.a.", "N.A.", "-", "--", "—", "–", "\u2012", "{}", "[]", "()"),
        *("-nan", "-NaN", "-NAN", "(null)", "(NULL)", "#VALUE!", r"\N"),
    }
)
"""What people and programs write where there is no value; `dataset.missing` adds to it."""
PART = "\x1f"
"""Stands between the values of a list that SQL has joined."""
PASSES = 8
"""How often a text may have been encoded: `&amp;amp;#39;` three times."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029\ufeff]+")
_ENTITY = re.compile(r"&(#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
_DECODER = json.JSONDecoder(parse_float=str, parse_int=str, parse_constant=str)
_NESTED = {"[": "]", "{": "}"}


def words(raw: str, missing: Collection[str] = MISSING) -> str:
    """A value as words: lists are joined by commas, objects say `key: value`, whatever is missing says nothing."""
    if PART in raw:
        parts = [part for part in raw.split(PART) if not _says_nothing(part, missing)]
        return clean(", ".join(words(part, missing) if part[0] in _NESTED else part for part in parts), missing)
    if raw[:1] in _NESTED:
        try:
            # JSON may name half a character (`\ud800`), which no file can hold.
            return _flat(_parsed(raw), missing).encode("utf-8", "replace").decode()
        except (ValueError, OverflowError, RecursionError):
            pass  # a text that begins with a bracket
    return clean(raw, missing)


def clean(text: str, missing: Collection[str] = MISSING) -> str:
    """One line without control characters; `;` separates attributes in a prompt and so becomes a full stop."""
    if "&" in text:
        text = _decoded(text)
    is_plain = text.isprintable() and "  " not in text  # as nearly all are: their only blanks are single spaces
    line = text.strip() if is_plain else " ".join(_CONTROL.sub(" ", text).split())
    return "" if line in missing else line.replace(";", ".")


def _says_nothing(part: str, missing: Collection[str]) -> bool:
    return part.strip() in missing or ("&" in part and not clean(part, missing))


def _decoded(text: str) -> str:
    """Entities that are closed by a semicolon, however often they were encoded; `R&notes` holds none."""
    for _ in range(PASSES):
        before, text = text, _ENTITY.sub(_character, text)
        if text == before:
            break
    return text


def _character(match: re.Match[str]) -> str:
    body = match[1]
    return html.unescape(match[0]) if body[0] == "#" else html5.get(f"{body};", match[0])


def _parsed(text: str) -> object:
    """JSON or a Python literal; numbers stay as they are written. Raises ValueError where it is neither."""
    if text.rstrip()[-1] != _NESTED[text[0]]:
        raise ValueError("is not a nested value")
    try:
        return _DECODER.decode(text)
    except ValueError:
        return _DECODER.decode(rewritten(text))


def _flat(value: object, missing: Collection[str]) -> str:
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case list():
            return _joined([_flat(part, missing) for part in value])
        case dict():
            said = ((clean(key), _flat(part, missing)) for key, part in value.items())
            return _joined([f"{key}: {text}" if key else text for key, text in said if text])
    return words(str(value), missing)


def _joined(parts: list[str]) -> str:
    return ", ".join(filter(None, parts))
