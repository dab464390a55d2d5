"""What `runid` prints as JSON is what its published schema says, no more and no less, whatever is recorded."""

from __future__ import annotations

import contextlib
import copy
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from agent_run_id import RunId, accept, hand_off, start_run
from agent_run_id.cli.app import COMMANDS
from agent_run_id.cli.shapes import DOCUMENTS, LINES
from agent_run_id.testing import capture_runs
from tests.commands import answer
from tests.event_format.schemas import text_of
from tests.event_format.validation import problems
from tests.hostile_runs import ROOT, everything_is
from tests.journal_programs.journals import T0, crafted, event, started
from tests.json_schema import EARLIER, MADE, closed, json_schema, lost, of_command
from tests.programs import run_program

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Change = Callable[[dict[str, Any]], object]

PUBLISHED: dict[str, Any] = json.loads(MADE.read_text(encoding="utf-8"))
SECOND = 1_000_000


def wrong(command: str, printed: Any) -> list[str]:
    """What of a document is not as it is published; a field that is not described is wrong, too."""
    return problems(printed, closed(of_command(command, PUBLISHED)))


def trip(attempt: int) -> RunId:
    """A run with all that a program can say, and with runs below it that came to every end; the second goes worse."""
    with start_run(
        "plan_trip",
        kind="agent",
        user_id="ada",
        input={"to": "Lisbon"},
        tags=["demo"],
        attributes={"n": 1},
        aliases=[f"TICKET-{attempt}"],
    ) as root:
        root.step("searched", data={"hits": [3, None]})
        choice = root.decide("plane or train?", options=["plane", {"by": "train"}], chosen="plane", why="far")
        choice.outcome("a seat is held")
        root.usage(model="small", input_tokens=1200, output_tokens=30, cost=0.25, currency="USD", call_id="c1")
        root.usage(model="large", input_tokens=5 * attempt)
        with contextlib.suppress(ExceptionGroup), start_run("hold_seat", kind="tool", key="seat"):
            if attempt > 1:
                raise ExceptionGroup("two", [ConnectionError("the line is dead"), ValueError("no")])
        start_run("hold_bed", key="bed", links=[root.id]).end(status="cancelled")
        start_run("ask", key=f"ask-{attempt}").pause("a person has to look")
        start_run("read", key="twice").end(output=["x"])
        start_run("read", key="twice").end(error="a text")
        hand_off("later", 1)
        message = hand_off("job", 2)
        with contextlib.suppress(OSError), accept(message.to_json()):
            raise OSError("full")
        with accept(message.to_json()) as again:  # the next attempt, beside the one that failed
            accept(message.to_json()).end()
            again.update(summary="at last")
    return root.id


class Rich(NamedTuple):
    """A directory with a run in every state, and with journals that are lost."""

    place: str
    one: str
    other: str
    cursor: str

    def arguments(self) -> dict[str, list[str]]:
        """Those with which each command has the most to tell."""
        return {
            **{name: [] for name in ("stats", "where", "doctor", "reindex")},
            "ls": ["--all", "--limit", "99"],
            "find": ["status:failed"],
            "tree": [ROOT.value],
            "show": [self.one],
            "events": [self.other, "--below"],
            "tail": ["-n", "99"],
            "watch": [self.one, "--after", self.cursor],
            "usage": [self.one],
            "diff": [self.one, self.other],
            "alias": [self.one, "TICKET-1", "TICKET-3"],
            "export": [ROOT.value],
            "prune": ["--older-than", "1s", "--dry-run"],
        }


@pytest.fixture(scope="module")
def rich() -> Iterator[Rich]:
    with capture_runs() as registry:
        place = registry.directory
        cursor = registry.watch(timeout=0).cursor
        one, other = trip(1), trip(2)
        everything_is("crafted", Path(place))
        early, unknown = RunId.generate(ROOT), RunId.generate(RunId.generate(ROOT))
        alone = RunId.generate(RunId.generate())
        lines = [
            started(early, time=T0 - 5 * SECOND),
            started(unknown, time=T0 + SECOND),
            started(alone, time=T0 + SECOND),
            event(0, "run.told", alone, until={"later": ["version"]}, time=T0 + 2 * SECOND),
        ]
        crafted(Path(place), lines, name="two", process="e" * 32)
        yield Rich(place, one.value, other.value, cursor)


def printed(place: str, command: str, *arguments: str, status: int = 0) -> list[Any]:
    """What a command prints: its document, or that of each line."""
    flags = [] if command == "export" else ["--json"]
    text = answer(command, *arguments, *flags, "--dir", place, status=status)
    return [json.loads(part) for part in (text.splitlines() if command in LINES else [text])]


# What is published ----------------------------------------------------------------------------------------------------


def test_the_published_schema_is_made_of_the_shapes_as_they_are_now() -> None:
    assert MADE.read_text(encoding="utf-8") == text_of(json_schema()), "run `make json-schema`"


def test_every_command_has_a_shape() -> None:
    assert set(DOCUMENTS) == set(COMMANDS) - {"completion"} == set(PUBLISHED["properties"])
    assert set(DOCUMENTS) > LINES


def test_no_command_loads_the_shapes() -> None:
    program = """
        import importlib, sys
        from agent_run_id.cli.app import COMMANDS
        for room, _ in COMMANDS.values():
            importlib.import_module(f"agent_run_id.cli.{room}")
        print("agent_run_id.cli.shapes" in sys.modules)
    """
    assert run_program(program).strip() == "False"


