"""Building an index: told of, killed, raced for, without room, and beside that of another version."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from agent_run_id import Progress, RunId, RunRegistry
from agent_run_id.index import INDEX_VERSION, database
from tests.journal_programs.indexes import NAME, SEEN, index_of, some_runs, started
from tests.journal_programs.journals import encode, event, held, write_journal
from tests.journal_programs.programs import Program, run_program

if TYPE_CHECKING:
    from pathlib import Path

MANY = 45_000
"""More than one batch of events."""


def many_runs(directory: Path, count: int = MANY) -> None:
    ids = [RunId(f"{number:08x}-0000-4000-8000-000000000000") for number in range(1, count + 1)]
    write_journal(directory, [event(seq, "run.started", run, name="run") for seq, run in enumerate(ids, 1)])


def beside(directory: Path) -> set[str]:
    return {path.name for path in directory.glob("index*")}


# Progress -------------------------------------------------------------------------------------------------------------


def test_progress_is_told_and_ends_when_all_is_read(tmp_path: Path) -> None:
    many_runs(tmp_path)
    told: list[Progress] = []
    with RunRegistry(tmp_path, progress=told.append) as registry:
        assert len(registry.find(limit=3)) == 3
    size = sum(path.stat().st_size for path in (tmp_path / "journal").iterdir())
    assert len(told) >= 2
    assert {progress.total for progress in told} == {size}
    assert [progress.done for progress in told] == sorted({progress.done for progress in told})
    assert told[-1] == Progress(size, size)


def test_progress_is_of_what_is_new_and_of_nothing_where_nothing_is(tmp_path: Path) -> None:
    path = write_journal(tmp_path, [started(name="run")])
    told: list[Progress] = []
    with RunRegistry(tmp_path, progress=told.append) as registry, held(path):
        registry.find()
        told.clear()
        registry.find()
        assert told == []
        line = encode(event(2, "run.step", SEEN))
        with path.open("ab") as file:
            file.write(line + line[:20])
        registry.find()
        assert told == [Progress(len(line) + 20, len(line) + 20)]


def test_who_stops_a_build_leaves_nothing_of_it(tmp_path: Path) -> None:
    """As control-C does, while progress is told."""
    many_runs(tmp_path)

    def stop(_: Progress) -> None:
        raise KeyboardInterrupt

    with RunRegistry(tmp_path, progress=stop) as registry, pytest.raises(KeyboardInterrupt):
        registry.find()
    assert beside(tmp_path) == {f"{NAME}.lock"}
    with RunRegistry(tmp_path) as registry:
        assert registry.stats().runs == MANY


# Killed, and raced for ------------------------------------------------------------------------------------------------

BUILDS = """
import sys
from agent_run_id import RunRegistry
def tell(progress):
    print(f"{progress.done} of {progress.total}", flush=True)
    sys.stdin.readline()
RunRegistry(sys.argv[1], progress=tell).find()
"""


def test_a_build_that_is_killed_costs_the_next_reader_nothing(tmp_path: Path) -> None:
    """What it left is removed, and nobody waits for its lock."""
    many_runs(tmp_path)
    with Program(BUILDS, str(tmp_path)) as builder:
        builder.hear()
        builder.kill()
    [left] = beside(tmp_path) - {f"{NAME}.lock"}
    assert left.endswith(".new")
    with RunRegistry(tmp_path) as registry:
        assert registry.stats().runs == MANY
    assert beside(tmp_path) == {NAME, f"{NAME}.lock"}


def test_two_that_build_at_once_do_not_wait_for_each_other(tmp_path: Path) -> None:
    """As they do once somebody has deleted the file of the lock: each has what it asked for."""
    many_runs(tmp_path)
    with Program(BUILDS, str(tmp_path)) as builder:
        builder.hear()
        (tmp_path / f"{NAME}.lock").unlink()
        with RunRegistry(tmp_path) as registry:
            assert registry.stats().runs == MANY
        builder.finish()
    assert beside(tmp_path) == {NAME, f"{NAME}.lock"}
    with RunRegistry(tmp_path) as registry:
        assert registry.stats().runs == MANY


def test_an_index_is_not_replaced_by_one_that_is_not_whole(tmp_path: Path) -> None:
    """A damaged one that is made anew is there, damaged, until the new one is: its readers have it open."""
    many_runs(tmp_path)
    index_of(tmp_path).write_bytes(b"damaged" * 1000)
    with Program(BUILDS, str(tmp_path)) as builder:
        builder.hear()
        assert index_of(tmp_path).read_bytes() == b"damaged" * 1000
        builder.kill()
    with RunRegistry(tmp_path) as registry:
        assert registry.stats().runs == MANY


COUNTS = """
import sys
from agent_run_id import RunRegistry
print("ready", flush=True)
sys.stdin.readline()
told = []
with RunRegistry(sys.argv[1], progress=told.append) as registry:
    print(registry.stats().runs, len(registry.find(limit=None, name="run")), bool(told))
