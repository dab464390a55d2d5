"""Accounts: what was to be recorded is in a file or counted as dropped, whatever befalls the program and its disk."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest

import agent_run_id as ari
from agent_run_id import RunRegistry
from tests.journal_programs.journals import journals_of, read_lines
from tests.journal_programs.programs import FORKS_WITH_THREADS, IS_ROOT, NOBODY, run_program


def in_files(directory: Path) -> dict[str, set[int]]:
    """The numbers of the events of each process that can be read, however torn the lines beside them are."""
    found: dict[str, set[int]] = {}
    for path in journals_of(directory):
        process = json.loads(path.read_bytes().split(b"\n")[0])["process"]
        for line in path.read_bytes().split(b"\n"):
            try:
                event = json.loads(line)
            except ValueError:
                continue
            if "seq" in event:
                assert event["seq"] not in found.setdefault(process, set()), "written twice"
                found[process].add(event["seq"])
    return found


def check(said: str, directory: Path) -> list[dict[str, Any]]:
    """What each process said of its accounts adds up, and is what its files hold."""
    accounts: list[dict[str, Any]] = [json.loads(line) for line in said.splitlines()]
    found = in_files(directory)
    for each in accounts:
        assert each["recorded"] == each["written"] + each["dropped"]
        assert len(found.get(each["process_id"], ())) == each["written"]
    assert found.keys() == {each["process_id"] for each in accounts if each["written"]}
    return accounts


TELL = """
import json, os, warnings
import agent_run_id as ari
def tell():
    os.write(1, (json.dumps(ari.accounts()._asdict()) + "\\n").encode())
warnings.simplefilter("ignore")
"""

# While nothing is wrong -----------------------------------------------------------------------------------------------


def test_the_accounts_of_a_process_add_up(registry: RunRegistry) -> None:
    before = ari.accounts()
    with ari.start_run("run") as run:
        run.step("step")
    after = ari.accounts()
    assert after.recorded - before.recorded == after.written - before.written == 3
    assert (after.directory, after.dropped) == (registry.directory, 0)
    record = registry.get(run.id)
    assert record.process is not None
    assert record.process.id == after.process_id


def test_where_recording_is_off_nothing_was_to_be_recorded() -> None:
    assert check_off(run_program(f"{TELL}\nari.start_run('run').end()\ntell()")) == [None, None, 0, 0, 0]


def check_off(said: str) -> list[Any]:
    return list(json.loads(said).values())


AT_ONCE = f"""{TELL}
import signal, sys, threading
sys.setswitchinterval(0.0005)
run = ari.start_run("run")
def work():
    for number in range(400):
        run.step("s")
def at_once():
    signal.setitimer(signal.ITIMER_PROF, 0.001, 0.001)
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    work()
    for thread in threads:
        thread.join()
    signal.setitimer(signal.ITIMER_PROF, 0)
    tell()
signal.signal(signal.SIGPROF, lambda number, frame: run.step("signal"))
for _ in range(4):
    if os.fork() == 0:
        at_once()
        os._exit(0)
at_once()
for _ in range(4):
    os.wait()
"""


def test_with_threads_forks_and_signal_handlers_every_event_is_accounted_for(tmp_path: Path) -> None:
    """Each process keeps accounts of its own: a child begins with none."""
    accounts = check(run_program(AT_ONCE, directory=tmp_path, options=FORKS_WITH_THREADS), tmp_path)
    assert len({each["process_id"] for each in accounts}) == 5
    assert all(each["dropped"] == 0 and each["written"] >= 2000 for each in accounts)


# When something is wrong ----------------------------------------------------------------------------------------------

FULL = f"""{TELL}
import resource, sys
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
run = ari.start_run("run")
folder = f"{{os.environ['AGENT_RUN_DIR']}}/journal"
[path] = [f"{{folder}}/{{name}}" for name in os.listdir(folder)]
for place, spare in enumerate([*range(200), *range(200)]):
    resource.setrlimit(resource.RLIMIT_FSIZE, (os.path.getsize(path) + spare, hard))
    run.step("to a disk that is full somewhere in the middle")
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    if place < 200 or place % 3:  # or the next begins with the end of this one
        run.step("to a disk with room")
tell()
"""


def test_a_disk_that_is_full_at_any_byte_of_a_line_is_accounted_for(tmp_path: Path) -> None:
    """Also where everything of an event fits but the end of its line."""
    [accounts] = check(run_program(FULL, directory=tmp_path), tmp_path)
    assert accounts["dropped"] > 100
    with RunRegistry(tmp_path) as registry:
        assert len(registry.events("@last")) == accounts["written"]


FULL_TMPFS = f"""{TELL}
import subprocess, sys
directory = os.environ["AGENT_RUN_DIR"]
os.makedirs(directory)
done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,mode=700", "tmpfs", directory], capture_output=True)
if done.returncode:
    sys.exit(77)