def test_every_field_is_described() -> None:
    of_usage = {"UsageRecord"}  # whose fields are those of `Run.usage`
    for name, definition in PUBLISHED["$defs"].items():
        fields = definition.get("properties", {})
        assert name in of_usage or not [field for field in fields if not fields[field].get("description")], name


# What is printed ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", DOCUMENTS)
def test_what_a_command_prints_is_as_published_and_nothing_else_is(command: str, rich: Rich) -> None:
    found = printed(rich.place, command, *rich.arguments()[command], status=1 if command == "diff" else 0)
    assert found
    for each in found:
        assert wrong(command, each) == []
    for each in found[:3]:
        assert_every_change_is_refused(command, each)


def assert_every_change_is_refused(command: str, document: Any) -> None:
    first = document[0] if isinstance(document, list) else document
    assert first
    for name in first:
        if name == "cursor" and command == "tail":
            continue  # which is there only with -f
        for change in (without(name), retyped(name), surprised):
            broken = copy.deepcopy(document)
            change(broken[0] if isinstance(broken, list) else broken)
            accepts_anything = first.keys() >= {"input", "output"} and name in ("input", "output")
            assert wrong(command, broken) or (accepts_anything and change is not surprised), name


def without(name: str) -> Change:
    return lambda document: document.pop(name)


def retyped(name: str) -> Change:
    return lambda document: document.update({name: [[{"no": "such"}]]})


def surprised(document: dict[str, Any]) -> None:
    document["surprise"] = 1


def test_the_runs_that_are_checked_are_of_every_kind(rich: Rich) -> None:
    """Else the test above would say little."""
    (listed,) = printed(rich.place, "ls", *rich.arguments()["ls"])
    statuses = {record["status"] for record in listed}
    assert statuses >= {"succeeded", "failed", "lost", "cancelled", "paused", "queued"}
    for name in ("error", "decisions", "usage", "links", "aliases", "segments", "duplicate_of", "retry_of", "process"):
        assert any(record[name] for record in listed), name
    exported = [line for line in printed(rich.place, "export", ROOT.value) if "record" in line]
    assert {line["detached"] for line in exported} == {True, False}
    assert any(line["skew"] for line in exported)
    *followed, end = printed(rich.place, "watch", *rich.arguments()["watch"])
    assert followed[0]["cursor"]
    assert end.keys() == {"record"}


@pytest.mark.parametrize(
    ("command", "arguments", "status"),
    [
        ("ls", ["--status", "queued"], 0), ("usage", [], 0), ("usage", ["--by", "day"], 0),
        ("tail", ["-f", "-n", "3", "--timeout", "0.01"], 124), ("tree", ["@last", "--failed", "--depth", "1"], 0),
        ("tree", [ROOT.value], 0), ("show", [ROOT.value], 0), ("export", ["@last"], 0),
    ],
)  # fmt: skip
def test_what_it_prints_with_other_options_is_as_published(
    command: str, arguments: list[str], status: int, rich: Rich
) -> None:
    for each in printed(rich.place, command, *arguments, status=status):
        assert wrong(command, each) == []


def test_two_runs_that_did_the_same_are_told_as_published(rich: Rich) -> None:
    (found,) = printed(rich.place, "diff", rich.one, rich.one)
    assert found["first"] is None
    assert wrong("diff", found) == []
    (back,) = printed(rich.place, "diff", rich.other, rich.one, status=1)
    assert wrong("diff", back) == []


def test_an_empty_directory_is_told_as_published(tmp_path: Path) -> None:
    for command in ("ls", "tail", "usage", "stats", "where", "prune", "reindex"):
        for each in printed(str(tmp_path / "missing"), command):
            assert wrong(command, each) == []


# Compatibility --------------------------------------------------------------------------------------------------------


def test_no_field_that_was_published_is_gone_or_of_another_type() -> None:
    assert lost(json.loads(EARLIER.read_text(encoding="utf-8")), PUBLISHED) == []


def run_record(schema: dict[str, Any]) -> dict[str, Any]:
    fields: dict[str, Any] = schema["$defs"]["RunRecord"]["properties"]
    return fields


@pytest.mark.parametrize(
    ("change", "path"),
    [
        (lambda s: s["properties"].pop("ls"), "runid.ls?"),
        (lambda s: run_record(s).pop("key"), "runid.ls?[].key"),
        (lambda s: run_record(s).update(depth={"type": "string"}), "runid.ls?[].depth"),
        (lambda s: run_record(s)["key"]["anyOf"].append({"type": "integer"}), "runid.ls?[].key"),
        (lambda s: run_record(s)["status"]["anyOf"][0]["enum"].pop(), "runid.ls?[].status"),
        (lambda s: s["$defs"]["RunRecord"]["required"].remove("depth"), "runid.ls?[].depth"),
        (lambda s: s["$defs"]["ErrorRecord"]["properties"].pop("message"), "error|ErrorRecord.message"),
        (lambda s: s["$defs"]["UsageTotal"]["properties"]["cost"].pop("additionalProperties"), "own|UsageTotal.cost{}"),
    ],
)
def test_a_field_that_is_taken_away_or_changed_is_found(change: Change, path: str) -> None:
    later = copy.deepcopy(PUBLISHED)
    change(later)
    assert any(path in found for found in lost(PUBLISHED, later))


def test_a_field_may_be_added_and_words_may_change() -> None:
    later = copy.deepcopy(PUBLISHED)
    run_record(later)["colour"] = {"type": "string"}
    later["$defs"]["RunRecord"]["required"].append("colour")
    later["properties"]["paint"] = {"$ref": "#/$defs/RunRecord"}
    later["$defs"]["ErrorRecord"]["description"] = "other words"
    assert lost(PUBLISHED, later) == []
