"""Containers and other odd places: no home, any user, no locks, no shared memory, shared volumes, odd clocks."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from agent_run_id import RunId, RunRegistry
from agent_run_id.filesystems import network_type
from agent_run_id.index import Index
from tests.commands import runid
from tests.journal_programs.journals import event, held, journals_of, read_lines, write_journal
from tests.journal_programs.programs import IS_ROOT, NOBODY, Program, run_program

ON_LINUX = sys.platform == "linux"
RUNS = [RunId(f"{digit * 8}-1111-4111-8111-111111111111") for digit in "abcd"]


def states_in(directory: Path) -> dict[str | None, str | None]:
    with RunRegistry(directory) as registry:
        return {record.name: record.status for record in registry.find(limit=None)}


# No home, any user, a root that cannot be written ---------------------------------------------------------------------

ANYBODY = """
import ctypes, os, sys, warnings
import agent_run_id as ari
with ari.RunRegistry("/nowhere") as registry:  # what is imported late is imported before the user changes
    registry.find()
if int(sys.argv[1]) >= 0:
    os.setuid(int(sys.argv[1]))
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    with ari.start_run("run"):
        pass
    try:
        found = len(ari.RunRegistry().find())
    except ari.StoreError as error:
        found = "nothing to read"
print(len(caught), ari.accounts().written, found)
"""
USER = str(NOBODY if IS_ROOT else -1)


def test_any_user_records_and_reads_where_it_is_told_to(open_to_all: Path) -> None:
    """Without a home, and without a name."""
    env = {"HOME": None, "XDG_STATE_HOME": None, "XDG_CACHE_HOME": None, "AGENT_RUN_DIR": str(open_to_all / "runs")}
    assert run_program(ANYBODY, USER, env=env).split() == ["0", "2", "1"]


def test_where_nothing_can_be_written_the_program_goes_on_and_is_told_once(open_to_all: Path) -> None:
    open_to_all.chmod(0o555)
    if IS_ROOT:
        os.chown(open_to_all, 0, 0)
    env = {"HOME": str(open_to_all), "XDG_STATE_HOME": None, "XDG_CACHE_HOME": None, "AGENT_RUN_DIR": None}
    assert run_program(ANYBODY, USER, env=env).split() == ["1", "0", "0"]
    assert list(open_to_all.iterdir()) == []


@pytest.mark.skipif(not IS_ROOT, reason="only root can make a directory for another user")
@pytest.mark.parametrize("whose", ["the directory", "the folder in it"])
def test_what_belongs_to_another_user_is_read_and_never_written(whose: str, tmp_path: Path) -> None:
    """Root looks at the runs of somebody else, and leaves nothing there that would lock them out."""
    directory, cache = tmp_path / "runs", tmp_path / "cache"
    write_journal(directory, [event(1, "run.started", RUNS[0], name="theirs")])
    theirs = directory if whose == "the directory" else directory / "journal"
    os.chown(theirs, NOBODY, -1)
    program = "import agent_run_id as ari, warnings; warnings.simplefilter('ignore')\n"
    program += "ari.start_run('ours'); print(*ari.accounts()[2:])"
    assert run_program(program, directory=directory).split() == ["1", "0", "1"]
    before = sorted(directory.rglob("*"))
    if whose == "the directory":
        said = runid("ls", "--dir", str(directory), HOME=str(cache), XDG_CACHE_HOME="")
        assert "theirs" in said.stdout
        assert sorted(directory.rglob("*")) == before
        assert list(cache.rglob("*.sqlite3"))
        program = "import sys, agent_run_id as ari; print(len(ari.RunRegistry(sys.argv[1]).find()))"
        assert run_program(program, str(directory), env={"HOME": str(cache)}).split() == ["1"]
        assert sorted(directory.rglob("*")) == before
    else:
        assert states_in(directory) == {"theirs": "lost"}


# Locks and shared memory ----------------------------------------------------------------------------------------------

WITHOUT_LOCKS = """
import errno, fcntl, sys
def refuse(fd, operation):
    raise OSError(errno.ENOLCK, "no locks here")
