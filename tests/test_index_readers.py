"""Readers of an index: they race, fork and share it among threads, and each finds every run."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from agent_run_id import RunRegistry
from agent_run_id.index import Index
from agent_run_id.index import folder as folder_room
from agent_run_id.reading import state_of
from tests.journal_programs.indexes import some_runs, started
from tests.journal_programs.journals import write_journal
from tests.journal_programs.programs import FORKS_WITH_THREADS, Program, run_program

if TYPE_CHECKING:
    from agent_run_id.liveness import State
    from agent_run_id.reading import Header

# Many readers ---------------------------------------------------------------------------------------------------------

WRITER = """
import sys
from agent_run_id import start_run
run = start_run("written")
print(run.id.value, flush=True)
for number in range(1500):
    run.step(str(number))
print("written", flush=True)
sys.stdin.readline()
"""

READER = """
import sys
from agent_run_id import RunRegistry
directory, again = sys.argv[1:]
print("ready", flush=True)
sys.stdin.readline()
for number in range(8):
    with RunRegistry(directory) as registry:
        for _ in range(3):
            [record] = registry.find()
            events = registry.events(record.id)
            assert [event.seq for event in events] == list(range(1, len(events) + 1))
            registry.tree(record.id)
print("read", flush=True)
"""


def test_readers_that_race_apply_every_event_once(tmp_path: Path) -> None:
    """While it is written, and from an index that none of them finds made; and nothing is ever locked."""
    with contextlib.ExitStack() as stack:
        writer = stack.enter_context(Program(WRITER, directory=tmp_path))
        readers = [stack.enter_context(Program(READER, str(tmp_path), "")) for _ in range(3)]
        run = writer.hear()
        for reader in readers:
            reader.hear()
        for reader in readers:
            reader.tell()
        for reader in readers:
            assert reader.hear() == "read"
            reader.finish()
        assert writer.hear() == "written"
        with RunRegistry(tmp_path) as registry:
            assert [found.seq for found in registry.events(run)] == list(range(1, 1502))


def test_an_index_that_disappears_while_it_is_used_is_made_again(tmp_path: Path) -> None:
    """It may be deleted at any time, by anybody."""
    with contextlib.ExitStack() as stack:
        writer = stack.enter_context(Program(WRITER, directory=tmp_path))
        readers = [stack.enter_context(Program(READER, str(tmp_path), "")) for _ in range(2)]
        run = writer.hear()
        for reader in readers:
            reader.hear()
            reader.tell()
        for _ in range(20):
            for path in tmp_path.glob("index*"):
                path.unlink(missing_ok=True)
            with RunRegistry(tmp_path) as registry:
                assert registry.get(run).status == "running"
        for reader in readers:
            assert reader.hear() == "read"
            reader.finish()
        assert writer.hear() == "written"
        with RunRegistry(tmp_path) as registry:
            assert [found.seq for found in registry.events(run)] == list(range(1, 1502))


def test_a_journal_that_another_process_removes_meanwhile_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Retention does, at any moment."""
    some_runs(tmp_path, 2)
    gone = write_journal(tmp_path, [started(name="gone")], name="zzz", process="b" * 32)

    def removed_first(path: str, header: Header) -> State:
        gone.unlink(missing_ok=True)
        return state_of(path, header)

    monkeypatch.setattr(folder_room, "state_of", removed_first)
    with RunRegistry(tmp_path) as registry:
        assert len(registry.find()) == 2


# Threads and forks ----------------------------------------------------------------------------------------------------


def test_a_child_that_is_forked_while_a_thread_reads_can_read(tmp_path: Path) -> None:
    """What the thread holds, it holds in the parent alone: in the child nobody would let go of it."""
    program = """
import fcntl, os, signal, sys, threading
from agent_run_id import RunRegistry
directory = sys.argv[1]
registry = RunRegistry(directory)
waiting, flock = threading.Event(), fcntl.flock
def told(fd, operation):
    if threading.current_thread() is not threading.main_thread():
        waiting.set()
    return flock(fd, operation)
fcntl.flock = told
with open(f"{registry._index.path}.lock", "a") as lock:
    flock(lock, fcntl.LOCK_EX)
    thread = threading.Thread(target=registry.find)
    thread.start()
    waiting.wait()  # from here on it waits to open the index
    pid = os.fork()
    if pid == 0:
        signal.alarm(60)
        lock.close()
        print(len(registry.find()), flush=True)
        os._exit(0)
thread.join()
code = os.waitpid(pid, 0)[1]
print(code, len(registry.find()))
"""
    some_runs(tmp_path, 5)
    with RunRegistry(tmp_path) as registry:
        registry.find()
    assert run_program(program, str(tmp_path), options=FORKS_WITH_THREADS).split() == ["5", "0", "5"]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="looks at the descriptors in /proc")
