"""Retention: what is too old or too much goes, the oldest first, and never what a living process writes."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent_run_id import RunRegistry, housekeeping
from agent_run_id.settings import Retention, retention
from tests.journal_programs.houses import (
    Folder,
    age,
    bundles,
    dead,
    eager,
    files,
    folders,
    keep,
    quiet,
    rebuilt,
    size_of,
)
from tests.journal_programs.journals import journals_of, write_journal
from tests.journal_programs.programs import Program, run_program
from tests.journal_programs.worlds import everything

if TYPE_CHECKING:
    from collections.abc import Callable

DAY_S = 86_400
MIB = 1024 * 1024

# What goes, and in which order ----------------------------------------------------------------------------------------


@settings(max_examples=50)
@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 3000)), min_size=1, max_size=12),
    st.none() | st.integers(16, 20_000),
    st.none() | st.integers(0, 39).map(lambda days: days + 0.5),
)
def test_the_oldest_go_first_and_no_more_than_have_to(
    made: list[tuple[int, int]], limit: int | None, days: float | None
) -> None:
    """A quarter of the limit is left free, for a file that is begun and for a bundle."""
    with tempfile.TemporaryDirectory() as temporary:
        directory, ages = Path(temporary), {}
        for number, (age_days, size) in enumerate(made, 1):
            [path] = dead(directory, 1, first=number, age_s=age_days * DAY_S - number, size=size)
            ages[path] = age_days
        youngest_first = sorted(ages, key=lambda path: path.stat().st_mtime, reverse=True)
        sizes = [path.stat().st_size for path in youngest_first]
        keep(directory, Retention(days, limit))
        count = len(files(directory))
        assert [path for path in youngest_first if path.exists()] == youngest_first[:count]

        def stays(count: int) -> bool:
            is_young = days is None or all(ages[path] < days for path in youngest_first[:count])
            return is_young and (limit is None or sum(sizes[:count]) + 2 * max(1, limit // 8) <= limit)

        assert stays(count)
        assert count == len(made) or not stays(count + 1)


def test_thirty_days_and_five_gibibytes_are_kept_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AGENT_RUN_RETENTION_DAYS", "AGENT_RUN_RETENTION_BYTES"):
        monkeypatch.delenv(name, raising=False)
    old, young = dead(tmp_path, 1, age_s=30 * DAY_S + 60), dead(tmp_path, 1, first=2, age_s=30 * DAY_S - 60)
    large = dead(tmp_path, 6, first=3)
    for place, path in enumerate(large):
        os.truncate(path, 1024 * MIB)  # of which nothing is on the disk
        age(path, 600 - place)
    keep(tmp_path, retention())
    assert [path.exists() for path in old + young] == [False, False], "too old, and older than what is too much"
    assert [path.exists() for path in large] == [False, False, True, True, True, True]
    [alone] = dead(tmp_path, 1, first=2, age_s=30 * DAY_S - 60)
    keep(tmp_path, retention())
    assert alone.exists()


@pytest.mark.parametrize("said", ["configured", "off"])
def test_none_and_off_keep_everything(said: str, tmp_path: Path) -> None:
    made = [*dead(tmp_path, 3, age_s=4000 * DAY_S), *dead(tmp_path, 3, first=4, size=1000)]
    program = """
import sys
import agent_run_id as ari
if sys.argv[2] == "configured":
    ari.configure(retention_days=None, retention_bytes=None)
ari.RunRegistry(sys.argv[1]).find()
"""
    few = {"AGENT_RUN_RETENTION_DAYS": "1", "AGENT_RUN_RETENTION_BYTES": "10"}
    env = few if said == "configured" else dict.fromkeys(few, "off")
    run_program(program, str(tmp_path), said, env=env)
    assert all(path.exists() for path in made)


def test_readers_remove_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What they have just read is forgotten when they look the next time."""
    monkeypatch.setenv("AGENT_RUN_RETENTION_DAYS", "5")
    dead(tmp_path, 2, age_s=6 * DAY_S)
    dead(tmp_path, 1, first=3)
    with RunRegistry(tmp_path) as registry:
        registry.find()
        assert len(registry.find()) == 1
    assert len(files(tmp_path)) == 1


@settings(max_examples=30)
@given(folders(copied=False), st.lists(st.integers(0, 3000), min_size=1, max_size=4), st.data())
def test_the_index_forgets_what_was_removed(folder: Folder, limits: list[int], data: st.DataObject) -> None:
    """It is then the one that is built of what is left; also where clocks made the later files the older ones.

    Copies are left out: of a death that it has seen the index goes on knowing when only a copy is left.
    """
    with tempfile.TemporaryDirectory() as temporary, contextlib.ExitStack() as stack:
        directory = Path(temporary)
        folder.write(directory, stack)
        registry = stack.enter_context(quiet(RunRegistry(directory)))
        stack.enter_context(eager())
        for limit in sorted(limits, reverse=True):
            for path in files(directory):
                age(path, data.draw(st.integers(0, 3)))
            everything(registry)
            keep(directory, Retention(None, limit or None))
            assert everything(registry) == rebuilt(directory)