fcntl.flock = refuse
from agent_run_id import accounts, start_run
run = start_run("run")
print(accounts().dropped, flush=True)
sys.stdin.readline()
"""


def test_where_there_are_no_locks_the_process_number_tells_who_lives(tmp_path: Path) -> None:
    with Program(WITHOUT_LOCKS, directory=tmp_path) as program:
        assert program.hear() == "0"
        [path] = journals_of(tmp_path)
        assert read_lines(path)[0]["locked"] is False
        assert states_in(tmp_path) == {"run": "running"}
        program.kill()
        assert states_in(tmp_path) == {"run": "lost"}


@pytest.mark.skipif(not ON_LINUX, reason="looks into /proc")
def test_nothing_of_ours_is_in_shared_memory(tmp_path: Path) -> None:
    """Containers have little of it."""
    program = """
import os
import agent_run_id as ari
with ari.start_run("run") as run:
    ari.RunRegistry().tree(run.id)
    registry = ari.RunRegistry()
    registry.find()
    with open("/proc/self/maps") as maps:
        places = maps.read().splitlines()
    for fd in os.listdir("/proc/self/fd"):
        path = f"/proc/self/fd/{fd}"
        places.append(os.readlink(path) if os.path.islink(path) else "")
    print(sum("/dev/shm" in place or "memfd" in place for place in places), len(places) > 20)
"""
    assert run_program(program, directory=tmp_path).split() == ["0", "True"]


# Network file systems -------------------------------------------------------------------------------------------------

MOUNTS = r"""
22 1 0:21 / / rw,relatime shared:1 - overlay overlay rw,lowerdir=/l,upperdir=/u,workdir=/w
23 22 0:22 / /proc rw,nosuid - proc proc rw
30 22 0:40 / /mnt/nfs rw,relatime shared:9 master:1 - nfs4 server:/export rw,vers=4.2
31 30 8:1 / /mnt/nfs/local rw - ext4 /dev/sda1 rw
32 31 0:41 / /mnt/nfs/local/again rw - fuse.sshfs user@host:/ rw
33 22 0:42 / /mnt/windows\040share rw - cifs //server/share rw
34 22 0:43 / /mnt/twice rw - nfs4 server:/export rw
35 34 0:44 / /mnt/twice rw - tmpfs tmpfs rw
36 22 0:45 / /mnt/fuse rw - fuse.portal portal rw
37 22 0:46 / /mnt/tab\011and\134back rw - virtiofs share rw
this is no line of that file
38 22 0:47 / - nfs4
"""


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/mnt/nfs", "nfs4"),
        ("/mnt/nfs/runs/deep", "nfs4"),
        ("/mnt/nfsother", None),
        ("/mnt/nfs/local", None),
        ("/mnt/nfs/local/runs", None),
        ("/mnt/nfs/local/again/runs", "fuse.sshfs"),
        ("/mnt/windows share/runs", "cifs"),
        ("/mnt/windows", None),
        ("/mnt/twice/runs", None),
        ("/mnt/fuse/runs", None),
        ("/mnt/tab\tand\\back/runs", "virtiofs"),
        ("/mnt/nfs/local/../runs", "nfs4"),
        ("/home", None),
        ("/", None),
    ],
)
def test_the_innermost_mount_tells_whether_a_place_is_on_the_network(
    path: str, expected: str | None, tmp_path: Path
) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS)
    assert network_type(path, str(mounts)) == expected


def test_where_the_system_does_not_say_a_place_is_taken_for_local(tmp_path: Path) -> None:
    assert network_type("/", str(tmp_path / "nothing")) is None


def test_a_link_into_a_network_file_system_is_on_it(tmp_path: Path) -> None:
    mounts = tmp_path / "mountinfo"
    (tmp_path / "link").symlink_to("/mnt/nfs")
    mounts.write_text(MOUNTS)
    assert network_type(str(tmp_path / "link" / "runs"), str(mounts)) == "nfs4"


ON_A_NETWORK = """
import os, sys, warnings
import agent_run_id as ari
from agent_run_id.filesystems import network_type
network_type.__defaults__ = (sys.argv[1],)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    for directory in sys.argv[2:]:
        ari.configure(directory=directory)
        ari.start_run("run").end()
    if os.fork() == 0:
        ari.start_run("run").end()
        os._exit(len(caught) != 1)
    assert os.waitstatus_to_exitcode(os.wait()[1]) == 0
print(len(caught), caught[0].message)
with ari.RunRegistry() as registry:
    print(len(registry.find()), registry._index.path)
