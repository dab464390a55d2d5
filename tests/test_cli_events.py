"""``runid events``: everything recorded, a line for each event, for people and for programs."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from agent_run_id import RunId, start_run
from agent_run_id.cli.happenings import said
from agent_run_id.schema import EventRecord
from agent_run_id.testing import capture_runs
from agent_run_id.testing.strategies import json_values
from tests.commands import Screen, answer, is_harmless, runid, runid_on_terminal
from tests.hostile_runs import record_everywhere
from tests.journal_programs.journals import crafted, event
from tests.test_cli_terminal import PAINT, hostile_texts
from tests.test_histories import many

if TYPE_CHECKING:
    from pathlib import Path

    from agent_run_id import RunRegistry


@pytest.fixture
def trip() -> RunId:
    with start_run("plan_trip", kind="agent", user_id="ada") as root:
        root.usage(model="large-1", input_tokens=1554, inclusive=True)
        root.step("searched", hits=3)
        choice = root.decide("plane or train?", options=["plane", "train"], chosen="plane", why="it is far")
        start_run("hold_seat", kind="tool", key="seat-1").end(error=ConnectionError("the line is dead"))
        choice.outcome("a seat is held")
        root.update(output={"seat": "14C"})
        with root.pause("a person has to agree"):
            pass
    return root.id


def test_a_line_tells_when_of_what_type_and_what_it_says(trip: RunId, registry: RunRegistry) -> None:
    done = runid("events", trip.short())
    lines = done.stdout.splitlines()
    times = [f"{event.time.astimezone():%Y-%m-%d %H:%M:%S.%f}"[:-3] for event in registry.events(trip)]
    assert [line[:23] for line in lines] == times
    told = [re.sub(r" in \d.*$", " in …", line[25:]) for line in lines]
    assert told == [
        "started           plan_trip agent user=ada",
        "usage             large-1: 1,554 → ? tokens (runs below included)",
        'step              searched  {"hits": 3}',
        "decision          plane or train? → plane: it is far",
        "decision.outcome  ⇒ a seat is held",
        'updated           {"output": {"seat": "14C"}}',
        "paused            a person has to agree",
        "resumed           after it was paused",
        "ended             ✓ succeeded in …",
    ]


def test_with_those_of_the_runs_below_each_has_its_id(trip: RunId, registry: RunRegistry) -> None:
    child = registry.children(trip)[0].id
    lines = runid("events", "@last", "--below").stdout.splitlines()
    assert {line[25:33] for line in lines} == {trip.short(), child[:8]}
    failed = next(line for line in lines if "✗" in line)
    assert failed[25:].startswith(f"{child[:8]}  ended             ✗ failed in ")
    assert failed.endswith(" · ConnectionError: the line is dead")
    assert len(lines) == 11


def test_only_events_of_the_types_one_wants_are_told(trip: RunId) -> None:
    for below in ((), ("--below",)):
        done = runid("events", "@last", "--type", "step", "--type", "run.usage", *below, "--json")
        assert [json.loads(line)["type"] for line in done.stdout.splitlines()] == ["run.usage", "run.step"]
        none = runid("events", "@last", "--type", "nope", *below)
        assert (none.returncode, none.stdout) == (0, "")
        assert "no event is of type 'nope'" in none.stderr


def test_with_json_each_event_is_an_object_on_its_line(trip: RunId, registry: RunRegistry) -> None:
    for below, found in ((), registry.events(trip)), (("--below",), list(registry.events_below(trip))):
        done = runid("events", trip.value, "--json", *below)
        assert done.stdout.isascii()
        assert [EventRecord.model_validate_json(line) for line in done.stdout.splitlines()] == found
    assert re.search(r'"time": "[0-9T:.-]+Z"', done.stdout)


def test_ten_thousand_runs_are_told_line_by_line(tmp_path: Path) -> None:
    many(tmp_path, 10_000)
    lines = runid("events", "ffffffff", "--below", "--json", "--dir", str(tmp_path)).stdout.splitlines()
    assert len(lines) == 30_001
    assert json.loads(lines[-1])["type"] == "run.ended"
    assert len(runid("events", "ffffffff", "--dir", str(tmp_path)).stdout.splitlines()) == 1


def test_of_a_run_that_is_only_named_it_says_that_nothing_was_recorded(tmp_path: Path) -> None:
    root = RunId.generate()
    crafted(tmp_path, [event(0, "run.started", RunId.generate(root), name="run")])
    done = runid("events", root.value, "--dir", str(tmp_path))
    assert (done.returncode, done.stdout) == (0, "")
    assert "only that others name it" in done.stderr


@pytest.mark.parametrize("arguments", [("@last",), ("ffffffff", "--below")])
def test_of_a_run_that_is_not_there_it_says_so(arguments: tuple[str, ...], tmp_path: Path) -> None:
    done = runid("events", *arguments, "--dir", str(tmp_path / "missing"))
    assert (done.returncode, done.stdout) == (5, "")
    assert done.stderr.count("\n") == 1


@given(hostile_texts)
@settings(max_examples=30)
def test_nothing_recorded_controls_a_terminal_or_begins_a_line(text: str) -> None:
    with capture_runs() as registry:
        record_everywhere(text)
        count = len(list(registry.events_below("@last")))
        plain = answer("events", "@last", "--below")
        assert is_harmless(plain)
        assert len(plain.splitlines()) == count
        assert PAINT.sub("", answer("events", "@last", "--below", FORCE_COLOR="1")) == plain
        shown = answer("events", "@last", "--below", file=Screen(), NO_COLOR="1", COLUMNS="60").splitlines()
        assert all(map(is_harmless, shown))
        assert len(shown) == count
        assert max(map(cell_len, shown)) <= 60
        document = answer("events", "@last", "--below", "--json")
        assert is_harmless(document)
        assert document.isascii()


kinds = st.sampled_from(
    ["started", "queued", "accepted", "paused", "resumed", "updated", "ended", "step", "decision", "decision.outcome",
     "usage", "of_the_future"]
).map(lambda kind: f"run.{kind}")  # fmt: skip
fields = st.sampled_from(
    ["name", "kind", "key", "user_id", "status", "elapsed", "error", "attempt", "after", "reason", "data", "question",
     "chosen", "why", "outcome", "model", "input_tokens", "cost", "currency", "call_id", "inclusive"]
)  # fmt: skip


@given(kinds, st.dictionaries(fields, json_values))
def test_whatever_somebody_wrote_into_an_event_it_is_told(kind: str, data: dict[str, object]) -> None:
    record = EventRecord.model_validate(
        {"type": kind, "run_id": "x", "time": "2026-11-28T03:14:00Z", "process_id": "p", "seq": 1, "data": data}
    )
    assert is_harmless(str(said(record)))


def test_on_a_terminal_a_line_is_cut_where_it_ends_and_another_day_stands_above_its_events(tmp_path: Path) -> None:
    crafted(tmp_path, [event(0, "run.started", RunId.generate(), name="a long name " * 30)])
    for columns in (80, 200):
        day, line = runid_on_terminal(
            columns, "events", "@last", "--dir", str(tmp_path), NO_COLOR="1", TZ="UTC0"
        ).splitlines()
        assert day == "2023-11-14"
        assert line.startswith("22:13:20.000  started           a long name a long name")
        assert cell_len(line) == columns
        assert line.endswith("…")
    assert "a long name " * 30 in runid("events", "@last", "--dir", str(tmp_path), COLUMNS="40").stdout
