"""Folding: the journals of many processes that are over become few files, and no reader ever misses an event."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import signal
import stat
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hypothesis import given, settings

from agent_run_id import RunRegistry, housekeeping
from tests.journal_programs.houses import (
    FOR_EVER,
    HEADLESS,
    Folder,
    Watched,
    age,
    bundles,
    dead,
    eager,
    files,
    folders,
    keep,
    name_of,
    quiet,
    rebuilt,
)
from tests.journal_programs.journals import write_journal
from tests.journal_programs.programs import Program, run_program
from tests.journal_programs.worlds import everything

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest

# The law --------------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def written(folder: Folder) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as temporary, contextlib.ExitStack() as locks:
        folder.write(Path(temporary), locks)
        yield Path(temporary)


@settings(max_examples=30)
@given(folders())
def test_a_folded_directory_reads_as_the_unfolded_one_at_every_instant(folder: Folder) -> None:
    """Before a bundle has its name, with its sources beside it, and after each of them is gone; grown and rebuilt."""
    with written(folder) as directory, eager() as patch, quiet(RunRegistry(directory)) as grown:
        expected = rebuilt(directory)
        assert everything(grown) == expected

        def compare(when: str, path: Any) -> None:
            assert everything(grown) == expected, (when, path)
            assert rebuilt(directory) == expected, (when, path)

        patch.setattr(housekeeping, "os", Watched(compare, "rename", "unlink"))
        for _ in range(3):
            keep(directory)
        assert everything(grown) == expected
        with quiet(RunRegistry(directory)) as another:
            assert everything(another) == expected


# What writers do ------------------------------------------------------------------------------------------------------


def test_a_writer_gets_through_a_folder_of_thousands_of_files(tmp_path: Path) -> None:
    """It has a few milliseconds each time, and to list them all takes longer."""
    dead(tmp_path, 2500)
    with eager(_MIN_JOURNALS=64, _MAX_FILES_OF_WRITER=1000, _WRITER_S=0):
        for _ in range(40):
            housekeeping.keep_house(str(tmp_path), FOR_EVER, process_id="0" * 32)
    assert len(files(tmp_path)) < 1000


def test_a_writer_that_does_not_see_to_all_files_folds_none_twice(tmp_path: Path) -> None:
    """Not even while what was folded has to stay, and more is there than it looks at."""
    dead(tmp_path, 300)
    with eager(_MIN_JOURNALS=8, _MAX_FILES_OF_WRITER=40, _MAX_SOURCES_OF_WRITER=16, _WRITER_S=1, _SETTLED_S=1e9):
        for _ in range(30):
            housekeeping.keep_house(str(tmp_path), FOR_EVER, process_id="0" * 32)
    headers = [
        line for path in bundles(tmp_path) for line in path.read_bytes().splitlines() if b"process.started" in line
    ]
    assert len(headers) == len(set(headers)) > 200
    assert len(files(tmp_path)) == 300 + len(bundles(tmp_path))


MANY_PROCESSES = """
import os
import agent_run_id.housekeeping as house
from agent_run_id import start_run
house._SETTLED_S = -1  # otherwise the files of the last minute would all be there
start_run("parent").end()
for number in range(1500):
    if os.fork() == 0:
        start_run(f"run {number}").end()
        os._exit(0)
    os.wait()
