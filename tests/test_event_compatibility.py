"""The published format: no later version of it breaks what was written or who reads it, and the check would notice."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

import pytest

from agent_run_id import event_schema
from agent_run_id.event_format import SCHEMA_FILE
from agent_run_id.event_models import MODELS, parse
from tests.event_format import PUBLISHED
from tests.event_format.compatibility import incompatibilities
from tests.event_format.validation import is_valid

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Change = Callable[[dict[str, Any]], object]

LINES = (PUBLISHED / "event-format-1.jsonl").read_bytes().splitlines()


def published() -> dict[str, Any]:
    schema: dict[str, Any] = json.loads((PUBLISHED / SCHEMA_FILE).read_text(encoding="utf-8"))
    return schema


def test_the_schema_can_take_the_place_of_the_one_that_was_published() -> None:
    assert incompatibilities(published(), event_schema()) == []


@pytest.mark.parametrize("line", LINES, ids=lambda line: json.loads(line)["type"])
def test_lines_of_the_version_that_was_published_are_valid_and_survive_a_round_trip(line: bytes) -> None:
    assert is_valid(json.loads(line))
    assert json.loads(parse(line).model_dump_json(exclude_unset=True)) == json.loads(line)


def test_a_line_of_every_type_was_published_with_every_field() -> None:
    """But a type or a field that came later need not be there before the next release."""
    found: dict[str, set[str]] = {}
    for line in map(json.loads, LINES):
        found.setdefault(line["type"], set()).update(line)
    for condition in published()["allOf"][1:]:
        name = condition["if"]["properties"]["type"]["const"]
        fields = set(published()["$defs"][MODELS[name].__name__]["properties"])
        assert found[name] | {"cuts"} == fields | {"cuts"}, name


# What is found --------------------------------------------------------------------------------------------------------


def field(schema: dict[str, Any], model: str, name: str) -> dict[str, Any]:
    found: dict[str, Any] = schema["$defs"][model]["properties"][name]
    return found


def case(schema: dict[str, Any], name: str) -> dict[str, Any]:
    condition = {"properties": {"type": {"const": name}}, "required": ["type"]}
    found: dict[str, Any] = next(part for part in schema["allOf"] if part["if"] == condition)
    return found


def new_case(name: str, then: Any) -> dict[str, Any]:
    return {"if": {"properties": {"type": {"const": name}}, "required": ["type"]}, "then": then}


def anything(schema: dict[str, Any], model: str, name: str) -> None:
    schema["$defs"][model]["properties"][name] = {}


WRONG: dict[str, tuple[Change, str]] = {
    "a field removed": (lambda s: s["$defs"]["RunStarted"]["properties"].pop("key"), "line<run.started>.key: removed"),
    "a field of every event removed": (lambda s: s["$defs"]["Event"]["properties"].pop("cuts"), "line<any other type>"),
    "a field of an error removed": (lambda s: s["$defs"]["RecordedError"]["properties"].pop("leaves"), "error.leaves"),
    "a field renamed": (
        lambda s: s["$defs"]["RunStep"]["properties"].update(title=s["$defs"]["RunStep"]["properties"].pop("name")),
        "line<run.step>.name: removed",
    ),
    "a type of line removed": (lambda s: s["allOf"].remove(case(s, "run.usage")), "line<run.usage>: removed"),
    "a field newly required": (lambda s: s["$defs"]["RunUsage"]["required"].append("cost"), "cost: now required"),
    "a new field required": (
        lambda s: (
            s["$defs"]["RunEnded"]["required"].append("reason"),
            s["$defs"]["RunEnded"]["properties"].update(reason={"type": "string"}),
        ),
        "reason: now required; an earlier line",
    ),
    "a field no longer required": (
        lambda s: s["$defs"]["RunEnded"]["required"].remove("status"),
        "status: no longer required; an earlier reader",
    ),
    "a type narrowed": (lambda s: field(s, "RunStep", "data")["anyOf"].pop(), "a branch of anyOf is gone"),
    "a type narrowed from anything": (
        lambda s: field(s, "RunStarted", "input").update(type="object"),
        "input: no longer of type array",
    ),
    "a type widened": (
        lambda s: field(s, "RunStarted", "name").update(type=["string", "integer"]),
        "name: now also of type integer; an earlier reader",
    ),
    "a type widened to anything": (lambda s: anything(s, "RunStarted", "name"), "name: now also of type"),
    "a type changed": (
        lambda s: field(s, "RunEnded", "elapsed").update(type="number"),
        "elapsed: now also of type number",
    ),
    "an item narrowed": (lambda s: field(s, "BundleStarted", "sources")["items"].update(maxLength=9), "sources[]"),
    "a branch added": (
        lambda s: field(s, "RunUsage", "cost")["anyOf"].append({"type": "object"}),
        "cost: a branch of anyOf is new",
    ),
    "an enum narrowed": (
        lambda s: field(s, "RunEnded", "status")["enum"].remove("cancelled"),
        "status: no longer every one of its values",
    ),
    "an enum widened": (
        lambda s: field(s, "RunEnded", "status")["enum"].append("lost"),
        "status: now also other values; an earlier reader",
    ),
    "an enum opened": (lambda s: field(s, "RunEnded", "status").pop("enum"), "status: now also other values"),
    "an enum begun": (
        lambda s: field(s, "RunStarted", "kind").update(enum=["agent", "tool"]),
        "kind: no longer every one of its values",
    ),
    "another version": (lambda s: s["properties"]["v"].update(const=2), "line.v: no longer every one of its values"),
    "a bound narrowed": (lambda s: field(s, "Event", "seq").update(minimum=2), "seq: minimum is narrower"),
    "a bound widened": (lambda s: field(s, "Event", "seq").update(minimum=0), "seq: minimum is wider"),
    "a bound removed": (lambda s: field(s, "Event", "seq").pop("minimum"), "seq: minimum is wider"),
    "a bound added": (lambda s: field(s, "RunStep", "name").update(maxLength=80), "name: maxLength is narrower"),
    "another pattern": (lambda s: field(s, "Event", "run").update(pattern="^x$"), "run: pattern has changed"),
    "a pattern added": (
        lambda s: field(s, "RunStarted", "kind").update(pattern="^[a-z]+$"),
        "kind: pattern has changed",
    ),
    "unknown fields forbidden": (
        lambda s: s["$defs"]["RunStep"].update(additionalProperties=False),
        "line<run.step>[]: not has changed",
    ),
    "unknown fields typed": (
        lambda s: s["$defs"]["RunStep"].update(additionalProperties={"type": "string"}),
        "line<run.step>[]: no longer of type",
    ),
    "a name of the program's typed": (
        lambda s: field(s, "RunStarted", "attributes")["anyOf"][0].update(properties={"cost": {"type": "number"}}),
        "attributes: a branch of anyOf is gone",
    ),
    "unknown types forbidden": (
        lambda s: s["properties"]["type"].update(enum=list(MODELS)),
        "line.type: no longer every one of its values",
    ),
    "a type without the fields of every event": (
        lambda s: s["allOf"][0]["if"]["not"]["properties"]["type"]["enum"].append("process.ended"),
        "line<any other type>: removed",
    ),
    "something asked for in another case": (
        lambda s: s["allOf"].append({"if": {"required": ["error"]}, "then": {"required": ["status"]}}),
        "something new is asked for",
    ),
    "something asked for in every case": (
        lambda s: s["allOf"].append({"required": ["seq"]}),
        "allOf has changed",
    ),
    "a case twice": (
        lambda s: s["allOf"].append(new_case("run.step", {"required": ["data"]})),
        "allOf has changed",
    ),
    "a definition narrowed beside its name": (
        lambda s: field(s, "RunEnded", "error").update(required=["traceback"]),
        "error: allOf has changed",
    ),
    "a reference that leads nowhere": (lambda s: s["$defs"].pop("ErrorLeaf"), "leads to has"),
    "a keyword nobody knows": (lambda s: field(s, "RunStep", "name").update(surprise=1), "surprise has changed"),
    "a dependency": (
        lambda s: s["$defs"]["RunUsage"].update(dependentRequired={"cost": ["currency"]}),
        "dependentRequired has changed",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_an_incompatible_change_is_found_and_named(name: str) -> None:
    change, message = WRONG[name]
    later = published()
    change(later)
    found = incompatibilities(published(), later)
    assert any(message in problem for problem in found), found


def without(schema: Any, path: list[Any]) -> Any:
    changed = copy.deepcopy(schema)
    place = changed
    for step in path[:-1]:
        place = place[step]
    del place[path[-1]]
    return changed


def parts(schema: Any, path: list[Any]) -> Iterator[list[Any]]:
    """The way to everything that is in a schema."""
    for step, inner in schema.items() if isinstance(schema, dict) else enumerate(schema):
        yield [*path, step]
        if isinstance(inner, dict | list):
            yield from parts(inner, [*path, step])


def is_said_for_people(path: list[Any]) -> bool:
    is_name = len(path) > 1 and path[-2] == "properties"
    return not is_name and path[-1] in ("$schema", "title", "description")


def at(schema: Any, path: list[Any]) -> Any:
    for step in path:
        schema = schema[step]
    return schema


SAYING = [
    path
    for path in parts(published(), [])
    if not is_said_for_people(path) and at(published(), path) != {} and at(published(), path) is not True
]
"""The way to everything in the schema that says something, and not to people alone."""


def test_nothing_can_be_taken_away_unnoticed() -> None:
    schema = published()
    assert [path for path in SAYING if not incompatibilities(schema, without(schema, path))] == []


def test_nothing_can_be_added_unnoticed_but_optional_fields_and_types() -> None:
    schema = published()
    for path in SAYING:
        if not incompatibilities(without(schema, path), schema):
            is_field = path[-2] == "properties" and path[-1] not in at(schema, path[:-2]).get("required", ())
            is_type = path[:-1] == ["allOf"] and "const" in at(schema, path)["if"]["properties"]["type"]
            assert is_field or is_type, path


# What is allowed ------------------------------------------------------------------------------------------------------


def said_in_other_words(schema: Any) -> None:
    for path in list(parts(schema, [])):
        if is_said_for_people(path):
            place = schema
            for step in path[:-1]:
                place = place[step]
            place[path[-1]] = "other words"


def inline_a_definition(schema: dict[str, Any]) -> None:
    schema["$defs"]["RunEnded"]["properties"]["error"] = schema["$defs"]["RecordedError"]
    case(schema, "run.step")["then"] = schema["$defs"].pop("RunStep")


def rename_a_definition(schema: dict[str, Any]) -> None:
    schema["$defs"]["Step"] = schema["$defs"].pop("RunStep")
    case(schema, "run.step")["then"] = {"$ref": "#/$defs/Step"}


RIGHT: dict[str, Change] = {
    "nothing": lambda s: None,
    "other words": said_in_other_words,
    "a new optional field": lambda s: s["$defs"]["RunStep"]["properties"].update(level={"type": "integer"}),
    "a new optional field of every event": lambda s: s["$defs"]["Event"]["properties"].update(zone={"type": "string"}),
    "a new optional field of an error": lambda s: s["$defs"]["RecordedError"]["properties"].update(notes={}),
    "a new type": lambda s: s["allOf"].append(new_case("run.told", {"required": ["until"]})),
    "a new type with a definition": lambda s: (
        s["$defs"].update(RunTold={"properties": {"until": {"type": "integer"}}}),
        s["allOf"].append(new_case("run.told", {"$ref": "#/$defs/RunTold"})),
    ),
    "another order of types": lambda s: s["allOf"].reverse(),
    "another order of values": lambda s: field(s, "RunEnded", "status")["enum"].reverse(),
    "another order of branches": lambda s: field(s, "RunStep", "data")["anyOf"].reverse(),
    "a definition put where it is used": inline_a_definition,
    "a definition by another name": rename_a_definition,
    "that other fields are allowed not said": lambda s: s["$defs"]["RunStep"].pop("additionalProperties"),
}


@pytest.mark.parametrize("name", RIGHT)
def test_a_change_that_hurts_nobody_is_allowed(name: str) -> None:
    later = published()
    RIGHT[name](later)
    assert incompatibilities(published(), later) == []
    assert all(is_valid(json.loads(line), later) for line in LINES)


def test_a_definition_may_contain_itself() -> None:
    tree: dict[str, Any] = {
        "$ref": "#/$defs/Tree",
        "$defs": {"Tree": {"properties": {"below": {"description": "more", "$ref": "#/$defs/Tree"}}}},
    }
    later = copy.deepcopy(tree)
    assert incompatibilities(tree, later) == []
    later["$defs"]["Tree"]["properties"]["below"]["type"] = "object"
    assert any("line.below: no longer of type" in problem for problem in incompatibilities(tree, later))
