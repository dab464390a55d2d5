"""The journal: nothing acknowledged is lost or written twice, and nothing that happens to it hurts the program."""

from __future__ import annotations

import json
import os
import stat
import tempfile
from collections import Counter
from pathlib import Path

import pytest

from agent_run_id import RunRegistry
from agent_run_id.journal import Journal, current_journal, journal_in, recording_in
from tests.journal_programs.journals import events_by_process, journals_of, read_lines, write_journal
from tests.journal_programs.programs import FORKS_WITH_THREADS, Program, run_program

IS_ROOT = os.geteuid() == 0
NOBODY = 54321
"""A user id that no machine has."""


def names_by_process(directory: Path) -> dict[str, list[str]]:
    return {
        process: [event.get("name", "") for event in events] for process, events in events_by_process(directory).items()
    }


# Fork, threads and signal handlers ------------------------------------------------------------------------------------

AT_ONCE = """
import itertools, os, signal, sys, threading
from agent_run_id import start_run
from agent_run_id.journal import current_journal

FORKS, FROM_THREADS = 20, 10
sys.setswitchinterval(0.0005)
numbers, acknowledged = itertools.count(), []
stop = threading.Event()
run = start_run("first")

def record():
    name = f"{os.getpid()}:{next(numbers)}"
    run.step(name)
    acknowledged.append(name)

def report():
    journal = current_journal()
    line = f"{journal.process_id} {os.getpid()} {len(acknowledged)} {journal.dropped}\\n"
    os.write(1, line.encode())  # one write: lines of several processes do not mix

def child():
    acknowledged.clear()
    signal.alarm(30)
    signal.setitimer(signal.ITIMER_PROF, 0.001, 0.001)
    threads = [threading.Thread(target=lambda: [record() for _ in range(20)]) for _ in range(2)]
    for thread in threads:
        thread.start()
    for _ in range(20):
        record()
    for thread in threads:
        thread.join()
    signal.setitimer(signal.ITIMER_PROF, 0)
    report()
    os._exit(0)

def fork(times):
    for _ in range(times):
        pid = os.fork()
        if pid == 0:
            child()
        assert os.waitpid(pid, 0)[1] == 0

def keep_recording():
    while not stop.is_set():
        record()

signal.signal(signal.SIGPROF, lambda number, frame: record())
signal.setitimer(signal.ITIMER_PROF, 0.001, 0.001)
threads = [threading.Thread(target=keep_recording) for _ in range(2)]
forker = threading.Thread(target=fork, args=(FROM_THREADS,))
for thread in [*threads, forker]:
    thread.start()
fork(FORKS)
forker.join()
stop.set()
for thread in threads:
    thread.join()
signal.setitimer(signal.ITIMER_PROF, 0)
report()
"""


def test_forks_threads_and_signal_handlers_at_once_lose_and_duplicate_nothing(tmp_path: Path) -> None:
    """What was acknowledged is what is read: contiguous in every process, and no line of the parent's in a child."""
    reports = [
        line.split() for line in run_program(AT_ONCE, directory=tmp_path, options=FORKS_WITH_THREADS).splitlines()
    ]
    names = names_by_process(tmp_path)
    assert len(reports) == 1 + 20 + 10
    assert names.keys() == {process for process, *_ in reports}
    for process, pid, acknowledged, dropped in reports:
        steps = [name for name in names[process] if name != "first"]
        assert dropped == "0"
        assert len(steps) == int(acknowledged)
        assert {name.split(":")[0] for name in steps} == {pid}
    assert max(Counter(name for found in names.values() for name in found).values()) == 1
    for events in events_by_process(tmp_path).values():
        assert sorted(event["seq"] for event in events) == list(range(1, len(events) + 1))


FORKING_HANDLER = """
import itertools, os, signal, sys
from agent_run_id import start_run

numbers, children = itertools.count(100), []
parent = os.getpid()
run = start_run("first")

def fork(number, frame):
    pid = os.fork()
    children.append(pid)
    if pid == 0:
        signal.alarm(30)
        run.step(f"{os.getpid()}:begins")
    elif len(children) < 30:
        signal.setitimer(signal.ITIMER_PROF, 0.001)  # the next, which therefore cannot interrupt this one

signal.signal(signal.SIGPROF, fork)
signal.setitimer(signal.ITIMER_PROF, 0.001)
while os.getpid() == parent and len(children) < 30:
    run.step(f"{os.getpid()}:{next(numbers)}")
if os.getpid() != parent:
    for number in range(3):
        run.step(f"{os.getpid()}:{number}")
    os._exit(0)
for child in children:
    os.waitpid(child, 0)
"""