"""


def test_many_short_processes_leave_few_files(tmp_path: Path) -> None:
    """One in 64 keeps house; a reader then does the rest, and still finds every run."""
    run_program(MANY_PROCESSES, directory=tmp_path)
    assert len(files(tmp_path)) < 750
    with eager(_MIN_JOURNALS=64, _MIN_BUNDLES=32), RunRegistry(tmp_path) as registry:
        for _ in range(3):
            keep(tmp_path)
        assert len(files(tmp_path)) < 100
        names = {record.name for record in registry.find(limit=None)}
        assert names == {"parent", *(f"run {number}" for number in range(1500))}


# What is in a bundle --------------------------------------------------------------------------------------------------


def test_a_bundle_is_plain_lines_which_only_its_user_can_read(tmp_path: Path) -> None:
    """First its own, then each journal as it was; it is as old as the youngest of them."""
    made = dead(tmp_path, 3)
    for place, path in enumerate(made):
        age(path, 1000 * (3 - place))
    contents = [path.read_bytes() for path in made]
    youngest, oldest = made[-1].stat().st_mtime, made[0].stat().st_mtime
    before = os.umask(0)
    try:
        with eager():
            keep(tmp_path)
    finally:
        os.umask(before)
    [bundle] = bundles(tmp_path)
    first, *rest = bundle.read_bytes().splitlines(keepends=True)
    header = json.loads(first)
    assert b"".join(rest) == b"".join(contents)
    assert [json.loads(line)["type"] for line in rest] == ["process.started", "run.started"] * 3
    assert (header["v"], header["type"], header["sources"]) == (1, "bundle.started", [path.name for path in made])
    assert abs(header["since"] / 1e6 - oldest) < 1
    assert stat.S_IMODE(bundle.stat().st_mode) == 0o600
    assert abs(bundle.stat().st_mtime - youngest) < 1


def test_bundles_are_folded_too(tmp_path: Path) -> None:
    with eager():
        for first in range(1, 60, 6):
            dead(tmp_path, 6, first=first)
            keep(tmp_path)
        keep(tmp_path)
        keep(tmp_path)
        assert len(files(tmp_path)) == 1
        with RunRegistry(tmp_path) as registry:
            assert len(registry.find(limit=None)) == 60


def test_a_bundle_whose_sources_are_still_here_is_not_put_into_another(tmp_path: Path) -> None:
    """With it would go what tells that they are in one, and they would be folded once more."""
    with eager(_SETTLED_S=60):
        for first in (1, 4, 7):
            dead(tmp_path, 3, first=first)
            for _ in range(3):
                keep(tmp_path)
        assert len(bundles(tmp_path)) == 3
    with eager():
        for _ in range(3):
            keep(tmp_path)
    [bundle] = files(tmp_path)
    assert bundle.read_bytes().count(b"process.started") == 9


def test_what_was_folded_stays_until_it_is_known_to_be_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A minute later, and after it was asked to be: a power cut finds the one or the other."""
    made = dead(tmp_path, 3)
    synced: list[str] = []
    monkeypatch.setattr(housekeeping, "sync", synced.append)
    with eager(_SETTLED_S=60):
        for _ in range(3):
            keep(tmp_path)
        assert [path.exists() for path in made] == [True] * 3
        assert len(bundles(tmp_path)) == 1, "they are in one, and not put into another"
        assert synced == []
        now = time.time()
        monkeypatch.setattr(time, "time", lambda: now + 61)
        keep(tmp_path)
    assert synced == [str(path) for path in bundles(tmp_path)]
    assert files(tmp_path) == bundles(tmp_path)


# Who is let alone -----------------------------------------------------------------------------------------------------

LIVES = """
import sys
from agent_run_id import start_run
start_run("living")
print("lives", flush=True)
sys.stdin.readline()
"""


def test_the_living_the_stopped_and_the_unknown_are_never_folded(tmp_path: Path) -> None:
    with Program(LIVES, directory=tmp_path) as living, Program(LIVES, directory=tmp_path) as stopped, eager():
        living.hear()
        stopped.hear()
        os.kill(stopped.pid, signal.SIGSTOP)
        write_journal(tmp_path, [], name=name_of("a" * 32), process="a" * 32, host="elsewhere")
        write_journal(tmp_path, [], name=name_of("b" * 32), process="b" * 32, boot="before")
        (tmp_path / "journal" / "headless.jsonl").write_bytes(HEADLESS[2])
        alone = files(tmp_path)
        dead(tmp_path, 5)
        for _ in range(3):
            keep(tmp_path)
        assert files(tmp_path) == sorted([*alone, *bundles(tmp_path)])
        assert len(alone) == 5
        with RunRegistry(tmp_path) as registry:
            assert sorted(str(record.status) for record in registry.find()) == ["lost"] * 5 + ["running"] * 2


GIVES_UP_A_FILE = """
import sys
import agent_run_id.journal_file as room
from agent_run_id import start_run
room._LOOK_US = 0
run = start_run("living")
run.step("more")
room.SEGMENT_BYTES = 0
run.step("rotates")
print("lives", flush=True)
for line in sys.stdin:
    run.step("rotates")
    print("rotated", flush=True)
"""


