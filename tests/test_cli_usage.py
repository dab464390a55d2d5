"""``runid usage``: what runs used, told to people without guessing, and to programs whole."""

from __future__ import annotations

import json
import re
from datetime import timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from rich.cells import cell_len

from agent_run_id import ROOT, RunId, start_run
from agent_run_id.testing import capture_runs
from tests.commands import Screen, answer, is_harmless, runid, runid_on_terminal
from tests.hostile_runs import record_everywhere
from tests.test_cli_terminal import PAINT, hostile_texts

if TYPE_CHECKING:
    from pathlib import Path

    from agent_run_id import RunRegistry


@pytest.fixture
def trip() -> RunId:
    """An agent with a total that includes its two calls, of which one did not tell everything."""
    with start_run("plan_trip", kind="agent", user_id="ada") as root:
        root.usage(model="large-1", input_tokens=1554, inclusive=True)
        for _ in range(2):
            with start_run("draft", kind="llm") as call:
                call.usage(model="large-1", input_tokens=1204, output_tokens=310, cost=0.0042, call_id="msg_71")
        with start_run("check", kind="llm") as call:
            call.usage(model="small-1", input_tokens=350)
    return root.id


def rows(text: str) -> list[list[str]]:
    return [re.split(r" {2,}", line.strip()) for line in text.splitlines()]


def document(*arguments: str, **more: str) -> dict[str, Any]:
    return dict(json.loads(runid("usage", "--json", *arguments, **more).stdout))


def test_everything_is_told_by_model_with_a_total(trip: RunId) -> None:
    with start_run("other", parent=ROOT) as other:
        other.usage(model="dear", input_tokens=1, output_tokens=1, cost=3.0, currency="EUR")
    assert rows(runid("usage").stdout) == [
        ["MODEL", "RUNS", "CALLS", "INPUT", "OUTPUT", "EUR", "USD"],
        ["dear", "1", "1", "1", "1", "3.0000", "-"],
        ["large-1", "1", "1", "1,204", "310", "-", "0.0042"],
        ["small-1", "1", "1", "350", "?", "?", "?"],
        ["all", "3", "3", "1,555", "311+", "3.0000+", "0.0042+"],
    ]


def test_of_a_run_its_own_and_that_of_its_subtree_are_told_too(trip: RunId) -> None:
    told = runid("usage", trip.short(), "--by", "kind").stdout.splitlines()
    assert told[0].startswith(f"✓ plan_trip [{trip.short()}] agent succeeded in ")
    assert told[1:4] == [
        "  own      nothing reported",
        "  subtree  1,554 → 310+ tokens, 0.0042+ USD in 2 calls",
        "",
    ]
    assert rows("\n".join(told[4:]))[1:] == [
        ["llm", "2", "2", "1,554", "310+", "0.0042+"],
        ["all", "2", "2", "1,554", "310+", "0.0042+"],
    ]


def test_where_nothing_is_known_of_the_cost_it_is_not_told_as_nothing() -> None:
    with start_run("run") as run:
        run.usage(model="m", input_tokens=None)
    assert rows(runid("usage").stdout)[1:] == [["m", "1", "1", "?", "?", "?"], ["all", "1", "1", "?", "?", "?"]]


def test_who_is_told_by_the_nearest_run_above_that_says_so(trip: RunId) -> None:
    with start_run("nobody's", parent=ROOT) as other:
        other.usage(model="m", input_tokens=1)
    told = {row[0]: row[1] for row in rows(runid("usage", "--by", "user").stdout)}
    assert told == {"USER": "RUNS", "ada": "2", "-": "1", "all": "3"}


def test_the_document_has_the_shape_that_the_help_promises(trip: RunId, registry: RunRegistry) -> None:
    found = document()
    assert list(found) == ["run", "own", "subtree", "by", "groups", "runs", "total"]
    assert (found["run"], found["own"], found["subtree"], found["by"], found["runs"]) == (None, None, None, "model", 2)
    assert found["groups"][1]["total"]["output_tokens"] is None
    assert found["groups"][1]["total"]["unknown"]["cost"] == 1
    report = registry.usage(trip)
    found = document(trip.value, "--by", "user")
    assert found["run"] == trip.value
    assert found["own"] == report.own.model_dump()
    assert found["subtree"] == found["total"] == report.subtree.model_dump()
    assert [(group["value"], group["runs"]) for group in found["groups"]] == [("ada", 2)]


