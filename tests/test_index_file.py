"""The file of an index: damaged, deleted or out of reach, it costs nobody a run."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from agent_run_id import RunId, RunRegistry, StoreError
from tests.journal_programs.indexes import NAME, SEEN, index_of, some_runs
from tests.journal_programs.journals import event, write_journal
from tests.journal_programs.programs import IS_ROOT, NOBODY, run_program

if TYPE_CHECKING:
    from collections.abc import Callable

# An index that is damaged ---------------------------------------------------------------------------------------------


def names_of(registry: RunRegistry) -> list[str | None]:
    return [record.name for record in registry.find(limit=None)]


DAMAGES: dict[str, Callable[[Path], object]] = {
    "deleted": lambda path: path.unlink(),
    "emptied": lambda path: path.write_bytes(b""),
    "garbage": lambda path: path.write_bytes(b"garbage" * 1000),
    "cut in half": lambda path: os.truncate(path, path.stat().st_size // 2),
    "cut by a page": lambda path: os.truncate(path, path.stat().st_size - 4096),
    "a directory of tables of another": lambda path: _another_database(path),
    "all but the first page zero": lambda path: _zero(path, 4096),
    "the second half zero": lambda path: _zero(path, path.stat().st_size // 2),
    "all but the header zero": lambda path: _zero(path, 100),
}


def _zero(path: Path, start: int) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:start] + bytes(len(data) - start))


def _another_database(path: Path) -> None:
    path.unlink()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript("CREATE TABLE runs (a, b); CREATE TABLE events (c);")


@pytest.mark.parametrize("damage", list(DAMAGES))
def test_an_index_that_is_damaged_is_made_anew(damage: str, tmp_path: Path) -> None:
    some_runs(tmp_path)
    with RunRegistry(tmp_path) as registry:
        assert len(names_of(registry)) == 300
    DAMAGES[damage](index_of(tmp_path))
    with RunRegistry(tmp_path) as registry:
        assert names_of(registry) == ["x" * 50] * 300
        assert len(registry.events(RunId("00000001-0000-4000-8000-000000000000"))) == 1


def test_an_index_with_any_page_damaged_is_made_anew(tmp_path: Path) -> None:
    """Also where bringing it up to date does not meet the page, and only answering does."""
    some_runs(tmp_path)
    with RunRegistry(tmp_path) as registry:
        assert len(names_of(registry)) == 300
    good = index_of(tmp_path).read_bytes()
    for page in range(1, len(good) // 4096):
        index_of(tmp_path).write_bytes(good[: page * 4096] + b"\xa5" * 4096 + good[(page + 1) * 4096 :])
        with RunRegistry(tmp_path) as registry:
            assert names_of(registry) == ["x" * 50] * 300
            assert len(registry.events(RunId("0000000a-0000-4000-8000-000000000000"))) == 1
            assert len(registry.children(RunId("0000000b-0000-4000-8000-000000000000"))) == 0


@pytest.mark.parametrize("damage", ["deleted", "emptied", "garbage"])
def test_an_index_that_is_damaged_while_it_is_open_does_not_stop_its_reader(damage: str, tmp_path: Path) -> None:
    some_runs(tmp_path)
    with RunRegistry(tmp_path) as registry:
        assert len(names_of(registry)) == 300
        DAMAGES[damage](index_of(tmp_path))
        write_journal(tmp_path, [event(1, "run.started", SEEN, name="new")], name="two", process="b" * 32)
        assert len(names_of(registry)) == 301
    with RunRegistry(tmp_path) as registry:
        assert len(names_of(registry)) == 301


def test_an_index_laid_out_otherwise_is_made_anew(tmp_path: Path) -> None:
    some_runs(tmp_path, 3)
    with RunRegistry(tmp_path) as registry:
        assert len(registry.find()) == 3
        path = registry._index.path
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("DROP TABLE runs")
        database.execute("CREATE TABLE runs (something_else TEXT)")
        database.execute("PRAGMA user_version = 7")
    with RunRegistry(tmp_path) as registry:
        assert len(registry.find()) == 3


# Where it is ----------------------------------------------------------------------------------------------------------


def test_only_its_user_can_read_the_index(tmp_path: Path) -> None:
    """Also where the directory was made by the user, open to all, and whatever the mask."""
    some_runs(tmp_path)
    tmp_path.chmod(0o755)
    program = """
import os, sys
os.umask(0o022)
from agent_run_id import RunRegistry
registry = RunRegistry(sys.argv[1])
registry.find()
for entry in os.scandir(sys.argv[1]):
    if entry.is_file():
        print(entry.name, oct(entry.stat().st_mode & 0o777))
"""
    found = dict(line.split() for line in run_program(program, str(tmp_path)).splitlines())
    assert f"{NAME}-wal" in found
    assert set(found.values()) == {"0o600"}


READ_ONLY = """
import os, sys
from agent_run_id import RunRegistry
directory, user = sys.argv[1], int(sys.argv[2])
with RunRegistry("/nowhere") as registry:  # what is imported late is imported before the user changes
    registry.find()
if user >= 0:
    os.setuid(user)
with RunRegistry(directory) as registry:
    print(len(registry.find()), registry._index.path)
    print(len(registry.find()), os.listdir(directory))
"""


@pytest.mark.parametrize("cache", ["cache", "unwritable"])
def test_a_directory_that_cannot_be_written_is_read_through_the_cache(cache: str) -> None:
    """And where that cannot be written either, without one."""
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        place.chmod(0o755)
        some_runs(place / "runs", 5)
        (place / "cache").mkdir()
        (place / "unwritable").mkdir(mode=0o500)
        if IS_ROOT:
            for each in place.rglob("*"):
                os.chown(each, NOBODY, -1)
        (place / "runs").chmod(0o500)
        env = {"XDG_CACHE_HOME": str(place / cache), "HOME": str(place)}
        said = run_program(READ_ONLY, str(place / "runs"), str(NOBODY if IS_ROOT else -1), env=env)
        count, where = said.splitlines()[0].split()
        path = Path(where)
        assert count == "5"
        assert said.splitlines()[1] == "5 ['journal']"
        assert path.is_relative_to(place / cache)
        if cache == "cache":
            assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
            assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_directory_that_cannot_be_read_says_so() -> None:
    program = """
import os, sys
from agent_run_id import RunRegistry, StoreError
directory, user = sys.argv[1], int(sys.argv[2])
with RunRegistry("/nowhere") as registry:
    registry.find()
if user >= 0:
    os.setuid(user)
try:
    RunRegistry(directory).find()
except StoreError as error:
    print(error)
"""
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        place.chmod(0o755)
        some_runs(place / "runs", 1)
        (place / "runs" / "journal").chmod(0)
        said = run_program(program, str(place / "runs"), str(NOBODY if IS_ROOT else -1), env={"HOME": temporary})
        assert "cannot be read: Permission denied" in said
        (place / "runs" / "journal").chmod(0o700)


@pytest.mark.parametrize("place", ["empty", "missing", "file"])
def test_a_directory_without_journals_holds_no_runs(place: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    with RunRegistry(tmp_path / place) as registry:
        if place == "file":
            with pytest.raises(StoreError):
                registry.find()
            return
        assert registry.find() == []
        with pytest.raises(LookupError):
            registry.get("@last")
        assert (tmp_path / place).exists() == (place == "empty")
        some_runs(tmp_path / place, 3)
        assert len(registry.find()) == 3
