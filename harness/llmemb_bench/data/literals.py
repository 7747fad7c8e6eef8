"""Python literals as JSON: several official files, and many a cell of a table, hold them. Nothing is ever evaluated."""

from __future__ import annotations

import json
import re

_STRING = r"""[uU]?(?:'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)")"""
_TOKEN = re.compile(rf"{_STRING}|\b(True|False|None|nan)\b", re.DOTALL)
_WORDS = {"True": "true", "False": "false", "None": "null", "nan": "null"}
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[0-7]{1,3}|.)", re.DOTALL)
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r", "'": "'", '"': '"', "\\": "\\", "b": "\b", "f": "\f", "/": "/"}


def rewritten(literal: str) -> str:
    """A Python dict or list as JSON: strings are rewritten one by one, the rest stays as it is (and may be no JSON);
    raises ValueError or OverflowError where a string is none."""
    return _TOKEN.sub(_token, literal)


def _token(match: re.Match[str]) -> str:
    single, double, word = match.groups()
    if word:
        return _WORDS[word]
    text = single if single is not None else double
    if "\\" in text:
        text = _ESCAPE.sub(_unescaped, text)
    return json.dumps(text)


def _unescaped(match: re.Match[str]) -> str:
    code = match[1]
    if code[0] in "01234567":
        return chr(int(code, 8))
    if len(code) > 1:
        return chr(int(code[1:], 16))
    return _ESCAPED.get(code, match[0])
