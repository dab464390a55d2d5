"""A journal that cannot be written: the program goes on, is warned once, and what is dropped is counted."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

import pytest

from agent_run_id import RunRegistry
from tests.journal_programs.journals import events_by_process, journals_of, read_lines
from tests.journal_programs.programs import IS_ROOT, NOBODY, Program, run_program

# Where nothing can be recorded ----------------------------------------------------------------------------------------

# Run by every test of a place where nothing can be recorded: it tells how often and what it was warned of.
UNRECORDED = """
import ctypes, json, os, sys, warnings
import agent_run_id as ari
from agent_run_id.journal import current_journal
user = int(sys.argv[1])
if user >= 0:
    os.setuid(user)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    with ari.start_run("outer") as outer:
        outer.step("one")
        with ari.start_run("inner") as inner:
            inner.decide("q", options=[1], chosen=1, why="w").outcome("o")
    assert ari.current_run_id() is None
print(json.dumps([current_journal().dropped, [[w.category.__name__, str(w.message)] for w in caught]]))
"""


def warned_once(*args: str, **env: str | None) -> str:
    """The one warning of a program that could not record its seven events."""
    dropped, warned = json.loads(run_program(UNRECORDED, *args, env=env))
    assert dropped == 7
    [[category, message]] = warned
    assert category == "RuntimeWarning"
    return str(message)


def test_without_a_home_directory_it_says_once_what_to_set() -> None:
    message = warned_once("-1", HOME="nowhere", XDG_STATE_HOME=None, AGENT_RUN_DIR=None)
    assert "AGENT_RUN_DIR" in message
    assert not Path("nowhere").exists()


@pytest.mark.skipif(not IS_ROOT, reason="only root can become a user without an entry, as containers do")
def test_a_user_without_a_home_is_told_once_what_to_set() -> None:
    message = warned_once(str(NOBODY), HOME=None, XDG_STATE_HOME=None, AGENT_RUN_DIR=None)
    assert "AGENT_RUN_DIR" in message


@pytest.mark.skipif(not IS_ROOT, reason="only root can make a directory for another user")
def test_a_directory_of_another_user_is_refused(tmp_path: Path) -> None:
    """Whoever owns it could replace what is recorded there."""
    os.chown(tmp_path, NOBODY, -1)
    message = warned_once("-1", AGENT_RUN_DIR=str(tmp_path))
    assert "belongs to another user" in message
    assert "AGENT_RUN_DIR" in message
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_cannot_be_written_is_told_once_with_what_to_set() -> None:
    """A read-only home is what a container has."""
    with tempfile.TemporaryDirectory() as directory:
        if IS_ROOT:
            os.chown(directory, NOBODY, -1)
        Path(directory).chmod(0o500)
        message = warned_once(str(NOBODY) if IS_ROOT else "-1", HOME=directory, XDG_STATE_HOME=None, AGENT_RUN_DIR=None)
        assert "Permission denied" in message
        assert "AGENT_RUN_DIR" in message


def test_where_warnings_are_errors_the_program_goes_on_all_the_same(tmp_path: Path) -> None:
    """The warning is printed instead, once."""
    (tmp_path / "file").touch()
    program = """
import agent_run_id as ari
from agent_run_id.journal import current_journal
for _ in range(3):
    with ari.start_run("run") as run:
        run.step("step")
print(current_journal().dropped)
"""
    with Program(program, directory=tmp_path / "file" / "runs") as running:
        assert running.finish().split() == ["9"]
        assert running.complaints().count("agent_run_id cannot record runs") == 1


# What happens to a directory while it is used -------------------------------------------------------------------------


def test_recording_resumes_where_a_directory_becomes_usable(tmp_path: Path) -> None:
    """A file is in the way of the directory; when it goes, recording begins, at the latest after a second."""
    program = """
import sys, time, warnings
from agent_run_id import start_run
from agent_run_id.journal import current_journal
warnings.simplefilter("ignore")
run = start_run("dropped")
print(current_journal().dropped, flush=True)
sys.stdin.readline()
deadline = time.monotonic() + 30
while current_journal().process_id is None and time.monotonic() < deadline:
    run.step("again")
print(current_journal().dropped)
"""
    (tmp_path / "place").touch()
    with Program(program, directory=tmp_path / "place") as running:
        assert running.hear() == "1"
        (tmp_path / "place").unlink()
        running.tell()
        dropped = int(running.finish())
    [events] = events_by_process(tmp_path / "place").values()
    assert [event["seq"] for event in events] == [dropped + 1]


def test_recording_resumes_in_a_new_file_after_the_directory_was_removed(tmp_path: Path) -> None:
    program = """
import os, shutil, sys, time
from agent_run_id import start_run
from agent_run_id.journal import current_journal
directory = sys.argv[1]
run = start_run("before")
shutil.rmtree(directory)
deadline = time.monotonic() + 30
while not os.path.exists(directory) and time.monotonic() < deadline:
    run.step("again")
for number in range(50):
    run.step(f"after {number}")
