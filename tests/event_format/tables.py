"""The tables of the page: the fields of every type, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from agent_run_id.event_models import PROCESS_ID, TOKEN

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    Schema = Mapping[str, Any]

__all__ = ["tables"]

_ENVELOPE: Final = ("v", "type", "run", "time", "seq", "cuts")
_TEXTS: Final = {TOKEN: "[token](glossary.md)", PROCESS_ID: "32 hexadecimal digits"}
_NOTE: Final = "[note](#notes)"


def tables(schema: Schema) -> str:
    """A section for each type, and before them one for what all events have in common."""
    definitions = schema["$defs"]
    event, *types = [_reference(part["then"]) for part in schema["allOf"]]
    names = [part["if"]["properties"]["type"]["const"] for part in schema["allOf"][1:]]
    sections = ["### Every event", *_table(definitions, _common(schema, definitions[event]))]
    for name, model in zip(names, types, strict=True):
        own = _own(definitions[model], is_event="run" in definitions[model]["properties"])
        sections += [f"### `{name}`", definitions[model]["description"], *_table(definitions, own)]
    for name, definition in definitions.items():
        if name not in (event, *types):
            sections += [f"### {_words(name)}", definition["description"], *_table(definitions, definition)]
    return "\n\n".join(sections)


def _common(schema: Schema, event: Schema) -> Schema:
    both = {**schema["properties"], **event["properties"]}
    required = [*schema["required"], *event["required"]]
    return {"properties": {name: both[name] for name in _ENVELOPE}, "required": required}


def _own(definition: Schema, *, is_event: bool) -> Schema:
    known = _ENVELOPE if is_event else ("v", "type")
    fields = {name: field for name, field in definition["properties"].items() if name not in known}
    return {**definition, "properties": fields}


def _table(definitions: Schema, definition: Schema) -> Iterator[str]:
    rows = ["| Field | | | |", "|---|---|---|---|"]
    for name, field in definition["properties"].items():
        always = "always" if name in definition["required"] else ""
        rows.append(f"| `{name}` | {_kind(definitions, field)} | {always} | {field.get('description', '')} |")
    yield "\n".join(rows)


def _kind(definitions: Schema, schema: Schema) -> str:
    """What a value is, in words."""
    if "anyOf" in schema:
        return ", or ".join(_kind(definitions, branch) for branch in schema["anyOf"])
    if "$ref" in schema:
        name = _words(_reference(schema))
        return f"[{name.lower()}](#{name.lower().replace(' ', '-')})"
    if "const" in schema or "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema.get("enum", [schema.get("const")]))
    if schema.get("type") == "array":
        items = schema["items"]
        return "list of any values" if not items else f"list of {_kind(definitions, items).replace('text', 'texts')}"
    return _simple(schema)


def _simple(schema: Schema) -> str:
    if schema.get("type") == "string":
        if schema.get("description", "").startswith("Stands for"):
            return _NOTE
        return _TEXTS.get(schema.get("pattern", ""), "text")
    if schema.get("type") == "integer":
        least = schema.get("minimum", -1)
        return f"integer from {least}" if least >= 0 else "integer"
    return {"number": "number", "boolean": "true or false", "object": "object"}.get(schema.get("type", ""), "any value")


def _reference(schema: Schema) -> str:
    name: str = schema["$ref"].removeprefix("#/$defs/")
    return name


def _words(name: str) -> str:
    """`ErrorLeaf` is an *Error leaf*."""
    return "".join(f" {char.lower()}" if char.isupper() else char for char in name).strip().capitalize()
