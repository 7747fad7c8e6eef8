"""The JSON Schema of a spec: the frame, and for each kind one alternative per plugin."""

from __future__ import annotations

from typing import Any

from llmemb_bench.base.errors import BenchError, one_line
from llmemb_bench.base.terminal import say
from llmemb_bench.registry.entries import Entry, entries
from llmemb_bench.registry.kinds import KINDS
from llmemb_bench.spec.frame import Spec


def spec_schema() -> dict[str, Any]:
    """JSON Schema 2020-12; a plugin that cannot be imported is left out, with a word on stderr."""
    schema = Spec.model_json_schema()
    definitions: dict[str, Any] = schema.setdefault("$defs", {})
    for kind in KINDS.values():
        found = [plugin for entry in entries() if entry.kind == kind.name and (plugin := _plugin(entry, definitions))]
        names = [plugin["properties"]["use"]["const"] for plugin in found]
        definitions[kind.name] = {"description": kind.does, "anyOf": [{"enum": names}, *found]}
    schema = _with_references(schema)
    definitions = schema["$defs"]
    properties = schema["properties"]
    properties["extends"] = {"type": "string", "description": "another spec whose keys this one starts from"}
    # What the matrix gives may be absent from the base, and so may what `extends` brings.
    schema.pop("required", None)
    definitions["Recommender"].pop("required", None)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "llmemb-bench spec", **schema}


def _with_references(value: Any) -> Any:
    """Every choice of a plugin refers to the alternatives of its kind."""
    if isinstance(value, list):
        return [_with_references(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    changed = {key: _with_references(inner) for key, inner in value.items() if key != "x-plugin-kind"}
    return changed | ({"$ref": f"#/$defs/{value['x-plugin-kind']}"} if "x-plugin-kind" in value else {})


def _plugin(entry: Entry, definitions: dict[str, Any]) -> dict[str, Any] | None:
    try:
        schema = entry.load().config_type().model_json_schema()
    except Exception as error:  # a plugin is foreign code
        say(f"left out: {error if isinstance(error, BenchError) else f'{entry.path}: {one_line(error)}'}", err=True)
        return None
    definitions.update(schema.pop("$defs", {}))
    return {
        "type": "object",
        "title": entry.name,
        "description": entry.summary,
        "additionalProperties": False,
        "properties": {"use": {"const": entry.name}, **schema.get("properties", {})},
        "required": ["use", *schema.get("required", [])],
    }