start_run("whole").end()
print(current_journal().dropped)
"""
    directory = tmp_path / "runs"
    assert run_program(program, str(directory), directory=directory).split() == ["0"]
    [path] = journals_of(directory)
    header, events = read_lines(path)
    assert header["segment"] == 2
    assert [event["name"] for event in events[:-2]] == [f"after {number}" for number in range(50)]
    with RunRegistry(directory) as registry:
        assert registry.get("@last").status == "succeeded"


def test_what_goes_to_a_journal_that_is_no_more_is_counted(tmp_path: Path) -> None:
    """The directory is gone and cannot be made again: every event from then on is dropped, and counted as such."""
    program = """
import shutil, sys, time, warnings
from agent_run_id import start_run
from agent_run_id.journal import current_journal
warnings.simplefilter("ignore")
directory = sys.argv[1]
run = start_run("before")
shutil.rmtree(directory)
open(directory, "w").close()
deadline = time.monotonic() + 30
while not current_journal().dropped and time.monotonic() < deadline:
    run.step("again")
before = current_journal().dropped
for number in range(100):
    run.step("into nothing")
print(before, current_journal().dropped - before)
"""
    before, dropped = map(int, run_program(program, str(tmp_path / "runs"), directory=tmp_path / "runs").split())
    assert before == 1
    assert dropped == 100


FULL_DISK = """
import json, os, resource, sys, warnings
from agent_run_id import start_run
from agent_run_id.journal import current_journal

close_stderr, spare = sys.argv[1] == "closed", int(sys.argv[2])
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
acknowledged = []

def record(name):
    before = journal.dropped
    run.step(name)
    if journal.dropped == before:
        acknowledged.append(name)

run = start_run("filling")
journal = current_journal()
[path] = [f"{journal.directory}/journal/{name}" for name in os.listdir(f"{journal.directory}/journal")]
with warnings.catch_warnings(record=not close_stderr) as caught:
    warnings.simplefilter("always")
    if close_stderr:
        sys.stderr.close()
    for again in range(3):
        resource.setrlimit(resource.RLIMIT_FSIZE, (os.path.getsize(path) + spare, hard))
        for number in range(5):
            record(f"full {again} {number}")
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        for number in range(5):
            record(f"space {again} {number}")
print(json.dumps([journal.dropped, caught and len(caught), acknowledged]))
"""


@pytest.mark.parametrize("spare", [0, 1, 50, 400])
def test_a_full_disk_costs_what_is_counted_and_nothing_else(spare: int, tmp_path: Path) -> None:
    """Nothing is raised; what was acknowledged is intact; recording resumes, on a line of its own."""
    dropped, warnings, acknowledged = json.loads(run_program(FULL_DISK, "open", str(spare), directory=tmp_path))
    assert dropped + len(acknowledged) == 30
    assert dropped >= 3
    assert {f"space {again} {number}" for again in range(3) for number in range(5)} <= set(acknowledged)
    assert warnings == 1
    with RunRegistry(tmp_path) as registry:
        [run] = registry.find()
        events = registry.events(run.id)
    assert [event.data["name"] for event in events[1:]] == acknowledged
    assert 31 - len(events) == dropped
    [path] = journals_of(tmp_path)
    lines = [line for line in path.read_bytes().splitlines() if line]
    assert sum(_is_json(line) for line in lines) == 1 + len(events)


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def test_a_full_disk_hurts_nobody_whose_standard_error_is_closed(tmp_path: Path) -> None:
    """A daemon has closed it, so even to warn fails."""
    dropped, _, acknowledged = json.loads(run_program(FULL_DISK, "closed", "50", directory=tmp_path))
    assert dropped + len(acknowledged) == 30


def test_a_journal_that_cannot_be_opened_costs_no_descriptor(tmp_path: Path) -> None:
    """At the limit of open files the last one is the program's."""
    program = """
import os, resource, warnings
from agent_run_id.journal import Journal
warnings.simplefilter("ignore")
import ctypes, sys
_ = Journal(f"{sys.argv[1]}/other")
_.append("run.step", "token")
free = os.dup(0)
os.close(free)
resource.setrlimit(resource.RLIMIT_NOFILE, (free + 1, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
journal = Journal(f"{sys.argv[1]}/runs")
journal.append("run.step", "token")
print(journal.dropped, os.dup(0) == free)
"""
    assert run_program(program, str(tmp_path)).split() == ["1", "True"]
    assert list((tmp_path / "runs" / "journal").iterdir()) == []


def test_an_event_that_was_recorded_is_not_counted_as_dropped_when_rotation_fails(tmp_path: Path) -> None:
    """`dropped` is how many sequence numbers a reader misses, and here it misses none."""
    program = """
import os, resource, warnings
import agent_run_id.journal_file as room
from agent_run_id import start_run
from agent_run_id.journal import current_journal

warnings.simplefilter("ignore")
room._LOOK_US = 0
run = start_run("first")
room.SEGMENT_BYTES = 0
free = os.dup(0)
os.close(free)
resource.setrlimit(resource.RLIMIT_NOFILE, (free, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
for number in range(10):
    run.step("no descriptor is left for another journal")
print(current_journal().dropped)
"""
    dropped = int(run_program(program, directory=tmp_path))
    [events] = events_by_process(tmp_path).values()
    assert (len(events), dropped) == (11, 0)
