"""The JSON Schema of a line, from the models."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from pydantic.json_schema import GenerateJsonSchema, models_json_schema

from agent_run_id.event_models import MODELS, Event
from agent_run_id.events import BUNDLE_STARTED, FORMAT_VERSION, PROCESS_STARTED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic import BaseModel
    from pydantic.json_schema import JsonSchemaValue
    from pydantic_core import core_schema

__all__ = ["json_schema", "text_of"]

_FIRST: Final = ("v", "type", "run", "time", "seq")
_LAST: Final = ("cuts",)
_ANYTHING: Final = "#/$defs/JsonValue"
_TITLE: Final = f"A line of a journal of agent_run_id, version {FORMAT_VERSION}"
_DESCRIPTION: Final = (
    "One JSON object. Types and fields that are not described here are valid: a later version of the library may write "
    "them, and a reader skips them. What is not known is left out."
)


class _Generator(GenerateJsonSchema):
    """What may be left out is never null, and a field is called what it is called."""

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def json_schema() -> dict[str, Any]:
    """The schema: what every line is, what an event is, and for each type what it is beside that."""
    models: list[type[BaseModel]] = [Event, *MODELS.values()]
    _, made = models_json_schema([(model, "validation") for model in models], schema_generator=_Generator)
    definitions: dict[str, Any] = _without_names_for_anything(made["$defs"])
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": _TITLE,
        "description": _DESCRIPTION,
        "type": "object",
        "required": ["v", "type"],
        "properties": {
            "v": {"const": FORMAT_VERSION, "description": "Version of the format."},
            "type": {"type": "string", "description": "What happened."},
        },
        "allOf": list(_by_type()),
        "$defs": {name: _in_order(definitions[name]) for name in sorted(definitions)},
    }


def _by_type() -> Iterator[dict[str, Any]]:
    # Not `oneOf`: a validator would say of a wrong line that it is none of nine, and not what is wrong with it.
    first_lines = {"properties": {"type": {"enum": [PROCESS_STARTED, BUNDLE_STARTED]}}, "required": ["type"]}
    yield {"if": {"not": first_lines}, "then": {"$ref": f"#/$defs/{Event.__name__}"}}
    for name, model in MODELS.items():
        condition = {"properties": {"type": {"const": name}}, "required": ["type"]}
        yield {"if": condition, "then": {"$ref": f"#/$defs/{model.__name__}"}}


def _without_names_for_anything(schema: Any) -> Any:
    """The schema with `{}` where pydantic refers to a definition that says nothing, that of any JSON value."""
    if isinstance(schema, dict):
        if schema.get("$ref") == _ANYTHING:
            return {keyword: value for keyword, value in schema.items() if keyword != "$ref"}
        return {name: _without_names_for_anything(inner) for name, inner in schema.items() if name != "JsonValue"}
    return [_without_names_for_anything(inner) for inner in schema] if isinstance(schema, list) else schema


def _in_order(definition: dict[str, Any]) -> dict[str, Any]:
    """The definition with its fields in the order in which a line has them."""
    fields = definition["properties"]
    names = [*_FIRST, *(name for name in fields if name not in _FIRST + _LAST), *_LAST]
    ordered = {name: fields[name] for name in names if name in fields}
    required = [name for name in ordered if name in definition.get("required", ())]
    keywords = {**definition, "properties": ordered, "required": required}
    return {keyword: keywords[keyword] for keyword in sorted(keywords)}


def text_of(schema: dict[str, Any]) -> str:
    """The schema as it is published."""
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
