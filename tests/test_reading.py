"""Reading: who lives and who died, and lines back into events."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_run_id import RunId, RunRegistry
from agent_run_id import reading as reading_room
from agent_run_id.events import encode_fields, encode_line
from agent_run_id.hosts import process_start
from agent_run_id.reading import lines_from, parse_line, read_header, state_of
from tests.journal_programs.journals import PROCESS, event, held, journals_of, write_journal
from tests.journal_programs.programs import Program

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent_run_id import RunRecord

# Who died, and who only looks like it --------------------------------------------------------------------------------

THREE_OPEN_AND_ONE_ENDED = """
import os, sys
from agent_run_id import start_run
with start_run("ended"):
    pass
with start_run("open 1"), start_run("open 2"), start_run("open 3") as run:
    run.step("last words")
    print("recorded", flush=True)
    sys.stdin.readline()
    os._exit(3)
"""


def records_of(directory: Path) -> dict[str | None, RunRecord]:
    with RunRegistry(directory) as registry:
        return {record.name: record for record in registry.find(limit=None)}


def statuses_of(directory: Path) -> dict[str | None, str | None]:
    return {name: record.status for name, record in records_of(directory).items()}


DEATHS: dict[str, Callable[[Program], None]] = {
    "SIGKILL": lambda program: program.process.kill(),
    "SIGTERM": lambda program: program.process.terminate(),
    "SIGSEGV": lambda program: program.process.send_signal(signal.SIGSEGV),
    "os._exit": lambda program: program.tell("die"),
}


@pytest.mark.parametrize("death", list(DEATHS))
def test_of_a_process_that_dies_all_four_runs_are_known_at_once(death: str, tmp_path: Path) -> None:
    """Three are lost since their last event, one has ended; before the death the three were running."""
    with Program(THREE_OPEN_AND_ONE_ENDED, directory=tmp_path) as program:
        program.hear()
        before = statuses_of(tmp_path)
        DEATHS[death](program)
        program.process.wait()
        after = records_of(tmp_path)
    running = {f"open {number}": "running" for number in (1, 2, 3)}
    assert before == {"ended": "succeeded", **running}
    assert {name: record.status for name, record in after.items()} == {
        "ended": "succeeded",
        **dict.fromkeys(running, "lost"),
    }
    with RunRegistry(tmp_path) as registry:
        for name in running:
            record, events = after[name], registry.events(after[name].id)
            assert record.last_event_at == events[-1].time
            assert record.ended_at is None
            assert record.process is not None
            assert record.process.state == "dead"
            assert [e.type for e in events] == ["run.started", *(["run.step"] if name == "open 3" else [])]


CHILDREN = """
import multiprocessing, os, signal, sys
from agent_run_id import start_run

def child(die):
    with start_run("ended"):
        pass
    runs = [start_run(f"open {number}") for number in (1, 2, 3)]
    if die == "killed":
        os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    signal.alarm(300)
    with start_run("parent"):
        process = multiprocessing.get_context(sys.argv[1]).Process(target=child, args=(sys.argv[2],))
        process.start()
        process.join()
        print("gone", flush=True)
        sys.stdin.readline()
"""


@pytest.mark.parametrize("end", ["returns", "killed"])
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_child_of_multiprocessing_loses_nothing(method: str, end: str, tmp_path: Path) -> None:
    """It leaves by `os._exit`, so nothing that runs at exit runs there."""
    path = tmp_path / "program.py"
    path.write_text(CHILDREN)
    with Program(path, method, end, directory=tmp_path / "runs") as program:
        program.hear()
        records = records_of(tmp_path / "runs")
        assert {name: record.status for name, record in records.items()} == {
            "parent": "running",
            "ended": "succeeded",
            "open 1": "lost",
            "open 2": "lost",
            "open 3": "lost",
        }
        program.tell()
        program.finish()
    assert records_of(tmp_path / "runs")["parent"].status == "succeeded"


def test_the_runs_of_a_stopped_process_are_running(tmp_path: Path) -> None:
    with Program(THREE_OPEN_AND_ONE_ENDED, directory=tmp_path) as program:
        program.hear()
        program.process.send_signal(signal.SIGSTOP)
        assert os.WIFSTOPPED(os.waitpid(program.pid, os.WUNTRACED)[1])
        assert statuses_of(tmp_path)["open 1"] == "running"


def test_a_process_that_reads_its_own_journal_goes_on_living(tmp_path: Path) -> None:
    """A lock of the POSIX kind would be gone as soon as the owner's own reader closed the file."""
    program = """
import sys
from agent_run_id import RunRegistry, start_run
with start_run("mine"):
    with RunRegistry() as registry:
        print(registry.get("@last").status, flush=True)
    sys.stdin.readline()
"""
    with Program(program, directory=tmp_path) as running:
        assert running.hear() == "running"
        assert statuses_of(tmp_path) == {"mine": "running"}


