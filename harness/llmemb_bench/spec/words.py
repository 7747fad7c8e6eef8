"""What a setting may be, in words, from the JSON Schema of its settings class: for `show` and for errors.

So a setting is described once, by its type, and every plugin's settings are described in the same way.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from pydantic import BaseModel
from pydantic.errors import PydanticInvalidForJsonSchema

from llmemb_bench.registry.config import WORDS
from llmemb_bench.registry.entries import suggestion

Schema = dict[str, Any]
COUNTABLE = ("whole number", "number", "list", "mapping", "path", "name", "day", "size")


class Described:
    """A point in the settings of a class."""

    def __init__(self, schema: Schema, definitions: Schema) -> None:
        self.schema, self.definitions = schema, definitions

    def options(self) -> Iterator[Schema]:
        """The alternatives that may stand here."""
        yield from self._options(self.schema)

    def _options(self, schema: Schema) -> Iterator[Schema]:
        if "$ref" in schema:
            yield from self._options(self.definitions[schema["$ref"].rpartition("/")[2]])
        elif alternatives := schema.get("anyOf", schema.get("oneOf")):
            for inner in alternatives:
                yield from self._options(inner)
        else:
            yield schema

    def at(self, loc: Sequence[str | int]) -> Described:
        """A point further in; where the class does not say what is there, anything may be."""
        if not loc:
            return self
        inner = next((found for option in self.options() if (found := _inside(option, loc[0])) is not None), {})
        return Described(inner, self.definitions).at(loc[1:])

    def names(self) -> list[str]:
        """The keys that settings here have."""
        return sorted({key for option in self.options() for key in option.get("properties", {})})

    def words(self) -> str:
        """What may stand here: `whole number, 1 or more`."""
        descriptions = list(dict.fromkeys(words for option in self.options() for words in self._described(option)))
        if len(descriptions) > 1 and any(" or " in words for words in descriptions):
            return ", or ".join(descriptions)
        return " or ".join([", ".join(descriptions[:-1]), descriptions[-1]] if len(descriptions) > 1 else descriptions)

    def _described(self, schema: Schema) -> list[str]:
        """The values where they can be counted, else one description of all."""
        if "enum" in schema or "const" in schema:
            return [_yaml(value) for value in schema.get("enum", [schema.get("const")])]
        if schema.get("type") == "boolean":
            return ["true", "false"]
        return [self._description(schema)]

    def _description(self, schema: Schema) -> str:
        if WORDS in schema:
            return str(schema[WORDS])
        if "x-plugin-kind" in schema:
            return f"one of the {schema['x-plugin-kind']}"
        match schema.get("type"):
            case "array":
                each = Described(schema.get("items", {}), self.definitions).words()
                return f"list{_length(schema)}" + (f" (each: {each})" if each != "anything" else "")
            case "object" if "properties" in schema:
                return f"settings ({', '.join(schema['properties'])})"
            case "object":
                inner = _inside(schema, "any key")
                each = "" if inner is None else Described(inner, self.definitions).words()
                return f"mapping (each value: {each})" if each else "mapping"
        return _scalar(schema)


def described(model: type[BaseModel]) -> Described:
    """The settings of a class."""
    return Described(*_schema(model))


@cache
def _schema(model: type[BaseModel]) -> tuple[Schema, Schema]:
    try:
        schema = model.model_json_schema()
    except PydanticInvalidForJsonSchema:  # a type that only its own author knows
        schema = {"properties": {name: {} for name in model.model_fields}}
    return schema, schema.get("$defs", {})


def _inside(schema: Schema, key: str | int) -> Schema | None:
    """What is at a key of a mapping or an index of a list."""
    if isinstance(key, int):
        found = schema.get("items")
    else:
        found = schema.get("properties", {}).get(key, schema.get("additionalProperties"))
    return found if isinstance(found, dict) else None


def _scalar(schema: Schema) -> str:
    match schema.get("type"):
        case "integer":
            return f"whole number{_range(schema)}"
        case "number":
            return f"number{_range(schema)}"
        case "null":
            return "null"
        case "string":
            return f"text of the form {schema['pattern']}" if "pattern" in schema else "text"
    return "anything"


def _range(schema: Schema) -> str:
    least, most = schema.get("minimum"), schema.get("maximum")
    if least is not None and most is not None:
        return f" from {_plain(least)} to {_plain(most)}"
    parts = [
        (least, "{} or more"),
        (most, "{} or less"),
        (schema.get("exclusiveMinimum"), "above {}"),
        (schema.get("exclusiveMaximum"), "below {}"),
    ]
    descriptions = [words.format(_plain(bound)) for bound, words in parts if bound is not None]
    return f", {' and '.join(descriptions)}" if descriptions else ""


def _plain(bound: int | float) -> str:
    return f"{bound:,}" if float(bound).is_integer() and abs(bound) >= 10_000 else f"{bound:g}"


def _length(schema: Schema) -> str:
    least, most = schema.get("minItems", 0), schema.get("maxItems")
    if least == most:
        return f" of {least}"
    return f" of at least {least}" if least else ""


def _yaml(value: object) -> str:
    """As it is written in a spec."""
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


def with_article(words: str) -> str:
    """As in a sentence: `a whole number, 1 or more`."""
    return f"a {words}" if words.startswith(COUNTABLE) else words


def shown(value: object) -> str:
    """What somebody wrote, short enough for a line."""
    text = repr(str(value)) if isinstance(value, str) else _yaml(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def suggested_fix(value: object, setting: Described) -> str:
    """What was probably meant by a value that is not allowed here; empty if that is unclear."""
    for schema in setting.options():
        for guess in _guesses(value, schema, setting):
            return guess
    return ""


def _guesses(value: object, schema: Schema, setting: Described) -> Iterator[str]:
    kind = schema.get("type")
    if isinstance(value, str):
        yield from _guesses_of_text(str(value), schema)
    elif kind == "array" and not isinstance(value, list | Mapping | None):
        yield f"[{_yaml(value)}]"
    elif kind == "integer" and isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        yield f"{int(value)}"
    elif kind == "string" and isinstance(value, int | float) and not isinstance(value, bool) and "enum" not in schema:
        yield f"with quotes: '{value}'"


def _guesses_of_text(text: str, schema: Schema) -> Iterator[str]:
    kind = schema.get("type")
    if kind in ("integer", "number") and re.fullmatch(
        r"[+-]?\d+" if kind == "integer" else r"[+-]?[\d.]+(e[+-]?\d+)?", text
    ):
        yield f"without quotes: {text}"
    if kind == "boolean" and (meant := _TRUTH.get(text.strip().lower())):
        yield meant
    if kind == "array":
        yield f"[{text}]"
    if "enum" in schema:
        close = suggestion(text, [str(option) for option in schema["enum"]])
        yield from [close] if close.startswith("did") else []
    if "pattern" in schema:
        yield from (f"did you mean '{other}'?" for other in _spellings(text) if re.search(schema["pattern"], other))


_NUMBERS = {"integer": r"[+-]?\d+", "number": r"[+-]?(\d+\.?|\d*\.\d+)(e[+-]?\d+)?"}
_TRUTH = {"yes": "true", "on": "true", "true": "true", "no": "false", "off": "false", "false": "false"}


def _spellings(text: str) -> Iterator[str]:
    """The same letters and digits in other cases and with other signs between."""
    cased = (text.strip(), text.strip().lower(), text.strip().upper())
    for word, sign in itertools.product(cased, ("-", "_", "")):
        yield re.sub(r"[\s_/.-]+", sign, word).strip(sign)
        yield re.sub(r"(?<=[A-Za-z])[\s_-]*(?=\d)", sign, word)
