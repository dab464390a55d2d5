"""The models of the format: everything that is recorded is a line of theirs, and everything survives them."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from agent_run_id import RunId, child_env, event_schema, start_run
from agent_run_id.event_models import MODELS, Event, OtherEvent, parse
from agent_run_id.testing import capture_runs, run_ids
from agent_run_id.testing.strategies import json_values
from tests.event_format import PUBLISHED
from tests.event_format.calls import mistyped, record, typed
from tests.event_format.validation import is_valid, problems
from tests.journal_programs.houses import bundles, eager, keep
from tests.journal_programs.journals import journals_of

if TYPE_CHECKING:
    from pathlib import Path

    from agent_run_id import RunRegistry

PUBLISHED_LINES = (PUBLISHED / "event-format-1.jsonl").read_bytes().splitlines()
GOOD: dict[str, dict[str, Any]] = {line["type"]: line for line in map(json.loads, PUBLISHED_LINES)}


def lines_in(directory: Path | str) -> list[bytes]:
    return [line for path in journals_of(directory) for line in path.read_bytes().splitlines()]


def exact(value: Any) -> str:
    """A text that tells 1 from 1.0 and from true."""
    return json.dumps(value, sort_keys=True)


def survives(line: bytes) -> bool:
    return exact(json.loads(parse(line).model_dump_json(exclude_unset=True))) == exact(json.loads(line))


# What is recorded -----------------------------------------------------------------------------------------------------


@given(st.lists(typed(), max_size=6))
def test_whatever_is_recorded_is_valid_and_survives_a_round_trip(calls: list[tuple[str, dict[str, Any]]]) -> None:
    """By the published schema, as a validator of somebody else's reads it, and by the models."""
    with capture_runs() as registry:
        record(calls)
        lines = lines_in(registry.directory)
    assert len(lines) >= 3
    for line in lines:
        assert problems(json.loads(line)) == []
        assert type(parse(line)) is MODELS[json.loads(line)["type"]]
        assert survives(line)


@given(st.lists(mistyped(), max_size=6))
def test_what_a_program_gives_of_another_type_is_an_event_all_the_same(calls: list[tuple[str, dict[str, Any]]]) -> None:
    """Its own fields are as they were given, but a reader still knows of which run it is, and when it was."""
    event = {"$ref": "#/$defs/Event", "$defs": event_schema()["$defs"]}
    with capture_runs() as registry:
        record(calls)
        _, *lines = lines_in(registry.directory)
    for line in map(json.loads, lines):
        assert problems(line, event) == []
        read = Event.model_validate(line)
        assert exact(read.model_dump(exclude_unset=True)) == exact(line)


def test_what_was_too_much_is_valid_and_a_note_stands_in_its_place(registry: RunRegistry) -> None:
    many, long, other = ["x"] * 20_000, "x" * 300_000, RunId.generate()
    named = dict.fromkeys(map(str, range(20_000)))
    with start_run(long, tags=many, links=[other], aliases=many, attributes={"a": 1}, input=many) as run:
        run.update(summary=long, tags=[long] * 3, links=[other] * 12_000, attributes=named)
        run.decide(long, options=many, chosen=many, why=long, confidence=float("nan"))
        run.usage(model="m", input_tokens=2**63, cost=float("inf"))
        run.end(error=ExceptionGroup(long, [ValueError(long)] * 200), output=many)
    lines = lines_in(registry.directory)
    for line in lines:
        assert problems(json.loads(line)) == []
        assert survives(line)
    [_, started, updated, decided, used, ended] = map(json.loads, lines)
    places = [started["links"], started["attributes"], updated["attributes"], decided["options"], decided["confidence"]]
    assert [type(note) for note in [*places, used["input_tokens"], used["cost"]]] == [str] * 7
    assert len(ended["error"]["leaves"]) == 100


def recorded_by_another_process(directory: Path | str) -> None:
    program = "import agent_run_id as ari\nwith ari.start_run('another'): pass"
    environment = {**child_env(), "AGENT_RUN_DIR": str(directory)}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True)