OUTLIVED = """
import os, signal, sys
from agent_run_id import start_run
start_run("parent's")
if os.fork() == 0:
    signal.alarm(300)
    start_run("child's")
    print("recorded", flush=True)
    sys.stdin.read()
    os._exit(0)
signal.pause()
"""


@pytest.mark.skipif(not hasattr(os, "waitid"), reason="nothing else sees a death and leaves the pid there")
def test_a_forked_child_that_outlives_its_killed_parent_does_not_keep_it_alive(tmp_path: Path) -> None:
    with Program(OUTLIVED, directory=tmp_path) as program:
        program.hear()
        assert statuses_of(tmp_path) == {"parent's": "running", "child's": "running"}
        program.process.kill()
        # It is dead, and nobody has waited for it: its pid is still there, so only the lock can tell.
        os.waitid(os.P_PID, program.pid, os.WEXITED | os.WNOWAIT)
        os.kill(program.pid, 0)
        assert statuses_of(tmp_path) == {"parent's": "lost", "child's": "running"}
        program.process.wait()
        assert statuses_of(tmp_path) == {"parent's": "lost", "child's": "running"}


HANDED_ON = """
import os, subprocess, sys
from agent_run_id import start_run
from agent_run_id.journal import current_journal
start_run("handed on")
for name in os.listdir("/proc/self/fd"):
    try:
        if os.readlink(f"/proc/self/fd/{name}").endswith(".jsonl"):
            os.set_inheritable(int(name), True)
    except OSError:
        pass
child = subprocess.Popen(["cat"], close_fds=False, stdout=subprocess.DEVNULL)
print("recorded", flush=True)
child.wait()
"""


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="finds the descriptors of the journal in /proc")
def test_a_lock_that_was_handed_on_does_not_keep_its_process_alive(tmp_path: Path) -> None:
    with Program(HANDED_ON, directory=tmp_path) as program:
        program.hear()
        program.kill()
        [path] = journals_of(tmp_path)
        with pytest.raises(BlockingIOError), path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        assert statuses_of(tmp_path) == {"handed on": "lost"}


def test_a_process_whose_first_journal_was_removed_is_still_known_to_die(tmp_path: Path) -> None:
    """After `rm -rf` it records in a second file, and the first, which had the lock, is no more."""
    program = """
import glob, shutil, sys, time
from agent_run_id import start_run
directory = sys.argv[1]
with start_run("before"):
    shutil.rmtree(directory)
deadline = time.monotonic() + 30
with start_run("between") as run:
    while not glob.glob(f"{directory}/journal/*.jsonl") and time.monotonic() < deadline:
        run.step("again")
run = start_run("after")
print("recorded", flush=True)
sys.stdin.readline()
"""
    directory = tmp_path / "runs"
    with Program(program, str(directory), directory=directory) as running:
        running.hear()
        assert records_of(directory)["after"].status == "running"
        running.kill()
        assert records_of(directory)["after"].status == "lost"


def state_of_journal(**header: Any) -> str:
    with tempfile.TemporaryDirectory() as directory:
        path = write_journal(Path(directory), [], **header)
        found = read_header(str(path))
        assert found is not None
        return state_of(str(path), found)