def test_a_process_that_goes_on_in_another_file_meanwhile_is_not_folded(tmp_path: Path) -> None:
    """The newest that was listed is given up, and not locked any more, before it is looked at."""
    with Program(GIVES_UP_A_FILE, directory=tmp_path) as program:
        program.hear()
        before = files(tmp_path)
        dead(tmp_path, 3)

        def rotate(when: str, path: object) -> None:
            if when == "after listdir":
                program.tell()
                program.hear()

        with eager() as patch:
            patch.setattr(housekeeping, "os", Watched(rotate, "listdir"))
            keep(tmp_path)
            keep(tmp_path)
        assert set(before) <= set(files(tmp_path))
        assert len(bundles(tmp_path)) == 1


# Two at once, and crashes ---------------------------------------------------------------------------------------------


def test_two_do_not_keep_house_at_once(tmp_path: Path) -> None:
    dead(tmp_path, 5)

    def come_too(when: str, path: object) -> None:
        housekeeping.keep_house(str(tmp_path), FOR_EVER, process_id="0" * 32)
        housekeeping.keep_house(str(tmp_path), FOR_EVER, process_id="f" * 32, makes_room=True)
        assert len(bundles(tmp_path)) == when.startswith("after")

    with eager() as patch:
        patch.setattr(housekeeping, "os", Watched(come_too, "rename"))
        keep(tmp_path)
    assert len(bundles(tmp_path)) == 1


class NoLocks:
    """A file system without locks, for whoever keeps house."""

    LOCK_EX, LOCK_NB, LOCK_UN = fcntl.LOCK_EX, fcntl.LOCK_NB, fcntl.LOCK_UN

    @staticmethod
    def flock(fd: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "no locks here")


@settings(max_examples=10)
@given(folders())
def test_where_there_are_no_locks_two_at_once_lose_nothing(folder: Folder) -> None:
    """House is kept there too, or nobody would, and the disk would fill up."""
    with written(folder) as directory, eager() as patch, quiet(RunRegistry(directory)) as grown:
        expected = rebuilt(directory)
        visitors: list[str] = []

        def come_too(when: str, path: object) -> None:
            if len(visitors) < 3:
                visitors.append(when)
                keep(directory)
                assert everything(grown) == rebuilt(directory) == expected

        patch.setattr(housekeeping, "os", Watched(come_too, "rename", "unlink"))
        patch.setattr(housekeeping, "fcntl", NoLocks)
        parts = folder.world.parts
        foldable = sum(not part.alive and part.process not in folder.headers for part in parts)
        for _ in range(4):
            keep(directory)
        assert everything(grown) == rebuilt(directory) == expected
        assert foldable < 2 or folder.copies or bundles(directory)


CRASHES = """
import os, sys
import agent_run_id.housekeeping as house
from agent_run_id.settings import Retention

class Crashing:
    left = 0
    def __getattr__(self, name):
        if name in ("open", "rename", "unlink", "utime", "fsync", "urandom", "close"):
            self.count()
        return getattr(os, name)
    def count(self):
        self.left -= 1
        if self.left < 0:
            os._exit(9)

house._MIN_JOURNALS, house._SETTLED_S, house.os = 2, -1, Crashing()
content = house._journal_content
house._journal_content = lambda path: house.os.count() or content(path)
for place, directory in enumerate(sys.argv[1:]):
    if os.fork() == 0:
        house.os.left = place
        for _ in range(2):
            house.keep_house(directory, Retention(None, None))
            os.utime(f"{directory}/.housekeeping", (0, 0))
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.wait()[1]))
"""


def test_a_crash_at_any_moment_leaves_every_event_and_at_most_a_hidden_file(tmp_path: Path) -> None:
    """Which is removed a day later."""
    directories = [tmp_path / str(number) for number in range(40)]
    for directory in directories:
        dead(directory, 4)
    codes = run_program(CRASHES, *map(str, directories)).split()
    assert 15 < codes.count("9") < len(codes), "and the last ones got through"
    left = []
    for directory in directories:
        found = [record["record"]["name"] for key, record in rebuilt(directory).items() if len(key) == 32]
        assert len(found) == 4
        hidden = [path for path in files(directory) if path.name.startswith(".")]
        assert len(hidden) <= 1
        left += hidden
        for path in hidden:
            age(path, 86_400 + 60)
        with eager():
            keep(directory)
            keep(directory)
        assert files(directory) == bundles(directory)
    assert left
