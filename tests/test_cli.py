"""The command `runid`: what it tells, in words and as JSON."""

from __future__ import annotations

import contextlib
import json
import re
import sys
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_run_id import ROOT, RunId, configure, start_run
from agent_run_id.cli.documents import encoded
from agent_run_id.rendering import Line, duration
from tests.commands import answer, runid
from tests.programs import run_program

if TYPE_CHECKING:
    from agent_run_id import RunRegistry

# What it tells -----------------------------------------------------------------------------------------------------


@pytest.fixture
def trip() -> RunId:
    """A small tree: an agent that fails once, decides, and succeeds."""
    with start_run("plan_trip", kind="agent", user_id="ada", input="Lisbon", tags=["demo"]) as root:
        root.step("searched", hits=3)
        choice = root.decide("plane or train?", options=["plane", "train"], chosen="plane", why="it is far")
        with contextlib.suppress(ConnectionError), start_run("hold_seat", kind="tool", key="seat-1") as seat:
            seat.usage(model="small", input_tokens=1200, output_tokens=30, cost=0.25)
            raise ConnectionError("the line is dead")
        choice.outcome("a seat is held")
        root.update(output={"seat": "14C"})
    return root.id


def test_ls_lists_roots_latest_first_and_all_lists_every_run(trip: RunId) -> None:
    with start_run("later", parent=ROOT):
        pass
    names = [line.split()[-1] for line in runid("ls").stdout.splitlines()]
    assert names == ["later", "plan_trip"]
    names = [line.split()[-1] for line in runid("ls", "--all").stdout.splitlines()]
    assert names == ["later", "hold_seat", "plan_trip"]
    assert len(runid("ls", "--all", "--limit", "2").stdout.splitlines()) == 2
    assert len(runid("ls", "--all", "--limit", "9" * 30).stdout.splitlines()) == 3


def test_ls_chooses_by_status_and_kind(trip: RunId) -> None:
    assert "hold_seat" in runid("ls", "--all", "--status", "failed").stdout
    assert "plan_trip" not in runid("ls", "--all", "--status", "failed").stdout
    assert "plan_trip" in runid("ls", "--kind", "agent").stdout
    none = runid("ls", "--status", "failed")
    assert (none.returncode, none.stdout) == (0, "")
    assert "--all" in none.stderr


def test_a_line_of_ls_tells_id_status_start_length_runs_kind_user_and_name(trip: RunId, registry: RunRegistry) -> None:
    record = registry.get(trip)
    assert record.started_at is not None
    assert record.elapsed is not None
    started = f"{record.started_at.astimezone():%Y-%m-%d %H:%M:%S}"
    cells = re.split(r" {2,}", runid("ls").stdout.strip())
    took = duration(record.elapsed)
    assert cells == [trip.short(), "✓ succeeded", started, took, "2 ✗1", "agent", "ada", "plan_trip"]


def test_every_form_of_a_reference_finds_the_same_run(trip: RunId, registry: RunRegistry) -> None:
    child = registry.children(trip)[0]
    expected = runid("show", child.id).stdout
    plain = child.id.replace("-", "")
    for reference in (child.run_id.token, child.id.upper(), child.id[:8], child.id[:15], plain, plain[:12]):
        assert runid("show", reference).stdout == expected
    assert runid("show", "@last").stdout == runid("show", trip.value).stdout


def test_tree_is_what_str_of_the_tree_is(trip: RunId, registry: RunRegistry) -> None:
    assert runid("tree", trip.short()).stdout == f"{registry.tree(trip)}\n"


def test_show_tells_everything_in_order(trip: RunId, registry: RunRegistry) -> None:
    text = runid("show", trip.short()).stdout
    told = [
        "plan_trip",
        f"id         {trip.value}",
        "user       ada",
        "tags       demo",
        "input\n  Lisbon",
        'searched  {"hits": 3}',
        "plane or train? → plane",
        "why:        it is far",
        "options:    plane, train",
        "outcome:    a seat is held",
        "with all runs below: 1,200 → 30 tokens, 0.2500 USD",
        'output\n  {"seat": "14C"}',
        "1 child\n  1 failed\n  ✗ hold_seat",
    ]
    places = [text.find(piece) for piece in told]
    assert -1 not in places
    assert places == sorted(places)
    child = runid("show", registry.children(trip)[0].id).stdout
    assert re.search(r"under\n  ✓ plan_trip \[", child)
    assert "key        seat-1" in child
    assert "small: 1,200 → 30 tokens, 0.2500 USD" in child
    assert "error\n  Traceback (most recent call last):" in child
    assert "ConnectionError: the line is dead" in child


def test_json_documents_have_the_shapes_that_their_help_promises(trip: RunId, registry: RunRegistry) -> None:
    (record,) = json.loads(runid("ls", "--json").stdout)
    assert record["id"] == trip.value
    started = datetime.fromisoformat(record["started_at"])
    assert record["started_at"].endswith("Z")
    assert started == registry.get(trip).started_at
    assert timedelta(seconds=record["elapsed"]) == registry.get(trip).elapsed
    nested = json.loads(runid("tree", "@last", "--json").stdout)
    assert (nested["id"], nested["detached"]) == (trip.value, False)
    assert nested["total_usage"]["input_tokens"] == 1200
    assert [(child["name"], child["children"]) for child in nested["children"]] == [("hold_seat", [])]
    shown = json.loads(runid("show", nested["children"][0]["id"], "--json").stdout)
    assert list(shown) == ["record", "ancestors", "children", "events"]
    assert [above["id"] for above in shown["ancestors"]] == [trip.value]
    assert shown["events"][0]["type"] == "run.started"
    assert json.loads(runid("where", "--json").stdout)["runs"] == 2