def state_of_held_journal(**header: Any) -> str:
    with tempfile.TemporaryDirectory() as directory:
        path = write_journal(Path(directory), [], **header)
        found = read_header(str(path))
        assert found is not None
        with held(path):
            return state_of(str(path), found)


def a_dead_pid() -> int:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return process.pid


def test_the_lock_is_the_heartbeat() -> None:
    assert state_of_journal() == "dead"
    assert state_of_held_journal() == "alive"


@pytest.mark.parametrize("header", [{"host": "elsewhere"}, {"boot": "another"}, {"inode": 1}])
def test_of_a_journal_from_elsewhere_nothing_is_known(header: dict[str, Any]) -> None:
    """Another host, another boot, a copy: nobody holds the lock, whoever lives."""
    assert state_of_journal(**header) == "unknown"
    assert state_of_held_journal(**header) == "unknown"


def test_a_pid_that_is_gone_or_was_given_to_another_process_is_a_second_sign_of_death() -> None:
    """It counts where the lock is held by somebody else, and where the file system has no locks."""
    gone = {"pid": a_dead_pid()}
    assert state_of_held_journal(**gone) == "dead"
    assert state_of_journal(locked=False) == "alive"
    assert state_of_journal(locked=False, **gone) == "dead"
    if process_start(os.getpid()) is not None:  # not every system tells
        given = {"pid": os.getpid(), "pid_started": "1"}
        assert state_of_held_journal(**given) == "dead"
        assert state_of_journal(locked=False, **given) == "dead"


def test_a_pid_of_another_namespace_says_nothing() -> None:
    assert state_of_held_journal(pid=a_dead_pid(), pid_namespace="pid:[1]") == "alive"
    assert state_of_held_journal(pid="none at all") == "alive"


def test_two_readers_do_not_take_each_other_for_the_owner(tmp_path: Path) -> None:
    path = write_journal(tmp_path, [])
    header = read_header(str(path))
    assert header is not None
    with path.open("rb") as another_reader:
        fcntl.flock(another_reader, fcntl.LOCK_SH | fcntl.LOCK_NB)
        assert state_of(str(path), header) == "dead"


def test_probing_leaves_the_lock_where_it_is(tmp_path: Path) -> None:
    path = write_journal(tmp_path, [])
    header = read_header(str(path))
    assert header is not None
    with held(path):
        assert [state_of(str(path), header) for _ in range(3)] == ["alive"] * 3
    assert state_of(str(path), header) == "dead"


def test_of_a_copied_directory_no_run_is_lost(tmp_path: Path) -> None:
    with Program(THREE_OPEN_AND_ONE_ENDED, directory=tmp_path / "runs") as program:
        program.hear()
        shutil.copytree(tmp_path / "runs", tmp_path / "while it lived")
        program.kill()
    shutil.copytree(tmp_path / "runs", tmp_path / "afterwards")
    for copy in ("while it lived", "afterwards"):
        records = records_of(tmp_path / copy)
        assert {record.status for record in records.values()} == {"running", "succeeded"}
        assert {record.process and record.process.state for record in records.values()} == {"unknown"}
    assert statuses_of(tmp_path / "runs")["open 1"] == "lost"


def test_a_moved_directory_is_no_copy(tmp_path: Path) -> None:
    with Program(THREE_OPEN_AND_ONE_ENDED, directory=tmp_path / "runs") as program:
        program.hear()
        program.kill()
    (tmp_path / "runs").rename(tmp_path / "moved")
    assert statuses_of(tmp_path / "moved")["open 1"] == "lost"


# Lines back into events ----------------------------------------------------------------------------------------------

RUN = RunId("aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa")


