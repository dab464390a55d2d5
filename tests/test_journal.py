"""The journal: one for a process and a directory, whole at every line, and none before anything is recorded."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

import pytest

from agent_run_id import RunRegistry
from agent_run_id.journal import Journal, current_journal, journal_in, recording_in
from tests.journal_programs.journals import events_by_process, journals_of, read_lines, write_journal
from tests.journal_programs.programs import run_program

if TYPE_CHECKING:
    from pathlib import Path

# What a journal looks like --------------------------------------------------------------------------------------------

SIMPLE = """
import os, sys
from agent_run_id import start_run
with start_run("outer"):
    with start_run("inner") as run:
        run.step("step", size=1)
if os.fork() == 0:
    start_run("child")
    os._exit(0)
os.wait()
"""


def test_every_process_has_one_file_which_only_its_user_can_read(tmp_path: Path) -> None:
    directory = tmp_path / "state" / "runs"
    run_program(f"import os; os.umask(0)\n{SIMPLE}", "--api-key", "sk-secret", directory=directory)
    journals = journals_of(directory)
    assert len(journals) == 2
    assert len({read_lines(path)[0]["process"] for path in journals}) == 2
    assert {stat.S_IMODE(path.stat().st_mode) for path in journals} == {0o600}
    assert {stat.S_IMODE(path.stat().st_mode) for path in (directory, directory / "journal")} == {0o700}
    assert sorted((directory / "journal").iterdir()) == journals


def test_the_first_line_describes_the_process_without_its_arguments(tmp_path: Path) -> None:
    run_program(SIMPLE, "--api-key", "sk-secret", directory=tmp_path)
    for path in journals_of(tmp_path):
        assert b"secret" not in path.read_bytes()
        header, _ = read_lines(path)
        assert header["type"] == "process.started"
        assert len(bytes.fromhex(header["process"])) == 16
        assert {"v", "time", "segment", "host", "boot", "pid", "pid_started", "program", "python"} <= header.keys()
        assert header["inode"] == path.stat().st_ino
        assert header["process"] in path.name


def test_every_line_has_the_version_the_type_the_run_the_time_and_the_sequence(tmp_path: Path) -> None:
    run_program(SIMPLE, directory=tmp_path)
    for path in journals_of(tmp_path):
        header, events = read_lines(path)
        assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
        assert all(list(event)[:5] == ["v", "type", "run", "time", "seq"] for event in events)
        assert {event["v"] for event in events} == {header["v"]} == {1}
        assert header["time"] <= min(event["time"] for event in events) + 1_000_000


def test_a_journal_is_complete_and_locked_before_a_reader_can_see_it(tmp_path: Path) -> None:
    """A reader that saw it between its creation and its lock would call the owner dead."""
    program = """
import os
from agent_run_id import RunRegistry, start_run
from agent_run_id.reading import read_header, state_of
rename = os.rename
def looked_at(hidden, path):
    os.rename = rename  # the reader makes an index, and gives it its name
    header = read_header(hidden)
    print(os.path.basename(hidden).startswith("."), state_of(hidden, header), header.segment)
    with RunRegistry() as registry:
        print(registry.find(), registry._index.read("SELECT * FROM processes"))
    rename(hidden, path)
os.rename = looked_at
start_run("first")
"""
    assert run_program(program, directory=tmp_path).splitlines() == ["True alive 1", "[] []"]


def test_a_journal_that_never_got_its_name_is_not_read(tmp_path: Path) -> None:
    path = write_journal(tmp_path, [])
    path.rename(path.with_name(f".{path.name}.new"))
    other = write_journal(tmp_path, [], name="other")
    other.rename(other.with_name(f".{other.name}"))
    with RunRegistry(tmp_path) as registry:
        assert registry.find() == []
        assert registry._index.read("SELECT * FROM processes") == []


def test_an_event_is_in_the_file_when_the_call_returns(tmp_path: Path) -> None:
    journal = Journal(str(tmp_path))
    try:
        assert journal.process_id is None
        for number in range(1, 4):
            journal.append("run.step", "token", f',"n":{number}')
            [path] = journals_of(tmp_path)
            assert len(read_lines(path)[1]) == number
        assert path.name.split("-")[-1].startswith(str(journal.process_id))
    finally:
        journal.close()


def test_without_ctypes_recording_only_is_slower(tmp_path: Path) -> None:
    run_program(f"import sys; sys.modules['ctypes'] = None\n{SIMPLE}", directory=tmp_path)
    assert sorted(map(len, events_by_process(tmp_path).values())) == [1, 5]


# When nothing is recorded ---------------------------------------------------------------------------------------------


def test_nothing_is_made_before_the_first_event(tmp_path: Path) -> None:
    program = """
import os, sys
import agent_run_id as ari
ari.configure(directory=sys.argv[1])
with ari.RunContext(ari.RunId.generate()):
    ari.child_env()
ari.current_run().step("in no run")
with ari.RunRegistry() as registry:
    assert registry.find() == []
print(os.path.exists(sys.argv[1]))
ari.start_run("first")
print(os.path.exists(sys.argv[1]))
"""
    assert run_program(program, str(tmp_path / "runs")).split() == ["False", "True"]


@pytest.mark.parametrize("directory", ["off", None])
def test_off_records_nothing_and_makes_nothing(directory: str | None, tmp_path: Path) -> None:
    """Not even in the default place, where it records when nothing is set."""
    env = {"HOME": str(tmp_path), "XDG_STATE_HOME": None, "XDG_CACHE_HOME": None, "AGENT_RUN_DIR": directory}
    run_program(SIMPLE, env=env)
    found = [path for path in tmp_path.rglob("*.jsonl") if path.is_file()]
    assert len(found) == (0 if directory == "off" else 2)
    assert len(list(tmp_path.iterdir())) == (0 if directory == "off" else 1)


# One journal for a directory ------------------------------------------------------------------------------------------


def test_a_directory_has_one_journal_in_a_process(tmp_path: Path) -> None:
    with recording_in(str(tmp_path)) as journal:
        assert journal_in(str(tmp_path)) is journal is current_journal()


def test_recording_elsewhere_for_a_while_goes_on_afterwards_in_the_very_same_journal(tmp_path: Path) -> None:
    before = current_journal()
    with recording_in(str(tmp_path / "a")) as outer:
        with recording_in(str(tmp_path / "b")) as inner:
            assert current_journal() is inner
        assert current_journal() is outer
        assert not inner.records
        inner.append("run.step", "token")
        assert inner.dropped == 1
    assert current_journal() is before
    assert not (tmp_path / "b").exists()
