"""Exits and forks: recording where most things are gone already."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

from agent_run_id import RunRegistry
from tests.journal_programs.programs import FORKS_WITH_THREADS, Program, run_program

if TYPE_CHECKING:
    from pathlib import Path

LATE = """
import atexit, agent_run_id as ari

class Resource:
    def __init__(self, name):
        self.name = name
    def __del__(self):
        with ari.start_run(self.name, parent=ari.ROOT) as run:
            run.step("closing")

def at_exit():
    with ari.start_run("atexit", parent=ari.ROOT):
        pass

atexit.register(at_exit)
module_level = Resource("module level")
cycle = Resource("cycle"); cycle.itself = cycle
"""

DAEMON = """
import threading, agent_run_id as ari

def daemon():
    with ari.start_run("daemon", parent=ari.ROOT) as run:
        ready.set()
        while True:
            run.step("still here")

ready = threading.Event()
threading.Thread(target=daemon, daemon=True).start()
ready.wait()
"""


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (LATE, {"atexit": "succeeded", "module level": "succeeded", "cycle": "succeeded"}),
        (DAEMON, {"daemon": "lost"}),
    ],
)
def test_what_records_while_the_interpreter_exits_does_so_without_a_sound(
    source: str, expected: dict[str, str], tmp_path: Path
) -> None:
    """Callbacks of `atexit`, finalizers, daemon threads."""
    with Program(source, directory=tmp_path) as program:
        program.finish()
        assert program.complaints() == ""
    with RunRegistry(tmp_path) as registry:
        assert {run.name: run.status for run in registry.find()} == expected


FORKS = """
import os, sys, threading
from agent_run_id import start_run

stop = threading.Event()

def record(number):
    with start_run(f"parent {number}") as run:
        while not stop.is_set():
            run.step("busy")

threads = [threading.Thread(target=record, args=(number,)) for number in range(3)]
for thread in threads:
    thread.start()
with start_run("forker") as forker:
    for number in range(200):
        pid = os.fork()
        if pid == 0:
            with start_run(f"child {number}") as run:
                run.step("here")
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
stop.set()
for thread in threads:
    thread.join()
"""


def test_200_forks_while_threads_record_all_finish_and_record(tmp_path: Path) -> None:
    run_program(FORKS, directory=tmp_path, options=FORKS_WITH_THREADS)
    with RunRegistry(tmp_path) as registry:
        forker = registry.find(name="forker")[0]
        children = registry.children(forker.id)
        assert {run.name for run in children} == {f"child {number}" for number in range(200)}
        assert {run.status for run in children} == {"succeeded"}
        assert len({run.process.id for run in children if run.process}) == 200
        for run in children:
            assert [event.type for event in registry.events(run.id)] == ["run.started", "run.step", "run.ended"]
        assert {run.status for run in registry.find(limit=None)} == {"succeeded"}


def test_a_signal_that_ends_the_program_loses_nothing_that_was_recorded(tmp_path: Path) -> None:
    source = """
import agent_run_id as ari, sys
with ari.start_run("outer") as run:
    run.step("before")
    print("ready", flush=True)
    sys.stdin.read()
"""
    for ending in (signal.SIGTERM, signal.SIGKILL, signal.SIGHUP):
        with Program(source, directory=tmp_path / str(int(ending))) as program:
            assert program.hear() == "ready"
            os.kill(program.process.pid, ending)
            program.process.wait()
            with RunRegistry(tmp_path / str(int(ending))) as registry:
                run = registry.get("@last")
                assert run.status == "lost"
                assert [event.type for event in registry.events(run.id)] == ["run.started", "run.step"]