@settings(max_examples=30)
@given(folders(copied=False), st.data())
def test_the_index_forgets_what_somebody_deleted(folder: Folder, data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as temporary, contextlib.ExitStack() as stack:
        directory = Path(temporary)
        folder.write(directory, stack)
        registry = stack.enter_context(quiet(RunRegistry(directory)))
        everything(registry)
        for path in files(directory):
            if data.draw(st.booleans()):
                path.unlink()
        assert everything(registry) == rebuilt(directory)
        [(processes,)] = registry._index.read(
            "SELECT count(*) FROM processes WHERE pk NOT IN (SELECT process FROM parts)"
        )
        assert processes == 0


# Never what a living process writes -----------------------------------------------------------------------------------

ROTATING = """
import sys
import agent_run_id.journal_file as room
from agent_run_id import accounts, start_run
room._LOOK_US, room.SEGMENT_BYTES = 0, 1000
run = start_run("living")
for line in sys.stdin:
    for number in range(int(line)):
        run.step("s" * 50)
    print(accounts(), flush=True)
"""


def test_of_a_living_process_only_what_it_has_finished_goes(tmp_path: Path) -> None:
    """The file it writes stays, however large and old; its first file goes, and it is known to live all the same."""
    with Program(ROTATING, directory=tmp_path) as program, quiet(RunRegistry(tmp_path)) as registry:
        program.tell("60")
        program.hear()
        *finished, current = sorted(files(tmp_path))
        assert len(finished) > 2
        for path in files(tmp_path):
            age(path, 90 * DAY_S)
        keep(tmp_path, Retention(30, 1))
        assert files(tmp_path) == [current]
        for _ in range(3):
            registry.find()
            assert [row["state"] for row in registry._index.read("SELECT state FROM processes")] == ["alive"]
            program.tell("20")
            assert "dropped=0" in program.hear()


KINDS: dict[str, Callable[[Path], Path]] = {
    "of another host": lambda directory: write_journal(directory, [], host="elsewhere"),
    "of another boot": lambda directory: write_journal(directory, [], boot="before"),
    "of nobody": lambda directory: directory.joinpath("journal", "x.jsonl"),
}


@pytest.mark.parametrize("kind", list(KINDS))
def test_what_may_be_of_a_living_process_goes_by_its_age_alone(kind: str, tmp_path: Path) -> None:
    others = dead(tmp_path, 3)
    path = KINDS[kind](tmp_path)
    path.touch()
    with eager():
        keep(tmp_path, Retention(30, 1))
        assert path.exists()
        assert not any(other.exists() for other in others)
        keep(tmp_path)
        age(path, 31 * DAY_S)
        keep(tmp_path, Retention(30, None))
        assert not path.exists()


# Two months -----------------------------------------------------------------------------------------------------------

WRITES_DAILY = """
import os, sys, time
import agent_run_id.housekeeping as house
import agent_run_id.journal_file as room
from agent_run_id import start_run
clock, today = time.time_ns, 0
time.time_ns = lambda: clock() + today * 86_400 * 10**9  # files are aged instead, from outside
room._LOOK_US = 0
house._MIN_JOURNALS, house._MIN_BUNDLES, house._SETTLED_S = 8, 4, -1
for today, kind in enumerate(sys.stdin):
    if kind.strip() == "alone":
        for number in range(4):
            start_run(f"day {today}", input="x" * 900).end()
    else:
        for number in range(4):
            if os.fork() == 0:
                start_run(f"day {today}", input="x" * 900).end()
                os._exit(0)
            os.wait()
    print(today, flush=True)
"""


@pytest.mark.parametrize("limit", [60_000, 200_000])
@pytest.mark.parametrize("kind", ["alone", "in short processes"])
def test_a_program_that_nobody_looks_at_fills_no_disk(kind: str, limit: int, tmp_path: Path) -> None:
    """For sixty days: below its limit on each, no file older than it may be, and what is young enough is there."""
    days = 10
    env = {"AGENT_RUN_RETENTION_DAYS": str(days), "AGENT_RUN_RETENTION_BYTES": str(limit)}
    sizes = []
    with Program(WRITES_DAILY, directory=tmp_path, env=env) as program:
        for day in range(60):
            program.tell(kind)
            assert program.hear() == str(day)
            assert size_of(tmp_path) <= limit
            sizes.append(size_of(tmp_path))
            text = b"".join(path.read_bytes() for path in files(tmp_path)).decode()
            there = {each for each in range(60) if f'"name":"day {each}"' in text}
            assert max(there) == day
            assert min(there) >= day - days - 3, "an eighth longer at the most, and until somebody keeps house"
            assert {day, max(0, day - 3)} <= there
            assert len(files(tmp_path)) < 40
            for path in [*files(tmp_path), tmp_path / ".housekeeping"]:
                age(path, DAY_S)
    assert max(sizes) > limit / 4, "it is used"


def test_a_bundle_keeps_nothing_much_longer_than_it_is_to_be_kept(tmp_path: Path) -> None:
    """It goes when the youngest in it is too old, so it may not take in younger ones for ever."""
    retention = Retention(8, None)
    with eager():
        for day in range(40):
            dead(tmp_path, 3, first=day * 3 + 1)
            keep(tmp_path, retention)
            keep(tmp_path, retention)
            numbers = {
                int(line.split(b'"run": "')[1][:8], 16)
                for path in files(tmp_path)
                for line in path.read_bytes().splitlines()
                if b'"run": "' in line
            }
            assert min(numbers) > (day - 8 - 2) * 3
            for path in files(tmp_path):
                age(path, DAY_S)
        assert len(files(tmp_path)) <= 12


def test_a_bundle_is_a_small_part_of_what_is_kept(tmp_path: Path) -> None:
    """Or retention would remove nearly everything at once."""
    with eager():
        for first in range(1, 200, 20):
            dead(tmp_path, 20, first=first, size=1000)
            for _ in range(5):
                keep(tmp_path, Retention(None, 100_000))
                assert size_of(tmp_path) <= 100_000
    assert bundles(tmp_path)
    assert max(path.stat().st_size for path in files(tmp_path)) < 100_000 / 8 + 5000
    assert size_of(tmp_path) > 50_000


# When something is in the way -----------------------------------------------------------------------------------------


def test_what_cannot_be_removed_keeps_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does it keep a bundle from losing the rest of what was put into it."""
    stays, *others = dead(tmp_path, 5, age_s=40 * DAY_S)

    class Guarded:
        def __getattr__(self, name: str) -> object:
            return getattr(os, name)

        def unlink(self, path: str) -> None:
            if path == str(stays):
                raise PermissionError
            Path(path).unlink()

    monkeypatch.setattr(housekeeping, "os", Guarded())
    with eager():
        keep(tmp_path)
        keep(tmp_path)
        assert files(tmp_path) == [stays, *bundles(tmp_path)]
        keep(tmp_path, Retention(30, None))
    assert files(tmp_path) == [stays]
    assert not any(path.exists() for path in others)


@pytest.mark.parametrize("kind", ["directory", "pipe", "link"])
def test_what_is_no_file_is_left_alone(kind: str, tmp_path: Path) -> None:
    """To open a pipe waits for whoever writes to it."""
    [target] = dead(tmp_path / "elsewhere", 1)
    made = dead(tmp_path, 4, age_s=40 * DAY_S)
    odd = tmp_path / "journal" / "odd.jsonl"
    if kind == "pipe":
        os.mkfifo(odd)
    elif kind == "link":
        odd.symlink_to(target)
    else:
        odd.mkdir()
    os.utime(odd, (0, 0), follow_symlinks=False)
    with eager():
        keep(tmp_path)
        keep(tmp_path, Retention(30, 1))
    assert files(tmp_path) == [odd]
    assert target.exists()
    assert not any(path.exists() for path in made)


def test_what_never_got_its_name_goes_after_a_day(tmp_path: Path) -> None:
    [young, old] = [path.rename(path.with_name(f".{path.name}.new")) for path in dead(tmp_path, 2)]
    age(old, DAY_S + 60)
    keep(tmp_path)
    assert files(tmp_path) == [young]


HINDERED = """
import os, sys
import agent_run_id.housekeeping as house
import agent_run_id.journal_file as room
from agent_run_id import accounts, start_run
room._LOOK_US, room.SEGMENT_BYTES, house._EVERY_S = 0, 2000, -1
def refuse(*args, **options):
    raise PermissionError(13, "refused")
class Hindered:
    def __getattr__(self, name):
        return refuse if name in sys.argv[1:] else getattr(os, name)
house.os = Hindered()
run = start_run("hindered")
for number in range(100):
    run.step("s" * 50)
print(accounts().dropped)
"""


@pytest.mark.parametrize("calls", [["listdir"], ["unlink"], ["open"], ["stat"], ["rename"], ["utime"], ["urandom"]])
def test_a_program_that_cannot_keep_house_records_all_the_same(calls: list[str], tmp_path: Path) -> None:
    dead(tmp_path, 100, age_s=2 * DAY_S)
    env = {"AGENT_RUN_RETENTION_DAYS": "1.5", "AGENT_RUN_RETENTION_BYTES": "50000"}
    with Program(HINDERED, *calls, directory=tmp_path, env=env) as program:
        assert program.finish().split() == ["0"]
        assert program.complaints() == ""
    text = b"".join(path.read_bytes() for path in journals_of(tmp_path))
    assert text.count(b'"run.step"') == 100