def test_times_are_local_for_people_and_utc_in_json(registry: RunRegistry) -> None:
    with start_run("elsewhere") as run:
        pass
    started = registry.get(run.id).started_at
    assert started is not None
    there = started.astimezone(timezone(timedelta(hours=5, minutes=30)))
    assert f"{there:%Y-%m-%d %H:%M:%S}" in runid("ls", TZ="IST-5:30").stdout
    assert f"{there:%Y-%m-%d %H:%M:%S.%f} +0530" in runid("show", "@last", TZ="IST-5:30").stdout
    (record,) = json.loads(runid("ls", "--json", TZ="IST-5:30").stdout)
    assert record["started_at"] == f"{started:%Y-%m-%dT%H:%M:%S.%f}Z"


def test_an_empty_answer_is_still_one_document() -> None:
    assert json.loads(runid("ls", "--json").stdout) == []


def test_a_number_that_json_has_not_is_a_text() -> None:
    assert json.loads(encoded({"a": [float("nan"), float("-inf")]})) == {"a": ["NaN", "-Infinity"]}


@pytest.mark.open_runs
def test_a_tree_deeper_than_the_stack_is_drawn_and_nested(registry: RunRegistry) -> None:
    depth, run_id = sys.getrecursionlimit() + 100, RunId.generate()
    for level in range(depth):
        registry.start(run_id, name=f"level {level}")
        run_id = RunId.generate(run_id)
    assert len(answer("tree", "@last").splitlines()) == depth
    document = answer("tree", "@last", "--json")
    assert document.count('"children": [') == depth
    assert document.endswith("]}" * depth + "\n")


def test_a_run_of_a_living_process_is_running_and_of_a_dead_one_lost(registry: RunRegistry) -> None:
    dead = run_program(
        """
        import os
        import agent_run_id as ari
        print(ari.start_run("abandoned").id, flush=True)
        os._exit(0)
        """
    ).strip()
    living = start_run("busy")
    lost = registry.get(dead)
    assert lost.last_event_at is not None
    heard = f"{lost.last_event_at.astimezone():%H:%M:%S}"
    assert f"☠ abandoned [{dead[:8]}] lost, last heard of {heard}, " in runid("tree", dead).stdout
    assert re.search(r"▶ busy \[\w{8}\] running for \d", runid("show", living.id.value).stdout)
    listed = runid("ls").stdout
    assert re.search(rf"{dead[:8]}  ☠ lost .* until {heard} .*abandoned", listed)
    assert re.search(r"▶ running .* (µs|ms|s)  .*busy", listed)
    living.end()


@given(st.timedeltas(min_value=timedelta(-5), max_value=timedelta(days=5000)))
def test_a_duration_is_told_in_the_unit_that_suits_it(elapsed: timedelta) -> None:
    text = duration(elapsed)
    found = re.fullmatch(r"(\d+) (µs|ms)|(\d+\.\d) s|(\d+) m (\d\d) s|(\d+) h (\d\d) m|\d+ d (\d\d) h", text)
    assert found is not None
    small, _, seconds, minutes, rest, hours, rest_of_hour, rest_of_day = found.groups()
    assert int(small or 0) < 1000
    assert float(seconds or 0) < 60
    assert all(int(figure or 0) < 60 for figure in (minutes, rest, rest_of_hour))
    assert int(hours or 0) < 48
    assert int(rest_of_day or 0) < 24


def test_a_line_keeps_its_parts_and_says_them_in_order() -> None:
    line = Line("a\n", ("b", "name")) + Line("c")
    assert line.parts == (("a\\x0a", "plain"), ("b", "name"), ("c", "plain"))
    assert str(line) == "a\\x0abc"


def test_a_run_that_another_clock_saw_start_in_the_future_has_no_negative_age() -> None:
    assert duration(datetime(2020, 1, 1, tzinfo=UTC) - datetime(2021, 1, 1, tzinfo=UTC)) == "0 µs"


# Where -------------------------------------------------------------------------------------------------------------


def where(*arguments: str, **more: str) -> dict[str, Any]:
    return dict(json.loads(runid("where", "--json", *arguments, **more).stdout))


def test_where_names_the_directory_and_the_setting_that_chose_it(tmp_path: Path, registry: RunRegistry) -> None:
    start_run("one").end()
    told = where()
    assert (told["directory"], told["setting"]) == (registry.directory, "AGENT_RUN_DIR")
    assert (told["exists"], told["journals"], told["runs"]) == (True, 1, 1)
    assert Path(told["index"]).parent == Path(registry.directory)
    told = where("--dir", str(tmp_path))
    assert (told["directory"], told["setting"], told["runs"]) == (str(tmp_path), "--dir", 0)
    told = where(AGENT_RUN_DIR="", XDG_STATE_HOME=str(tmp_path), HOME=str(tmp_path))
    assert told["setting"] == "default"
    assert told["exists"] is False
    told = where(AGENT_RUN_DIR="off")
    assert (told["directory"], told["setting"]) == (None, "AGENT_RUN_DIR")
    configure(directory=registry.directory)
    assert json.loads(answer("where", "--json"))["setting"] == "configure"


def test_where_says_it_in_words_too(registry: RunRegistry) -> None:
    text = runid("where").stdout
    assert f"directory  {registry.directory}\n" in text
    assert "AGENT_RUN_DIR says so" in text
    assert "recording is off" in runid("where", AGENT_RUN_DIR="off").stdout
