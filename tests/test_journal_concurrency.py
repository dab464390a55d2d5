"""The journal under threads, forks and signal handlers: nothing acknowledged is lost or written twice."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from agent_run_id import RunRegistry
from tests.journal_programs.journals import events_by_process, journals_of, read_lines
from tests.journal_programs.programs import FORKS_WITH_THREADS, Program, run_program

if TYPE_CHECKING:
    from pathlib import Path


def names_by_process(directory: Path) -> dict[str, list[str]]:
    return {
        process: [event.get("name", "") for event in events] for process, events in events_by_process(directory).items()
    }


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
    signal.alarm(120)
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
        signal.alarm(120)
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
        signal.alarm(120)
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
        assert len(journals_of(tmp_path)) > 5  # as a rule 200; on a busy machine whoever rotates comes late
        expected = [f"{thread}:{number}" for thread in range(4) for number in range(400)]
        assert sorted(event["name"] for event in events) == sorted(["rotated", *expected])
        assert sorted(event["seq"] for event in events) == list(range(1, 1602))
        assert len(registry.events("@last")) == 1601
        assert registry.get("@last").status == "running"
        program.kill()
        assert registry.get("@last").status == "lost"
