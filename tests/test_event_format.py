"""The published format: a file that everyone has, made of the models, and nothing a program must load pydantic for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import agent_run_id
from agent_run_id import event_schema, events
from agent_run_id.event_format import SCHEMA_FILE
from agent_run_id.event_models import MODELS
from tests.event_format import AGAIN, PAGE, made, with_tables
from tests.event_format.schemas import json_schema, text_of
from tests.event_format.validation import is_valid
from tests.programs import run_program

PACKAGED = Path(agent_run_id.__path__[0], SCHEMA_FILE)


@pytest.mark.parametrize("path", made(), ids=lambda path: path.name)
def test_what_is_made_of_the_models_is_as_they_are_now(path: Path) -> None:
    assert path.read_text(encoding="utf-8") == made()[path], AGAIN


def test_the_schema_is_made_the_same_every_time_and_has_no_address_of_its_own() -> None:
    assert text_of(json_schema()) == text_of(json_schema()) == PACKAGED.read_text(encoding="utf-8")
    assert "$id" not in PACKAGED.read_text(encoding="utf-8")


def test_the_schema_that_is_published_is_what_a_program_gets() -> None:
    assert event_schema() == json.loads(PACKAGED.read_text(encoding="utf-8"))
    event_schema().clear()
    assert event_schema()["$schema"] == "https://json-schema.org/draft/2020-12/schema"


def test_asking_for_the_schema_loads_neither_pydantic_nor_sqlite() -> None:
    program = """
        import sys
        import agent_run_id as ari
        print(ari.event_schema()["properties"]["v"]["const"], *sorted({"pydantic", "sqlite3"} & set(sys.modules)))
    """
    assert run_program(program).split() == ["1"]


def test_every_type_that_can_be_written_has_a_model() -> None:
    dotted = {value for name in events.__all__ if isinstance(value := getattr(events, name), str)}
    assert set(MODELS) == dotted
    assert all(model.model_fields["type"].annotation for model in MODELS.values())


def test_every_field_is_described() -> None:
    for name, definition in event_schema()["$defs"].items():
        fields = definition["properties"]
        missing = [field for field in fields if field != "type" and not fields[field].get("description")]
        assert not missing, name
        assert definition["description"], name


def test_the_page_says_of_every_field_what_it_is() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for name, model in MODELS.items():
        section = page.partition(f"### `{name}`")[2].partition("\n### ")[0]
        for field in model.model_fields.keys() - {"v", "type", "run", "time", "seq", "cuts"}:
            assert f"| `{field}` |" in section, f"{name}: {field}"


def test_tables_take_the_place_of_others_and_leave_the_rest_of_the_page() -> None:
    page = PAGE.read_text(encoding="utf-8")
    without = {**json_schema(), "allOf": json_schema()["allOf"][:1]}
    shorter = with_tables(page, without)
    assert "### `run.step`" in page
    assert "### `run.step`" not in shorter
    assert with_tables(shorter, json_schema()) == page
    with pytest.raises(AssertionError, match="between two comments"):
        with_tables("a page", json_schema())


def test_the_lines_that_the_page_shows_are_valid() -> None:
    lines = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith('{"v":')]
    assert len(lines) == 10
    assert all(is_valid(json.loads(line)) for line in lines)
