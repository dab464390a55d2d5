"""`runid watch` and `runid tail`: what goes on is seen as it goes on, and going on later misses nothing."""

from __future__ import annotations

import json
import re
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from agent_run_id import ROOT, RunRegistry, start_run
from agent_run_id.latest import latest_events
from tests.commands import answer, runid, runid_on_terminal
from tests.journal_programs.houses import eager, keep
from tests.journal_programs.journals import crafted, event
from tests.journal_programs.programs import Program
from tests.terminals import Started

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

COMMAND = (sys.executable, "-m", "agent_run_id.cli")

WORKER = """
import os, sys
from agent_run_id import start_run
run = start_run("job", kind="agent")
print(run.id.value, flush=True)
for line in sys.stdin:
    match line.split():
        case ["child"]:
            start_run("child", parent=run.id).end()
        case ["end", status]:
            run.end(status=status)
        case ["die"]:
            os._exit(1)
        case ["pause"]:
            run.pause("a person has to look")
    print("done", flush=True)
"""


def tell(worker: Program, line: str) -> None:
    worker.tell(line)
    worker.hear()


def cursor_in(errors: str) -> str:
    found = re.search(r"to go on from here: --after (\S+)", errors)
    assert found is not None, errors
    return found[1]


def without_cursor(events: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """A cursor also tells how late it was."""
    return [{name: value for name, value in event.items() if name != "cursor"} for event in events]


# Watch ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("status", "code"), [("succeeded", 0), ("failed", 1), ("cancelled", 4)])
def test_it_ends_with_what_became_of_the_run(status: str, code: int, registry: RunRegistry) -> None:
    with Program(WORKER, directory=registry.directory) as worker:
        run_id = worker.hear()
        with Started(*COMMAND, "watch", run_id[:8], "--exit-status") as watching:
            assert watching.hear().startswith("▶ job [")
            tell(worker, "child")
            heard = [watching.hear(), watching.hear()]
            assert re.search("started +child task$", heard[0])
            assert re.search("ended +✓ succeeded in ", heard[1])
            tell(worker, f"end {status}")
            assert status in watching.hear()
            assert watching.hear().startswith(("✓ job [", "✗ job [", "⊘ job ["))
            assert watching.ending() == code
    assert runid("watch", run_id, "--exit-status").returncode == code
    assert runid("watch", run_id).returncode == 0


def test_a_run_whose_process_dies_is_lost_and_one_that_waits_is_waited_for(registry: RunRegistry) -> None:
    with Program(WORKER, directory=registry.directory) as worker:
        run_id = worker.hear()
        tell(worker, "pause")
        waiting = runid("watch", run_id, "--exit-status", "--timeout", "0.3")
        assert waiting.returncode == 124
        cursor_in(waiting.stderr)
    with Program(WORKER, directory=registry.directory) as worker:
        run_id = worker.hear()
        with Started(*COMMAND, "watch", run_id, "--exit-status") as watching:
            assert watching.hear().startswith("▶ job [")
            worker.tell("die")
            assert watching.hear().startswith("☠ job [")
            assert watching.ending() == 3


def test_what_is_not_found_ends_with_5() -> None:
    done = runid("watch", "12345678", "--exit-status")
    assert (done.returncode, done.stdout) == (5, "")


def test_as_json_it_is_events_with_cursors_and_then_the_record(registry: RunRegistry) -> None:
    with Program(WORKER, directory=registry.directory) as worker:
        run_id = worker.hear()
        first = runid("watch", run_id, "--json", "--timeout", "0")
        assert first.returncode == 124
        tell(worker, "child")
        tell(worker, "end succeeded")
    lines = [
        json.loads(line)
        for line in runid("watch", run_id, "--json", "--after", cursor_in(first.stderr)).stdout.splitlines()
    ]
    assert [line.get("type") for line in lines] == ["run.started", "run.ended", "run.ended", None]
    assert lines[-1]["record"]["id"] == run_id
    again = runid("watch", run_id, "--json", "--after", lines[0]["cursor"]).stdout.splitlines()
    assert without_cursor([json.loads(line) for line in again][:-1]) == without_cursor(lines[1:-1])
    refused = runid("watch", run_id, "--after", "nonsense")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "a cursor is what" in refused.stderr


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_on_a_terminal_the_tree_is_drawn_in_place_and_fits(columns: int, registry: RunRegistry) -> None:
    def act(worker: Program) -> None:
        for _ in range(3):
            time.sleep(0.6)
            tell(worker, "child")
        tell(worker, "end failed")

    with Program(WORKER, directory=registry.directory) as worker:
        run_id = worker.hear()
        thread = threading.Thread(target=act, args=[worker])
        thread.start()
        written = runid_on_terminal(columns, "watch", run_id, "--exit-status", NO_COLOR="1")
        thread.join()
    frames = re.split(r"\x1b\[\d+A\r\x1b\[J", written)
    heights = [int(height) for height in re.findall(r"\x1b\[(\d+)A", written)]
    assert len(frames) > 2
    assert [len(frame.splitlines()) for frame in frames[:-1]] == heights
    assert all(len(line) <= columns for frame in frames for line in frame.splitlines())
    assert "▶ job" in frames[0]
    last = frames[-1].splitlines()
    assert last[0].startswith("✗ job [")
    assert ["✓ child" in line for line in last[1:]] == [True] * 3


@pytest.mark.open_runs
def test_a_tree_higher_than_the_terminal_is_cut_to_what_is_under_way(registry: RunRegistry) -> None:
    with start_run("top", parent=ROOT) as top:
        for number in range(9):
            with start_run(chr(97 + number)):
                for inner in range(9):
                    start_run(f"done {chr(97 + inner)}").end()
        start_run("busy")
        top.end()
        lines = runid_on_terminal(80, "watch", top.id.value, NO_COLOR="1", LINES="20").splitlines()
    assert len(lines) <= 49
    assert any("busy" in line for line in lines)


# Tail -----------------------------------------------------------------------------------------------------------------


def test_tail_tells_the_latest_events_and_goes_on_until_somebody_stops_it(registry: RunRegistry) -> None:
    with start_run("first", parent=ROOT, input="hello") as run:
        run.step("asked", n=1)
        run.decide("which?", options=["a", "b"], chosen="a", why="it is first")
        run.usage(model="small", input_tokens=10, output_tokens=2)
    lines = [re.split(" {2,}", line)[1:] for line in answer("tail").splitlines()]
    assert [line[0] for line in lines] == [run.id.short()] * 5
    assert [line[1:] for line in lines[:-1]] == [
        ["started", "first task"],
        ["step", "asked", '{"n": 1}'],
        ["decision", "which? → a: it is first"],
        ["usage", "small: 10 → 2 tokens"],
    ]
    assert re.fullmatch("✓ succeeded in .*s", lines[-1][2])
    assert len(answer("tail", "-n", "2").splitlines()) == 2
    assert answer("tail", "-n", "0") == ""
    with Started(*COMMAND, "tail", "-f", "-n", "1") as tailing:
        assert "✓ succeeded in" in tailing.hear()
        start_run("second", parent=ROOT).end()
        assert "second task" in tailing.hear()
        assert "✓ succeeded in" in tailing.hear()
        tailing.process.send_signal(signal.SIGINT)
        assert tailing.ending() == 130


def test_a_tail_that_was_stopped_goes_on_behind_its_cursor(registry: RunRegistry) -> None:
    stopped = runid("tail", "-f", "-n", "0", "--timeout", "0")
    assert (stopped.returncode, stopped.stdout) == (124, "")
    with start_run("meanwhile", parent=ROOT):
        start_run("below").end()
    missed = runid("tail", "--after", cursor_in(stopped.stderr), "--json")
    events = [json.loads(line) for line in missed.stdout.splitlines()]
    assert [event["type"] for event in events] == ["run.started", "run.started", "run.ended", "run.ended"]
    rest = runid("tail", "--after", events[1]["cursor"], "--type", "run.ended", "--json").stdout.splitlines()
    assert without_cursor(json.loads(line) for line in rest) == without_cursor(events[2:])
    assert runid("tail", "--after", "x").returncode == 2
    many = runid("tail", "-n", "9" * 30)
    assert (many.returncode, many.stdout) == (2, "")
    assert "1000000" in many.stderr


def test_of_one_run_it_is_what_happened_to_it_and_below(registry: RunRegistry) -> None:
    with start_run("a", parent=ROOT) as run, start_run("b"):
        start_run("other", parent=ROOT).end()
    told = [json.loads(line)["type"] for line in answer("tail", run.id.value, "--json").splitlines()]
    assert told == ["run.started", "run.started", "run.ended", "run.ended"]
    assert len(answer("tail", run.id.value, "--type", "run.ended", "-n", "1").splitlines()) == 1
    assert len(answer("tail", "--type", "run.started", "-n", "5").splitlines()) == 3


def test_the_latest_of_many_files_are_those_whose_times_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever file they are in: a journal, a bundle, or both, and however long the file is."""
    run_ids = [start_run(str(number), parent=ROOT) for number in range(3)]
    for run in run_ids:
        run.end()
    monkeypatch.setattr("agent_run_id.latest._BLOCK", 7)
    now = time.time_ns() // 1000
    told: list[tuple[int, str, int]] = []
    for process in range(1, 6):
        events = [
            event(seq, "run.step", run_ids[seq % 3].id, time=now + seq * (100 - 7 * process), name="x" * seq)
            for seq in range(1, 8)
        ]
        told += [(line["time"], f"{process:032x}", line["seq"]) for line in events]
        crafted(tmp_path, events, name=f"{process}", process=f"{process:032x}")
    told.sort()
    for folded in (False, True):
        if folded:
            with eager():
                keep(tmp_path)
        for count in (0, 1, 5, 34, 100):
            found = latest_events(str(tmp_path), count)
            keys = [(round(e.time.timestamp() * 1e6), e.process_id, e.seq) for e in found]
            assert keys == told[len(told) - min(count, len(told)) :]
    assert latest_events(str(tmp_path / "nowhere"), 3) == []


def test_nothing_recorded_is_nothing_to_tell() -> None:
    assert answer("tail") == ""