print(sorted(os.listdir(sys.argv[-1])))
"""


def test_a_network_file_system_is_told_of_once_and_in_the_journal_and_has_no_index(tmp_path: Path) -> None:
    """The locks of SQLite cannot be relied on there."""
    mounts, directories = tmp_path / "mountinfo", [tmp_path / name for name in ("first", "second")]
    mounts.write_text(f"30 22 0:40 / {tmp_path} rw - nfs4 server:/export rw\n")
    env = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    told, found, listed = run_program(ON_A_NETWORK, str(mounts), *map(str, directories), env=env).splitlines()
    assert told.startswith("1 ")
    assert "a network file system (nfs4)" in told
    assert "AGENT_RUN_DIR" in told
    count, path = found.split()
    assert count == "2"
    assert Path(path).is_relative_to(tmp_path / "cache")
    assert "index" not in listed
    for directory in directories:
        assert {read_lines(journal)[0]["network"] for journal in journals_of(directory)} == {"nfs4"}


def test_of_a_local_file_system_a_journal_says_nothing(tmp_path: Path) -> None:
    run_program("import agent_run_id as ari; ari.start_run('run')", directory=tmp_path)
    [path] = journals_of(tmp_path)
    assert "network" not in read_lines(path)[0]
    assert Index(str(tmp_path)).path.parent == tmp_path


# One process number, several processes --------------------------------------------------------------------------------


def named(number: int, **header: Any) -> dict[str, Any]:
    return {"name": f"{number}", "process": f"{number:032x}", **header}


def started(number: int) -> list[dict[str, Any]]:
    return [event(1, "run.started", RUNS[number], name=f"run {number}")]


def test_the_first_process_of_each_of_two_containers_on_one_volume_is_told_apart(tmp_path: Path) -> None:
    """Each is number 1 of its own; one lives, one has died, and of one whose file system has no locks nobody knows."""
    container = {"pid": 1, "pid_started": "5", "host": os.uname().nodename}
    living = write_journal(tmp_path, started(0), **named(0, **container, pid_namespace="pid:[1]"))
    write_journal(tmp_path, started(1), **named(1, **container, pid_namespace="pid:[2]"))
    write_journal(tmp_path, started(2), **named(2, **container, pid_namespace="pid:[3]", locked=False))
    with held(living):
        assert states_in(tmp_path) == {"run 0": "running", "run 1": "lost", "run 2": "running"}


@pytest.mark.skipif(not ON_LINUX, reason="not every system tells when a process began")
def test_a_process_number_that_was_given_again_is_not_its_first_owner(tmp_path: Path) -> None:
    """Also where the lock was handed on, as a fork made in C does, and where there is none."""
    now = {"pid": os.getpid()}
    ours = write_journal(tmp_path, started(0), **named(0, **now))
    former = write_journal(tmp_path, started(1), **named(1, **now, pid_started="1"))
    write_journal(tmp_path, started(2), **named(2, **now, pid_started="1", locked=False))
    with held(ours), held(former):
        assert states_in(tmp_path) == {"run 0": "running", "run 1": "lost", "run 2": "lost"}


def test_the_runs_of_another_host_are_never_lost(tmp_path: Path) -> None:
    """Nobody here can tell; what it says itself counts."""
    write_journal(tmp_path, started(0), **named(0, host="elsewhere"))
    write_journal(
        tmp_path,
        [*started(1), event(2, "run.ended", RUNS[1], status="succeeded")],
        **named(1, host="elsewhere"),
    )
    assert states_in(tmp_path) == {"run 0": "running", "run 1": "succeeded"}


# Clocks ---------------------------------------------------------------------------------------------------------------


def test_a_clock_that_is_set_back_leaves_the_order_the_duration_and_the_housekeeping(tmp_path: Path) -> None:
    program = """
import json, time
import agent_run_id as ari
from agent_run_id import accounts
clock, offset = time.time_ns, 0
time.time_ns = lambda: clock() + offset * 10**9
with ari.start_run("run") as run:
    for number, offset in enumerate([0, -3600, 7200, -86400 * 400, 0]):
        run.step(str(number))
    offset = -86400
registry = ari.RunRegistry()
record = registry.get(run.id)
names = [event.data.get("name") for event in registry.events(run.id)]
print(json.dumps([names, record.status, record.elapsed.total_seconds(), accounts().dropped]))
"""
    names, status, elapsed, dropped = json.loads(run_program(program, directory=tmp_path))
    assert names == ["run", "0", "1", "2", "3", "4", None]
    assert (status, dropped) == ("succeeded", 0)
    assert 0 <= elapsed < 60
