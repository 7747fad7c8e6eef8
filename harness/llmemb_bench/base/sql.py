"""Names and texts inside of SQL, for the places where DuckDB takes no bound value."""

from __future__ import annotations


def literal(text: object) -> str:
    """A text, or a path, as an SQL literal: `it's` is `'it''s'`."""
    return "'" + str(text).replace("'", "''") + "'"


def identifier(name: str) -> str:
    """A name of a column or table, of any characters, as SQL has it: in double quotes."""
    return '"' + name.replace('"', '""') + '"'


def json_path(key: str) -> str:
    """The JSON path to a key of any name, as an SQL literal."""
    escaped = key.replace("\\", "\\\\").replace('"', '\\"')
    return literal(f'$."{escaped}"')
