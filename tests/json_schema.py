"""The schema of what `runid` prints as JSON: made of cli/shapes.py by `make json-schema`, and compared."""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

from agent_run_id.cli.shapes import DOCUMENTS, LINES
from tests.event_format import PUBLISHED
from tests.event_format.schemas import text_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pydantic.json_schema import JsonSchemaValue
    from pydantic_core import core_schema

    Schema = Mapping[str, Any]

__all__ = ["EARLIER", "MADE", "closed", "json_schema", "lost", "of_command"]

_NAME: Final = "runid-json.schema.json"
MADE: Final = Path(__file__).parent.parent / "docs" / _NAME
EARLIER: Final = PUBLISHED / _NAME
"""The schema of the last version that was published."""

_DESCRIPTION: Final = (
    "By the name of a command, what it prints with --json: one document, or where it says so an object on each line. "
    "Times are in UTC, lengths of time in seconds; what is not known is null. Later versions may add fields."
)
_TIME: Final = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$"
_FIELDS: Final = re.compile(r"^    (\w+): (.*(?:\n     +.*)*)", re.MULTILINE)


class _Generator(GenerateJsonSchema):
    """Times and lengths of time as cli/documents.py writes them, and fields described as their class does."""

    def datetime_schema(self, schema: core_schema.DatetimeSchema) -> JsonSchemaValue:
        return {"type": "string", "format": "date-time", "pattern": _TIME}

    def timedelta_schema(self, schema: core_schema.TimedeltaSchema) -> JsonSchemaValue:
        return {"type": "number"}

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def field_is_required(self, field: Any, total: bool) -> bool:  # noqa: FBT001 - as pydantic has it
        return True  # every field is printed

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        made = super().model_schema(schema)
        lines: dict[str, str] = {}
        for cls in reversed(schema["cls"].__mro__):
            found = _FIELDS.findall((inspect.getdoc(cls) or "").partition("Attributes:\n")[2])
            lines |= {name: re.sub(r"\bNone\b", "null", " ".join(text.split())) for name, text in found}
        for name, field in made["properties"].items():
            if name in lines:
                field["description"] = lines[name]
        return {**made, "description": made["description"].partition("\n\n")[0]}


def json_schema() -> dict[str, Any]:
    """The schema: by the names of the commands, what each prints."""
    inputs = [(name, "serialization", TypeAdapter(shape)) for name, shape in DOCUMENTS.items()]
    by_name, made = TypeAdapter.json_schemas(inputs, schema_generator=_Generator)  # type: ignore[arg-type]
    properties = {}
    for name in DOCUMENTS:
        what = f"Each line of `runid {name}`." if name in LINES else f"The document of `runid {name}`."
        properties[name] = {"description": what, **by_name[name, "serialization"]}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "What runid prints as JSON",
        "description": _DESCRIPTION,
        "type": "object",
        "properties": properties,
        "$defs": made["$defs"],
    }


def of_command(name: str, schema: Schema) -> dict[str, Any]:
    """The schema of what one command prints."""
    return {**schema["properties"][name], "$defs": schema["$defs"]}


def closed(schema: Any) -> Any:
    """The schema with no field allowed that it does not describe: what is printed is no more than what is published."""
    if isinstance(schema, list):
        return [closed(inner) for inner in schema]
    if not isinstance(schema, dict):
        return schema
    made = {name: closed(inner) for name, inner in schema.items()}
    return {**made, "additionalProperties": False} if isinstance(schema.get("properties"), dict) else made


# Compatibility --------------------------------------------------------------------------------------------------------


def lost(earlier: Schema, later: Schema) -> list[str]:
    """The fields of an earlier schema that a later one has no more, or not as they were; it may add others."""
    before, after = dict(_fields(earlier, earlier, "runid", ())), dict(_fields(later, later, "runid", ()))
    return [f"{path}: was {kind}, is {after.get(path)}" for path, kind in before.items() if after.get(path) != kind]


def _fields(part: Any, whole: Schema, path: str, above: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """The way to everything that is described, and of which type it is."""
    name = part.get("$ref", "").removeprefix("#/$defs/")
    if name in above:  # a run below a run
        return
    if name:
        yield from _fields(whole["$defs"][name], whole, path, (*above, name))
        return
    branches = {_kind(branch): branch for branch in part.get("anyOf", [])}
    for kind, branch in branches.items():
        yield from _fields(branch, whole, f"{path}|{kind}", above)
    yield path, " or ".join(sorted(branches) or [_kind(part)])
    for field, inner in part.get("properties", {}).items():
        required = "" if field in part.get("required", ()) else "?"
        yield from _fields(inner, whole, f"{path}.{field}{required}", above)
    if isinstance(part.get("items"), dict):
        yield from _fields(part["items"], whole, f"{path}[]", above)
    for place, inner in enumerate(part.get("prefixItems", ())):
        yield from _fields(inner, whole, f"{path}[{place}]", above)
    if isinstance(part.get("additionalProperties"), dict):
        yield from _fields(part["additionalProperties"], whole, f"{path}{{}}", above)


def _kind(part: Schema) -> str:
    said = {word: value for word, value in part.items() if word in ("$ref", "type", "enum", "const", "pattern")}
    return said.get("$ref", "").removeprefix("#/$defs/") or json.dumps(said, sort_keys=True)


if __name__ == "__main__":
    MADE.write_text(text_of(json_schema()), encoding="utf-8")
    print(MADE)  # noqa: T201 - for whoever called it