run = ari.start_run("run")
ballast, threads = f"{{directory}}/ballast", []
import threading
for again in range(3):
    with open(ballast, "wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            pass
    threads = [threading.Thread(target=lambda: [run.step("s" * 700) for _ in range(100)]) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    dropped = ari.accounts().dropped
    assert dropped
    os.unlink(ballast)
    run.step("there is room again")
    assert ari.accounts().dropped == dropped
tell()
subprocess.run(["cp", "-r", f"{{directory}}/journal", sys.argv[1]], check=True)
"""


def test_a_disk_that_really_is_full_is_accounted_for_under_load(tmp_path: Path) -> None:
    """A file system of one mebibyte, where this may mount one; the test of every byte above holds everywhere."""
    (tmp_path / "copy").mkdir()
    program = [f"{tmp_path}/copy", f"{tmp_path}/small"]
    said = run_program(UNSHARED, FULL_TMPFS, *program)
    if said.strip() == "77":
        pytest.skip("only root can mount a file system, where it has a name space of its own for it")
    [accounts] = check(said, tmp_path / "copy")
    assert accounts["dropped"] > 0


UNSHARED = """
import os, subprocess, sys
program, copy, directory = sys.argv[1:]
command = [sys.executable, "-c", program, copy]
if os.geteuid() == 0 and subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode == 0:
    command = ["unshare", "-m", *command]
    code = subprocess.run(command, env={**os.environ, "AGENT_RUN_DIR": directory}).returncode
else:
    code = 77
if code == 77:
    print(77)
elif code:
    sys.exit(code)
"""


LOSES_PERMISSION = f"""{TELL}
import sys, time
import agent_run_id.journal as journal
import agent_run_id.journal_file as room
import ctypes
journal._RETRY_US = room._LOOK_US = 0
if int(sys.argv[1]) >= 0:
    os.setuid(int(sys.argv[1]))
directory = os.environ["AGENT_RUN_DIR"]
os.mkdir(directory)
def steps(count):
    before = ari.accounts()
    for _ in range(count):
        run.step("s")
    return ari.accounts().dropped - before.dropped
os.chmod(directory, 0o500)
run = ari.start_run("run")
refused = steps(10)
os.chmod(directory, 0o700)
recovered = steps(10)
os.chmod(f"{{directory}}/journal", 0o000)  # a file that is open goes on being written, and is there afterwards
unseen = steps(10)
os.chmod(f"{{directory}}/journal", 0o700)
again = steps(10)
assert (refused, recovered, unseen, again) == (10, 0, 0, 0), (refused, recovered, unseen, again)
tell()
"""


def test_permissions_that_come_and_go_are_accounted_for() -> None:
    """Recording goes on by itself when it may."""
    with tempfile.TemporaryDirectory() as temporary:
        Path(temporary).chmod(0o777)
        directory = Path(temporary, "runs")
        said = run_program(LOSES_PERMISSION, str(NOBODY if IS_ROOT else -1), directory=directory)
        [accounts] = check(said, directory)
    assert accounts["dropped"] == 11


REMOVED = f"""{TELL}
import glob, sys, threading
import agent_run_id.journal_file as room
directory, kind = os.environ["AGENT_RUN_DIR"], sys.argv[1]
room._LOOK_US = 0
run, stop = ari.start_run("run"), threading.Event()
def load():
    while not stop.is_set():
        run.step("load")
threads = [threading.Thread(target=load) for _ in range(3)]
for thread in threads:
    thread.start()
for number in range(10):
    before = ari.accounts().recorded
    while ari.accounts().recorded < before + 30:
        pass
    os.rename(directory, f"{{directory}}.{{number}}")
    if kind == "replaced":
        os.makedirs(directory, 0o700, exist_ok=True)
    while not glob.glob(f"{{directory}}/journal/*.jsonl"):
        pass
stop.set()
for thread in threads:
    thread.join()
run.step("the last")
tell()
"""


@pytest.mark.parametrize("kind", ["removed", "replaced"])
def test_a_directory_that_goes_under_load_comes_back_and_is_accounted_for(kind: str, tmp_path: Path) -> None:
    """Ten times; it is moved away here, so that what got into the old one can be counted too."""
    directory = tmp_path / "runs"
    said = run_program(REMOVED, kind, directory=directory)
    accounts = json.loads(said)
    places = [directory, *(tmp_path / f"runs.{number}" for number in range(10))]
    seqs = [seq for place in places for found in in_files(place).values() for seq in found]
    assert len(seqs) == len(set(seqs))
    assert accounts["recorded"] == accounts["written"] + accounts["dropped"]
    assert len(seqs) >= accounts["written"]
    assert set(seqs) <= set(range(1, accounts["recorded"] + 1))
    assert accounts["recorded"] in {seq for found in in_files(directory).values() for seq in found}, "the last"
    assert {read_lines(path)[0]["process"] for place in places for path in journals_of(place)} == {
        accounts["process_id"]
    }


def test_the_one_warning_says_how_many_were_dropped_and_where_to_ask(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    program = """
import warnings
import agent_run_id as ari
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    for _ in range(5):
        ari.start_run("run").end()
[warning] = caught
print(warning.message)
print(ari.accounts().dropped)
"""
    message, dropped = run_program(program, directory=tmp_path / "file" / "runs").splitlines()
    assert "(1 so far; agent_run_id.accounts() tells)" in message
    assert dropped == "10"


# The disk that is waited for ------------------------------------------------------------------------------------------

COUNTS_SYNCS = f"""{TELL}
import errno, sys
policy, fails = sys.argv[1:]
synced, real = [], os.fsync
def fsync(fd):
    synced.append(os.path.basename(os.readlink(f"/proc/self/fd/{{fd}}")) if os.path.exists("/proc/self/fd") else "")
    if fails == "fails":
        raise OSError(errno.EIO, "the disk is broken")
    real(fd)
os.fsync = fsync
if policy != "unset":
    ari.configure(fsync=policy)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    counts = []
    for _ in range(3):
        with ari.start_run("run") as run:
            before = len(synced)
            run.step("step")
            counts.append(len(synced) - before)
            before = len(synced)
        counts.append(len(synced) - before)
print(json.dumps([counts, synced, [str(warning.message) for warning in caught]]))
tell()
"""


@pytest.mark.parametrize(
    ("policy", "variable", "expected"),
    [
        ("unset", None, [0, 0]),
        ("never", "always", [0, 0]),
        ("ends", None, [0, 1]),
        ("always", None, [1, 1]),
        ("unset", "ends", [0, 1]),
        ("unset", "always", [1, 1]),
        ("unset", "nonsense", [0, 0]),
    ],
)
def test_the_disk_is_waited_for_when_the_policy_says_so(
    policy: str, variable: str | None, expected: list[int], tmp_path: Path
) -> None:
    """After every event, after the ends of runs, or never; with the first, the names of what is new are waited for."""
    env = {"AGENT_RUN_FSYNC": variable}
    counts, synced, warned = json.loads(
        run_program(COUNTS_SYNCS, policy, "works", directory=tmp_path / "runs", env=env).splitlines()[0]
    )
    assert warned == []
    assert counts[2:] == expected * 2
    if any(expected):
        names = [name for name in synced if name and not name.endswith(".jsonl")]
        assert sorted(names) == sorted(["journal", "runs", tmp_path.name]) or not any(synced)


LEAVES = """
import os
import agent_run_id as ari
ari.configure(fsync="ends")
synced, real = [], os.fsync
os.fsync = lambda fd: (synced.append(fd), real(fd))
def waits(act):
    before = len(synced)
    act()
    return len(synced) > before
run = ari.start_run("run")
print(waits(lambda: run.step("step")), waits(lambda: run.pause("a person")), waits(lambda: ari.hand_off("job", 1)))
"""


def test_the_disk_is_waited_for_when_a_run_leaves_the_process(tmp_path: Path) -> None:
    """Who resumes or accepts it may be on a machine that keeps its power."""
    assert run_program(LEAVES, directory=tmp_path) == "False True True\n"


def test_a_disk_that_cannot_be_waited_for_is_told_once_and_hurts_nobody(tmp_path: Path) -> None:
    said = run_program(COUNTS_SYNCS, "always", "fails", directory=tmp_path)
    counts, _, warned = json.loads(said.splitlines()[0])
    assert counts[2:] == [1, 1] * 2
    assert len(warned) == 1
    assert "the disk is broken" in warned[0]
    assert "written, but perhaps not on the disk" in warned[0]
    [accounts] = check(said.splitlines()[1], tmp_path)
    assert (accounts["written"], accounts["dropped"]) == (9, 0)


def test_what_stands_in_a_file_that_is_given_up_is_waited_for_too(tmp_path: Path) -> None:
    """Or the end of a run would be on the disk, and its beginning in a file that is not."""
    program = f"""{TELL}
import agent_run_id.journal_file as room
synced, real = [], os.fsync
os.fsync = lambda fd: synced.append(os.fstat(fd).st_ino) or real(fd)
ari.configure(fsync="ends")
room._LOOK_US = 0
run = ari.start_run("run")
room.SEGMENT_BYTES = 0
run.step("rotates")
run.step("rotates")
assert synced == []
run.end()
folder = f"{{os.environ['AGENT_RUN_DIR']}}/journal"
print(len(os.listdir(folder)), sum(os.stat(f"{{folder}}/{{name}}").st_ino in synced for name in os.listdir(folder)))
"""
    files, synced = map(int, run_program(program, directory=tmp_path).split())
    assert files > 2
    assert synced >= files - 1