def test_a_child_forked_by_a_signal_handler_writes_no_line_of_its_parent(tmp_path: Path) -> None:
    """The handler may have interrupted an append; what the child makes of it is an event of its own, or nothing."""
    run_program(FORKING_HANDLER, directory=tmp_path)
    by_process = events_by_process(tmp_path)
    assert len(by_process) == 1 + 30
    for events in by_process.values():
        assert sorted(event["seq"] for event in events) == list(range(1, len(events) + 1))
    for path in journals_of(tmp_path):
        header, events = read_lines(path)
        own = [event["name"] for event in events if event["name"].startswith(f"{header['pid']}:")]
        if events[0]["type"] == "run.started":
            assert own == [f"{header['pid']}:{number}" for number in range(100, 100 + len(own))]
        else:
            expected = [f"{header['pid']}:{what}" for what in ("begins", 0, 1, 2)]
            assert [name for name in own if name in expected] == expected
            assert len(events) <= 5


MANY_OPENINGS = """
import sys, threading
from agent_run_id.journal import Journal

sys.setswitchinterval(1e-6)
for number in range(40):
    journal = Journal(f"{sys.argv[1]}/{number}")
    barrier = threading.Barrier(6)
    def record():
        barrier.wait()
        journal.append("run.step", "token")
    threads = [threading.Thread(target=record) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert journal.dropped == 0
    journal.close()
import os
print(sum(os.readlink(f"/proc/self/fd/{fd}").endswith(".jsonl") for fd in os.listdir("/proc/self/fd")[:-1])
      if os.path.exists("/proc/self/fd") else 0)
"""


def test_threads_that_open_at_the_same_time_make_one_journal(tmp_path: Path) -> None:
    """And leave neither a second file nor a descriptor behind."""
    assert run_program(MANY_OPENINGS, str(tmp_path)).split() == ["0"]
    for number in range(40):
        folder = tmp_path / str(number) / "journal"
        [path] = folder.iterdir()
        assert len(read_lines(path)[1]) == 6


FORKED_OPENINGS = """
import os, signal, sys, threading
from agent_run_id import start_run

sys.setswitchinterval(1e-6)
run = start_run("parent")
for _ in range(40):
    pid = os.fork()
    if pid == 0:
        signal.alarm(30)
        barrier = threading.Barrier(4)
        def record():
            barrier.wait()
            for number in range(3):
                run.step(str(number))
        threads = [threading.Thread(target=record) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        os._exit(0)
    os.waitpid(pid, 0)
"""


def test_threads_that_record_at_the_same_time_in_a_forked_child_make_one_journal(tmp_path: Path) -> None:
    """Of two journals of one process, the second could not end what the first had started."""
    run_program(FORKED_OPENINGS, directory=tmp_path)
    headers = [read_lines(path)[0] for path in journals_of(tmp_path)]
    assert Counter(header["pid"] for header in headers).most_common(1)[0][1] == 1
    assert len(headers) == 41
    assert sorted(len(events) for events in events_by_process(tmp_path).values()) == [1, *[12] * 40]


ROTATING = """
import os, sys, tempfile, threading, time
import agent_run_id.journal_file as room
from agent_run_id import start_run
from agent_run_id.journal import current_journal

room.SEGMENT_BYTES, room._LOOK_US = 512, 0
sys.setswitchinterval(1e-5)
run = start_run("rotated")
stop, close = threading.Event(), os.close
def close_and_let_others_run(fd):
    close(fd)
    time.sleep(0.0002)
os.close = close_and_let_others_run
def stranger():
    while not stop.is_set():
        with tempfile.TemporaryFile() as file:
            time.sleep(0)
            assert os.fstat(file.fileno()).st_size == 0, "somebody else wrote into it"
def record(thread):
    for number in range(400):
        run.step(f"{thread}:{number}")
threads = [threading.Thread(target=record, args=(thread,)) for thread in range(4)]
other = threading.Thread(target=stranger)
for thread in [*threads, other]:
    thread.start()
for thread in threads:
    thread.join()
stop.set()
other.join()
print(current_journal().dropped, flush=True)
sys.stdin.readline()
"""


def test_rotation_while_threads_write_loses_nothing_and_keeps_the_owner_alive(tmp_path: Path) -> None:
    """Nor does a line get into the file of a thread that opens and closes its own meanwhile."""
    with Program(ROTATING, directory=tmp_path) as program, RunRegistry(tmp_path) as registry:
        assert program.hear() == "0"
        assert "somebody else" not in program.complaints()
        [events] = events_by_process(tmp_path).values()
        assert len(journals_of(tmp_path)) > 20
        expected = [f"{thread}:{number}" for thread in range(4) for number in range(400)]
        assert sorted(event["name"] for event in events) == sorted(["rotated", *expected])
        assert sorted(event["seq"] for event in events) == list(range(1, 1602))
        assert len(registry.events("@last")) == 1601
        assert registry.get("@last").status == "running"
        program.kill()
        assert registry.get("@last").status == "lost"


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
    found = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(found) == (0 if directory == "off" else 2)
    assert len(list(tmp_path.iterdir())) == (0 if directory == "off" else 1)


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