"""


def test_of_readers_that_race_for_an_index_one_makes_it_and_all_have_it(tmp_path: Path) -> None:
    many_runs(tmp_path)
    with contextlib.ExitStack() as stack:
        readers = [stack.enter_context(Program(COUNTS, str(tmp_path))) for _ in range(4)]
        for reader in readers:
            reader.hear()
        for reader in readers:
            reader.tell()
        said = [reader.finish().split() for reader in readers]
    assert [counts[:2] for counts in said] == [[str(MANY), str(MANY)]] * 4
    assert [counts[2] for counts in said].count("True") == 1


# No room --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pages", [1, 8, 40])
def test_where_there_is_no_room_for_an_index_the_answer_is_the_same(
    pages: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what was begun does not keep the little room there is."""
    some_runs(tmp_path, 3000)
    limited = (*database._FOR_BUILDING, f"max_page_count = {pages}")
    monkeypatch.setattr(database, "_FOR_BUILDING", limited)
    with RunRegistry(tmp_path) as registry:
        assert len(registry.find(limit=None)) == 3000
        assert registry.stats().runs == 3000
        assert len(registry.find(text="x" * 50, limit=None)) == 3000
        assert beside(tmp_path) == {f"{NAME}.lock"}
    monkeypatch.undo()
    with RunRegistry(tmp_path) as registry:
        assert len(registry.find(limit=None)) == 3000
        assert index_of(tmp_path).exists()


@pytest.mark.parametrize("act", ["read", "search"])
def test_where_there_is_no_room_for_what_is_new_the_answer_has_it(
    act: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full when an index grows; the index keeps what it has, for when there is room again."""
    some_runs(tmp_path, 10)
    with RunRegistry(tmp_path) as registry:
        registry.find()
        [[pages]] = registry._index.read("PRAGMA page_count")
    monkeypatch.setattr(database, "_FOR_SHARING", (*database._FOR_SHARING, f"max_page_count = {pages}"))
    write_journal(tmp_path, [started(name="new")] * (act == "read"), name="two", process="b" * 32)
    many = [
        event(seq, "run.step", SEEN, name=f"step{seq}", text=" ".join(map(str, range(seq)))) for seq in range(2, 900)
    ]
    write_journal(tmp_path, [started(name="new"), *many], name="two", process="b" * 32)
    asked: dict[str, Any] = {"text": "step899"} if act == "search" else {"name": "new"}
    with RunRegistry(tmp_path) as registry:
        for _ in range(2):
            assert [run.id for run in registry.find(**asked)] == [SEEN.value]
    monkeypatch.undo()
    with RunRegistry(tmp_path) as registry:
        assert [run.id for run in registry.find(**asked)] == [SEEN.value]
        assert registry.stats().runs == 11


SMALL_DISK = """
set -e
mount -t tmpfs -o size=$3k tmpfs "$1"
cp -r "$2" "$1/journal"
"$4" -c '
import os, sys
from agent_run_id import RunRegistry
with RunRegistry(sys.argv[1]) as registry:
    print(len(registry.find(limit=None)), registry.stats().runs, len(registry.find(text="xx", limit=None)))
    print(sorted(os.listdir(sys.argv[1])))
' "$1"
"""
CAN_MOUNT = (
    shutil.which("unshare") is not None
    and subprocess.run(["unshare", "-Urm", "true"], check=False, capture_output=True).returncode == 0
)


@pytest.mark.skipif(not CAN_MOUNT, reason="nothing may be mounted here")
@pytest.mark.parametrize("spare", [0, 4, 64, 200, 400, 1000, 2000])
def test_a_disk_that_is_full_keeps_nobody_from_reading(spare: int, tmp_path: Path) -> None:
    """At any moment: there is room for a part of the index, for all of it but its neighbours, or for none."""
    some_runs(tmp_path / "original", 3000)
    [journal] = (tmp_path / "original" / "journal").iterdir()
    journal.write_bytes(journal.read_bytes().replace(b"x" * 50, b"xx"))
    (tmp_path / "small").mkdir()
    size = -(-journal.stat().st_size // 4096) * 4 + 8 + spare
    where = [str(tmp_path / "small"), str(tmp_path / "original" / "journal"), str(size), sys.executable]
    run = subprocess.run(
        ["unshare", "-Urm", "sh", "-c", SMALL_DISK, "sh", *where],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert run.stderr == ""
    assert run.stdout.splitlines()[0] == "3000 3000 3000"
    assert ".new" not in run.stdout


# Another version ------------------------------------------------------------------------------------------------------

OLDER = """
import sys
from agent_run_id.index import database, layout
database.INDEX_VERSION -= 1
layout.LAYOUT = database.LAYOUT = 7  # what it was laid out as, then
layout._TABLES = layout._TABLES.replace("name TEXT,", "name TEXT, was TEXT,", 1)
from agent_run_id import RunRegistry
with RunRegistry(sys.argv[1]) as registry:
    print(len(registry.find()), registry._index.path.name)
    sys.stdin.readline()
    print(len(registry.find()), len(registry.find(text="x")))
"""


def test_two_versions_read_one_directory_each_through_an_index_of_its_own(tmp_path: Path) -> None:
    """Side by side, and neither touches what is not its own."""
    write_journal(tmp_path, [started(name="x")])
    older = f"index-{INDEX_VERSION - 1}.sqlite3"
    with Program(OLDER, str(tmp_path)) as reader, RunRegistry(tmp_path) as registry:
        assert reader.hear().split() == ["1", older]
        assert len(registry.find()) == 1
        write_journal(tmp_path, [event(1, "run.started", RunId.generate(), name="x")], name="two", process="b" * 32)
        before = (tmp_path / older).read_bytes()
        assert len(registry.find()) == len(registry.find(text="x")) == 2
        assert (tmp_path / older).read_bytes() == before
        assert reader.finish().split() == ["2", "2"]
    assert {older, NAME} <= beside(tmp_path)
    before = index_of(tmp_path).read_bytes()
    run_program(OLDER, str(tmp_path))
    assert index_of(tmp_path).read_bytes() == before