def test_only_what_started_in_a_time_is_told(trip: RunId) -> None:
    assert document("--since", "1h")["total"]["calls"] == document("--since", "1970-01-02")["total"]["calls"] == 2
    assert document("--since", "1h", "--until", "30m")["groups"] == []
    none = runid("usage", "--until", "2020-01-01")
    assert (none.returncode, none.stdout) == (0, "")
    assert "no run of that time reported any usage" in none.stderr


def test_the_day_is_that_of_the_clock_on_the_wall(trip: RunId, registry: RunRegistry) -> None:
    started = registry.get(trip).started_at
    assert started is not None
    for zone, hours in (("FAR-14", 14), ("WEST+12", -12)):
        there = started.astimezone(timezone(timedelta(hours=hours)))
        assert document("--by", "day", TZ=zone)["groups"][0]["value"] == f"{there:%Y-%m-%d}"


def test_nothing_reported_is_said_with_how_to_report_it(tmp_path: Path) -> None:
    for place in (tmp_path / "missing", tmp_path):
        done = runid("usage", "--dir", str(place))
        assert (done.returncode, done.stdout) == (0, "")
        assert "run.usage(" in done.stderr
    assert document("--dir", str(tmp_path))["groups"] == []
    assert not (tmp_path / "missing").exists()
    with start_run("silent") as run:
        pass
    done = runid("usage", run.id.short())
    assert "subtree  nothing reported" in done.stdout
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("arguments", "status", "hint"),
    [
        (["--by", "colour"], 2, '"session"'),
        (["--since", "someday"], 2, "type 2h, 90m, 3d or 2w"),
        (["ffffffff"], 5, "no run is known"),
        (["one", "two"], 2, "two"),
    ],
)
def test_what_goes_wrong_is_one_line_and_a_code(arguments: list[str], status: int, hint: str) -> None:
    done = runid("usage", *arguments)
    assert (done.returncode, done.stdout) == (status, "")
    assert hint in done.stderr
    assert done.stderr.count("\n") == 1


@given(hostile_texts)
@settings(max_examples=30)
def test_nothing_recorded_controls_a_terminal_or_makes_a_line_wider_than_it(text: str) -> None:
    with capture_runs():
        record_everywhere(text)
        for by in ("model", "user", "name"):
            for more in ((), ("@last",)):
                plain = answer("usage", *more, "--by", by)
                assert is_harmless(plain)
                assert PAINT.sub("", answer("usage", *more, "--by", by, FORCE_COLOR="1")) == plain
                shown = answer("usage", *more, "--by", by, file=Screen(), NO_COLOR="1", COLUMNS="80")
                assert is_harmless(shown)
        assert json.loads(answer("usage", "--json"))["groups"][0]["value"] == text


def test_on_a_terminal_what_is_told_apart_gives_way_and_no_figure_does() -> None:
    name = "a model whose name is longer than any terminal is wide " * 5
    with start_run("run") as run:
        run.usage(model=name, input_tokens=1_234_567, output_tokens=7, cost=1.5)
    for columns in (80, 200):
        lines = runid_on_terminal(columns, "usage", NO_COLOR="1").splitlines()
        assert [cell_len(line) for line in lines] == [columns] * 3
        assert all(line.endswith("1  1,234,567       7  1.5000") for line in lines[1:])
    assert name in runid("usage", COLUMNS="40").stdout


def test_what_is_written_out_is_counted_as_wide_as_it_is_written() -> None:
    with start_run("run") as run:
        run.usage(model="\x1b[31m" * 30, input_tokens=1, cost=1.5)
    for columns in (80, 200):
        assert {cell_len(line) for line in runid_on_terminal(columns, "usage", NO_COLOR="1").splitlines()} == {columns}