def test_the_first_line_of_every_journal_is_valid(registry: RunRegistry) -> None:
    """Also that of a process that joined a run."""
    with start_run("outer") as run:
        recorded_by_another_process(registry.directory)
    first = [path.read_bytes().splitlines()[0] for path in journals_of(registry.directory)]
    assert {json.loads(line).get("joined") for line in first} == {None, run.id.token}
    for line in first:
        assert problems(json.loads(line)) == []
        assert survives(line)


def test_every_line_of_a_bundle_is_valid(tmp_path: Path) -> None:
    recorded_by_another_process(tmp_path)
    recorded_by_another_process(tmp_path)
    with eager():
        keep(tmp_path)
    [bundle] = bundles(tmp_path)
    lines = bundle.read_bytes().splitlines()
    assert [json.loads(line)["type"] for line in lines] == [
        "bundle.started",
        *["process.started", "run.started", "run.ended"] * 2,
    ]
    for line in lines:
        assert problems(json.loads(line)) == []
        assert survives(line)


# What a later version may record --------------------------------------------------------------------------------------

KNOWN = {name for definition in event_schema()["$defs"].values() for name in definition["properties"]}
names = st.text(min_size=1).filter(lambda name: name not in KNOWN)


@given(st.sampled_from(sorted(GOOD)), st.dictionaries(names, json_values, min_size=1, max_size=3))
def test_unknown_fields_are_valid_and_survive_a_round_trip(name: str, later: dict[str, Any]) -> None:
    line = {**GOOD[name], **later}
    if "error" in line:
        line["error"] = {**line["error"], **later}
    assert is_valid(line)
    assert survives(json.dumps(line).encode())


@given(st.text().filter(lambda name: name not in MODELS), run_ids(), st.dictionaries(names, json_values, max_size=3))
def test_unknown_types_are_valid_and_survive_a_round_trip(name: str, run_id: RunId, fields: dict[str, Any]) -> None:
    line = {"v": 1, "type": name, "run": run_id.token, "time": 1, "seq": 1, **fields}
    assert is_valid(line)
    assert survives(json.dumps(line).encode())
    assert type(parse(json.dumps(line))) is OtherEvent


def test_an_unknown_type_must_still_say_of_which_run_it_is() -> None:
    """Or earlier readers could not keep it."""
    line = {"v": 1, "type": "run.of_the_future", "time": 1, "seq": 1}
    assert problems(line) == ["$: 'run' is a required property"]
    with pytest.raises(ValidationError, match="run"):
        parse(json.dumps(line))


# What is wrong --------------------------------------------------------------------------------------------------------


def model_takes(line: dict[str, Any]) -> bool:
    try:
        parse(json.dumps(line))
    except ValidationError:
        return False
    return True


odd = st.one_of(
    json_values.filter(lambda value: not isinstance(value, float) or not value.is_integer()),  # 1.0 is an integer, too
    st.sampled_from([None, -1, 0, 1, 2**31, 2**63, "", "succeeded", [], {}, [None], {"message": "m"}, "0" * 32]),
)


@settings(max_examples=400)
@given(st.data())
def test_the_schema_and_the_models_find_the_same_lines_wrong(data: st.DataObject) -> None:
    """Whatever a field is replaced by, or if it is left out."""
    line = dict(GOOD[data.draw(st.sampled_from(sorted(GOOD)))])
    for name in data.draw(st.lists(st.sampled_from(sorted(line)), max_size=2, unique=True)):
        value = data.draw(odd | st.just("left out"))
        if value == "left out":
            del line[name]
        elif not (name == "v" and value is True):  # to Python, True is 1
            line[name] = value
    assert model_takes(line) == is_valid(line), problems(line)


@pytest.mark.parametrize("name", sorted(GOOD))
def test_a_wrong_line_is_told_what_is_wrong_with_it(name: str) -> None:
    line = {**GOOD[name], "time": "noon"}
    assert problems(line)[0] == "$.time: 'noon' is not of type 'integer'"
    with pytest.raises(ValueError, match=r"time\n  Input should be a valid integer"):
        parse(json.dumps(line))


def test_a_line_is_a_value() -> None:
    line = parse(json.dumps(GOOD["run.step"]))
    with pytest.raises(ValidationError, match="frozen"):
        line.v = 1
    assert line == parse(line.model_dump_json(exclude_unset=True))