@given(st.lists(st.binary(max_size=40).map(lambda data: data.replace(b"\n", b"")), max_size=8), st.data())
def test_the_complete_lines_are_found_from_wherever_reading_goes_on(lines: list[bytes], data: st.DataObject) -> None:
    """Whatever the size of the pieces they are read in; a last line without its end is read again later."""
    torn = data.draw(st.binary(max_size=20).map(lambda text: text.replace(b"\n", b"")))
    with tempfile.NamedTemporaryFile() as file, pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading_room, "_CHUNK", data.draw(st.integers(1, 50)))
        file.write(b"".join(line + b"\n" for line in lines) + torn)
        file.flush()
        found = list(lines_from(file.name, 0))
        assert [line for line, _ in found] == [*lines, *[torn][: len(torn)]]
        start = data.draw(st.integers(0, len(lines)))
        offset = found[start - 1][1] if start else 0
        assert list(lines_from(file.name, offset)) == found[start:]


json_texts = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(json_texts)
def test_what_was_recorded_is_what_is_read(value: Any) -> None:
    fields = encode_fields({"data": value})
    line = encode_line(f'{{"v":1,"type":"run.step","run":"{RUN.token}","time":1,"seq":1{fields}}}')
    expected = {
        "v": 1,
        "type": "run.step",
        "run": RUN.token,
        "time": 1,
        "seq": 1,
        "data": json.loads(json.dumps(value)),
    }
    [found], bad = parse_line(line)
    assert bad == 0
    assert {"data": None, **found}.keys() == expected.keys()
    if not _holds_large_ints(value):  # which are recorded as text
        assert {"data": None, **found} == expected


def _holds_large_ints(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_holds_large_ints, value.values()))
    if isinstance(value, list):
        return any(map(_holds_large_ints, value))
    return isinstance(value, int) and not -(2**63) <= value < 2**63


@given(st.integers(0, 2**32), json_texts)
def test_a_line_that_a_torn_one_is_glued_to_is_saved(seed: int, value: Any) -> None:
    torn = json.dumps(event(1, "run.step", RUN, data=value), ensure_ascii=False).encode()
    whole = event(2, "run.step", RUN, data=value)
    cut = 1 + seed % (len(torn) - 1)
    found, bad = parse_line(torn[:cut] + json.dumps(whole, ensure_ascii=False).encode())
    assert found == [whole]
    assert bad == 1


HOSTILE_LINES = [
    b"",
    b"   ",
    b"garbage",
    b"\x00" * 200,
    b"\xff\xfe\x00",
    b"[1, 2]",
    b'"text"',
    b"{",
    b'{"v":',
    b'{"v":1,"type":"run.step"',
    b'{"v":' * 500,
    b"[" * 100_000,
    b'{"x":' + b"9" * 5000 + b"}",
    b'{"x":"\\ud800"}',
    b'{"x":"\\uDFFF","\\udc80":1}',
    b'{"x":"\xed\xa0\x80"}',
    b'{"\xed\xb2\x80":1}',
    b'{"x":1e999,"y":NaN,"z":-Infinity}',
    b'{"x":"\\u0000"}',
]


@pytest.mark.parametrize("line", HOSTILE_LINES, ids=lambda line: repr(line[:30]))
def test_a_hostile_line_gives_text_or_nothing(line: bytes) -> None:
    _gives_text_or_nothing(line)


@given(st.binary(max_size=200) | st.sampled_from(HOSTILE_LINES).flatmap(lambda line: st.binary().map(line.__add__)))
def test_any_line_gives_text_or_nothing(line: bytes) -> None:
    _gives_text_or_nothing(line)


def _gives_text_or_nothing(line: bytes) -> None:
    """Never raises; and what it gives can be stored, so half a character is none."""
    events, bad = parse_line(line)
    assert bad == (0 if events or not line.strip() else 1)
    for found in events:
        json.dumps(found, ensure_ascii=False).encode()


@given(st.binary(max_size=300))
def test_a_journal_without_a_header_is_none(data: bytes) -> None:
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        assert read_header(file.name) is None


def test_a_header_is_read_whatever_version_wrote_it(tmp_path: Path) -> None:
    path = write_journal(tmp_path, [], v=99, future={"any": "thing"})
    header = read_header(str(path))
    assert header is not None
    assert (header.process, header.segment, header.fields["future"]) == (PROCESS, 1, {"any": "thing"})
    assert read_header(str(tmp_path / "missing")) is None
