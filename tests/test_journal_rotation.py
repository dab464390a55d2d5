"""Rotation: when a process goes on in another file, and that it is not taken for dead meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from agent_run_id import RunRegistry
from agent_run_id.index import folder as index_room
from agent_run_id.reading import state_of
from tests.journal_programs.journals import events_by_process, journals_of
from tests.journal_programs.programs import Program, run_program

if TYPE_CHECKING:
    from pathlib import Path

    from agent_run_id.liveness import State
    from agent_run_id.reading import Header

ROTATES_WHEN_TOLD = """
import sys
import agent_run_id.journal_file as room
from agent_run_id import start_run
room._LOOK_US = 0
run = start_run("first")
room.SEGMENT_BYTES = 0
run.step("the last of its file")
run = start_run("second")
for line in sys.stdin:
    run.step("rotates")
    print("rotated", flush=True)
"""


def test_a_process_whose_first_file_was_removed_is_not_taken_for_dead_when_it_rotates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Retention removes it, and with it the lock that is held for life; the listed one must be locked as well."""
    with Program(ROTATES_WHEN_TOLD, directory=tmp_path) as program:
        program.tell()
        program.hear()
        for path in journals_of(tmp_path)[:-2]:
            path.unlink()
        program.tell()
        program.hear()

        def rotates_first(path: str, header: Header) -> State:
            program.tell()
            program.hear()
            monkeypatch.setattr(index_room, "state_of", state_of)
            return state_of(path, header)

        for path in journals_of(tmp_path)[:-1]:
            path.unlink()
        monkeypatch.setattr(index_room, "state_of", rotates_first)
        with RunRegistry(tmp_path) as registry:
            registry.find()
            states = registry._index.read("SELECT state FROM processes")
            assert [row["state"] for row in states] == ["alive"]
            program.kill()
            registry.find()
            states = registry._index.read("SELECT state FROM processes")
            assert [row["state"] for row in states] == ["dead"]


WRITES = """
import sys
from agent_run_id import accounts, start_run
run = start_run("run")
for number in range(2000):
    run.step("s" * 100)
print(accounts().dropped)
"""


@pytest.mark.parametrize("limit", [100_000, 400_000])
def test_a_file_is_at_most_an_eighth_of_what_is_kept_however_fast_it_is_written(limit: int, tmp_path: Path) -> None:
    """How long it is, is looked at after a sixteenth of that at the latest."""
    assert run_program(WRITES, directory=tmp_path, env={"AGENT_RUN_RETENTION_BYTES": str(limit)}).split() == ["0"]
    sizes = [path.stat().st_size for path in journals_of(tmp_path)]
    assert max(sizes) < limit / 8 * 17 / 16 + 500
    assert sum(sizes) <= limit
    [events] = events_by_process(tmp_path).values()
    assert events[-1]["seq"] == 2001
    assert [event["seq"] for event in events] == list(range(events[0]["seq"], 2002))


def test_a_file_is_written_for_an_eighth_of_the_days_that_are_kept(tmp_path: Path) -> None:
    """Or a process that writes little would keep for years what it wrote first."""
    program = """
import time
import agent_run_id.journal_file as room
from agent_run_id import start_run
clock, day = time.time_ns, 0
time.time_ns = lambda: clock() + day * 86_400 * 10**9
run = start_run("run")
for day in range(20):
    run.step("a day")
    run.step("later")
"""
    run_program(program, directory=tmp_path, env={"AGENT_RUN_RETENTION_DAYS": "40"})
    assert len(journals_of(tmp_path)) == 4
    [events] = events_by_process(tmp_path).values()
    assert [event["seq"] for event in events] == list(range(1, 42))