def test_a_forked_child_leaves_the_connection_of_its_parent_alone(tmp_path: Path) -> None:
    """Even to close it is a use; and what is not closed is not complained of."""
    program = """
import gc, os, sys
from agent_run_id import RunRegistry
def descriptors():
    found = [os.path.join("/proc/self/fd", name) for name in os.listdir("/proc/self/fd")]
    return len([path for path in found if os.path.islink(path) and ".sqlite3" in os.readlink(path)])
registry = RunRegistry(sys.argv[1])
registry.find()
inherited = descriptors()
if os.fork() == 0:
    print(len(registry.find()))
    gc.collect()
    print(inherited > 0, descriptors() >= inherited + 2)  # and those of the child, which share one
    registry.close()
    gc.collect()
    print(descriptors() >= inherited, flush=True)
    os._exit(0)
os.wait()
print(len(registry.find()))
"""
    some_runs(tmp_path, 5)
    with Program(program, str(tmp_path)) as running:
        assert running.finish().split() == ["5", "True", "True", "True", "5"]
        assert "unclosed database" not in running.complaints()


def test_an_index_is_used_by_many_threads_at_once(tmp_path: Path) -> None:
    program = """
import sys, threading
from agent_run_id import RunRegistry, start_run
with RunRegistry() as registry:
    found, problems = [], []
    def work(number):
        try:
            for _ in range(10):
                with start_run(str(number)) as run:
                    assert registry.get(run.id).status == "running"
                found.append(registry.get(run.id).status)
        except BaseException as problem:
            problems.append(repr(problem))
    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(problems, found.count("succeeded"), len(registry.find(limit=None)))
"""
    assert run_program(program, directory=tmp_path).split() == ["[]", "80", "80"]


def test_an_index_that_was_closed_opens_again(tmp_path: Path) -> None:
    some_runs(tmp_path, 2)
    index = Index(str(tmp_path))
    for _ in range(2):
        index.update()
        assert index.read("SELECT count(*) AS n FROM runs")[0]["n"] == 2
        index.close()
        index.close()


ROTATING = """
import sys
import agent_run_id.journal_file as room
from agent_run_id import RunRegistry, start_run
room.SEGMENT_BYTES = 2000
touched = []
sys.addaudithook(lambda event, args: touched.append(str(args[0])) if event == "open" else None)
for number in range(40):
    start_run(str(number)).end()
"""


def test_of_its_own_process_a_reader_opens_only_what_has_grown(tmp_path: Path) -> None:
    """Every call to the system lets a thread that computes go first, and a long-lived process leaves many files."""
    program = """
def journals():
    found = [path for path in touched if path.endswith(".jsonl")]
    touched.clear()
    return found
with RunRegistry() as registry:
    registry.find()
    many = len(set(journals())) > 5
    registry.find()
    print(many, journals())
    start_run("more").end()
    journals()
    registry.find()
    print(len(journals()) <= 2, len(registry.find()))
"""
    assert run_program(ROTATING + program, directory=tmp_path).split() == ["True", "[]", "True", "41"]


def test_of_another_process_that_lives_it_looks_at_the_first_file_and_at_the_last_two(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first tells by its lock that the process lives; what lies between is over, and what it says stays known."""
    program = "print('recorded', flush=True); sys.stdin.readline(); start_run('more').end(); print('more', flush=True)"
    looked: list[str] = []
    stat = os.stat

    def counting(path: Any, *args: Any, **given: Any) -> os.stat_result:
        looked.append(Path(path).name if isinstance(path, str) else "")
        return stat(path, *args, **given)

    with Program(f"{ROTATING}\n{program}\nsys.stdin.readline()", directory=tmp_path) as running:
        running.hear()
        names = sorted(path.name for path in (tmp_path / "journal").iterdir())
        with RunRegistry(tmp_path) as registry:
            assert len(registry.find()) == 40
            monkeypatch.setattr("agent_run_id.index.folder.os.stat", counting)
            assert len(registry.find()) == 40
            assert [name for name in looked if name in names] == [names[0], *names[-2:]]
            running.tell()
            running.hear()
            assert len(registry.find()) == 41
            running.kill()
            assert len(registry.find()) == 41
    with RunRegistry(tmp_path) as registry:
        assert len(registry.find()) == 41
