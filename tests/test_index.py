"""The index: whatever the order, the copies and the readers, it holds every event once."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent_run_id import RunId, RunRegistry, StoreError
from agent_run_id import index as index_room
from agent_run_id.index import INDEX_VERSION, Index
from agent_run_id.reading import state_of
from tests.journal_programs.journals import encode, event, held, journals_of, write_journal
from tests.journal_programs.programs import FORKS_WITH_THREADS, Program, run_program
from tests.journal_programs.worlds import Part, World, everything, worlds
from tests.strategies import json_values

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from agent_run_id.reading import Header, State

NAME = f"index-{INDEX_VERSION}.sqlite3"
IS_ROOT = os.geteuid() == 0
NOBODY = 54321

# The laws ------------------------------------------------------------------------------------------------------------


def write_part(directory: Path, part: Part, name: str) -> Path:
    return write_journal(directory, part.lines, name=name, process=part.process, segment=part.segment)


@contextlib.contextmanager
def written(world: World, names: Sequence[str]) -> Iterator[Path]:
    """The journals of a world under these names, by which readers order them, and the living holding their locks."""
    with tempfile.TemporaryDirectory() as temporary, contextlib.ExitStack() as locks:
        directory = Path(temporary)
        for part, name in zip(world.parts, names, strict=True):
            path = write_part(directory, part, name)
            if part.alive and part.segment == 1:
                locks.enter_context(held(path))
        yield directory


def read_all(directory: Path) -> dict[str, Any]:
    with RunRegistry(directory) as registry:
        return everything(registry)


def numbered(world: World) -> list[str]:
    return [f"{place:02}" for place in range(len(world.parts))]


@settings(max_examples=25)
@given(worlds(), st.data())
def test_the_order_in_which_journals_are_read_does_not_matter(world: World, data: st.DataObject) -> None:
    names = numbered(world)
    with written(world, names) as directory:
        expected = read_all(directory)
    with written(world, data.draw(st.permutations(names))) as directory:
        assert read_all(directory) == expected


@settings(max_examples=20)
@given(worlds(), st.data())
def test_copies_of_journals_count_once(world: World, data: st.DataObject) -> None:
    """Neither an event nor the state of a process changes with a copy, whichever is read first."""
    names = [f"m{name}" for name in numbered(world)]
    with written(world, names) as directory:
        expected = read_all(directory)
        for path in journals_of(directory):
            for prefix in data.draw(st.lists(st.sampled_from("az"), unique=True)):
                shutil.copy(path, path.with_name(f"{prefix}-{path.name}"))
        index_of(directory).unlink()
        with RunRegistry(directory) as registry:
            assert everything(registry) == expected
            assert everything(registry) == expected


@settings(max_examples=20)
@given(worlds(), st.data())
def test_an_index_that_grew_is_the_one_that_is_built_at_once(world: World, data: st.DataObject) -> None:
    """Journals grow by any number of bytes between two looks, also in the middle of a line; then processes die."""
    names = numbered(world)
    with written(world, names) as directory:
        paths = journals_of(directory)
        whole = [path.read_bytes() for path in paths]
        with contextlib.ExitStack() as locks, RunRegistry(directory) as registry:
            for path, content in zip(paths, whole, strict=True):
                path.write_bytes(content[: content.index(b"\n") + 1])
            for path, part in zip(paths, world.parts, strict=True):
                if part.segment == 1 and not part.alive:
                    locks.enter_context(held(path))
            for place in data.draw(st.lists(st.sampled_from(range(len(paths))), max_size=6)):
                size = paths[place].stat().st_size
                with paths[place].open("ab") as file:
                    file.write(whole[place][size : size + data.draw(st.integers(1, 300))])
                registry.find()
            for path, content in zip(paths, whole, strict=True):
                with path.open("ab") as file:
                    file.write(content[path.stat().st_size :])
            registry.find()
            locks.close()
            grown = everything(registry)
        for suffix in ("", "-wal", "-shm"):
            (directory / f"{NAME}{suffix}").unlink(missing_ok=True)
        assert read_all(directory) == grown


@settings(max_examples=20)
@given(worlds())
def test_reading_again_changes_nothing(world: World) -> None:
    with written(world, numbered(world)) as directory, RunRegistry(directory) as registry:
        first = everything(registry)
        assert everything(registry) == first
        with RunRegistry(directory) as another:
            assert everything(another) == first


JOURNAL_FIELDS = [
    "name", "kind", "key", "user_id", "session_id", "summary", "input", "output", "tags", "attributes", "links",
    "status", "error", "elapsed", "decision", "question", "options", "chosen", "why", "confidence", "outcome", "model",
    "input_tokens", "output_tokens", "cost", "currency", "call_id", "inclusive", "usage", "decisions", "refused_ends",
    "id", "process",
]  # fmt: skip
KINDS = ["run.started", "run.updated", "run.ended", "run.decision", "run.decision.outcome", "run.usage", "run.step"]
SEEN = RunId("11111111-1111-4111-8111-111111111111")
ODD = RunId("33333333-3333-4333-8333-333333333333")
GOOD = RunId("22222222-2222-4222-8222-222222222222")


def is_readable(lines: Sequence[Any], **header: Any) -> None:
    """A run beside what `lines` say can be found, and what they say can be shown."""
    with tempfile.TemporaryDirectory() as temporary:
        directory = Path(temporary)
        write_journal(directory, [event(1, "run.started", GOOD, name="good", tags=["t"])], process="f" * 32)
        write_journal(directory, lines, name="two", **header)
        with RunRegistry(directory) as registry:
            assert GOOD.value in [record.id for record in registry.find(limit=None)]
            assert GOOD.value in [record.id for record in registry.find(tag="t", status="lost")]
            everything(registry)
            for (key,) in registry._index.read("SELECT id FROM runs"):
                str(registry.tree(key.hex()))


@settings(max_examples=40)
@given(
    st.lists(
        st.tuples(st.sampled_from(KINDS), st.dictionaries(st.sampled_from(JOURNAL_FIELDS), json_values)), max_size=5
    )
)
def test_whatever_the_events_hold_every_run_can_be_read(events: list[tuple[str, dict[str, Any]]]) -> None:
    """One run that is recorded oddly - by a later version, or by nobody we know - hides no other."""
    is_readable([event(seq, kind, SEEN, **fields) for seq, (kind, fields) in enumerate(events, 1)])


def started(**fields: Any) -> dict[str, Any]:
    return event(1, "run.started", SEEN, **fields)


ODD_LINES: dict[str, list[Any]] = {
    "a status of the future": [started(), event(2, "run.ended", SEEN, status="skipped")],
    "an enormous duration": [started(), event(2, "run.ended", SEEN, elapsed=2**70)],
    "an immense duration": [started(), event(2, "run.ended", SEEN, elapsed=2**62)],
    "a negative duration": [started(), event(2, "run.ended", SEEN, elapsed=-5)],
    "a time after the last year": [event(1, "run.started", SEEN, time=2**62)],
    "a tag that is no text": [started(tags=[1, None])],
    "a link that is no text": [started(links=[7])],
    "attributes that are no mapping": [started(attributes=[1]), event(2, "run.updated", SEEN, attributes={"a": 1})],
    "a call that is numbered": [started(), event(2, "run.usage", SEEN, model=3, call_id=5, input_tokens=1.5)],
    "a reason that is no text": [started(), event(2, "run.decision", SEEN, question=1, why=2, confidence="high")],
    "infinity": [started(tags=["t"], attributes={"x": float("inf")})],
    "not a number": [started(tags=["t"], attributes={"x": float("nan")})],
    "a null character": [started(name="a\0b", tags=["a\0b"], attributes={"\0": "\0"})],
    "half a character": [encode(started(name="?")).replace(b"?", b"\xed\xa0\x80")],
    "half a character as a key": [encode(started(attributes={"?": 1})).replace(b"?", b"\xed\xa0\x80")],
    "an enormous number": [started(input=10**400)],
    "a run that is its own grandparent": [
        event(1, "run.started", RunId.from_token(f"{SEEN}.{ODD}.{ODD}.1")),
        event(2, "run.started", RunId.from_token(f"{ODD}.{SEEN}.{SEEN}.1")),
    ],
    **{f"{depth} levels": [encode(started(input="?")).replace(b'"?"', b"[" * depth + b"]" * depth)]
       for depth in (100, 300, 900, 3000, 100_000)},
}  # fmt: skip


@pytest.mark.parametrize("odd", list(ODD_LINES))
def test_an_odd_line_stops_no_reader(odd: str) -> None:
    is_readable(ODD_LINES[odd])


@pytest.mark.parametrize(
    "header",
    [
        {"inode": 2**63 + 5},
        {"inode": "seven"},
        {"segment": 2**70},
        {"segment": -1},
        {"pid": "seven"},
        {"pid": 2**70},
        {"pid": -1},
        {"host": 7, "program": [], "boot": {}},
        {"process": "7"},
        {"id": 7, "state": 7},
    ],
    ids=str,
)
def test_an_odd_header_stops_no_reader(header: dict[str, Any]) -> None:
    """Some file systems number their files with 64 bits."""
    is_readable([started(name="odd")], **header)


def test_events_and_fields_of_the_future_are_kept(tmp_path: Path) -> None:
    lines = [
        started(name="run", v=7, colour="red"),
        event(2, "run.of_the_future", SEEN, v=7, anything={"x": [1]}),
        event(3, "run.ended", SEEN, status="succeeded"),
    ]
    write_journal(tmp_path, lines, v=7, shape="round")
    with RunRegistry(tmp_path) as registry:
        assert registry.get(SEEN).status == "succeeded"
        assert [(found.type, found.data) for found in registry.events(SEEN)] == [
            ("run.started", {"name": "run", "colour": "red"}),
            ("run.of_the_future", {"anything": {"x": [1]}}),
            ("run.ended", {"status": "succeeded"}),
        ]


def unreadable(registry: RunRegistry) -> int:
    registry.find()
    [(count,)] = registry._index.read("SELECT sum(unreadable) FROM journals")
    return int(count)


def test_what_cannot_be_read_is_counted_and_the_rest_is_read(tmp_path: Path) -> None:
    whole = encode(event(4, "run.step", SEEN, name="glued"))
    lines: list[Any] = [
        started(name="run"),
        b"garbage\n",
        event(2, "run.step", SEEN, name="between"),
        b"\xff\xfe\x00\x80\n",
        b"[1]\n",
        b"\n",
        b"\x00" * 4096 + b"\n",
        encode(event(3, "run.step", SEEN, name="torn"))[:40] + whole,
        event(5, "run.ended", SEEN, status="failed"),
    ]
    write_journal(tmp_path, lines)
    with RunRegistry(tmp_path) as registry:
        assert unreadable(registry) == 5
        assert unreadable(registry) == 5
        assert [found.seq for found in registry.events(SEEN)] == [1, 2, 4, 5]
        assert registry.get(SEEN).status == "failed"


def test_a_json_object_that_is_no_event_is_counted_as_unreadable(tmp_path: Path) -> None:
    odd = [{"no": "event"}, {**started(), "seq": "one"}, {**started(), "run": "nobody"}, {**started(), "time": -1}]
    write_journal(tmp_path, [started(name="run"), *odd])
    with RunRegistry(tmp_path) as registry:
        assert [record.name for record in registry.find()] == ["run"]
        assert unreadable(registry) == len(odd)


def test_the_line_that_death_tore_is_counted(tmp_path: Path) -> None:
    """While its process lives it may be completed; afterwards it is unreadable for good."""
    path = write_journal(tmp_path, [started(name="run"), encode(event(2, "run.step", SEEN))[:50]])
    with RunRegistry(tmp_path) as registry:
        with held(path):
            assert unreadable(registry) == 0
        assert registry.get(SEEN).status == "lost"
        assert unreadable(registry) == 1
        assert unreadable(registry) == 1


# Death and its order --------------------------------------------------------------------------------------------------

ENDS_WHEN_TOLD = """
import os, sys
from agent_run_id import start_run
run = start_run("run")
print("recorded", flush=True)
sys.stdin.readline()
run.end(output="the last word")
os._exit(0)
"""


def test_what_a_process_recorded_just_before_its_death_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends its run and dies after a reader has listed the journals and before the reader asks whether it lives."""
    with Program(ENDS_WHEN_TOLD, directory=tmp_path) as program, RunRegistry(tmp_path) as registry:
        program.hear()
        assert registry.get("@last").status == "running"

        def dies_first(path: str, header: Header) -> State:
            if program.process.poll() is None:
                program.tell()
                program.process.wait()
            return state_of(path, header)

        monkeypatch.setattr(index_room, "state_of", dies_first)
        registry.find()
        monkeypatch.undo()
        record = registry.get("@last")
    assert (record.status, record.output) == ("succeeded", "the last word")


ROTATES_WHEN_TOLD = """
import shutil, sys
import agent_run_id.journal_file as room
from agent_run_id import start_run
room._LOOK_US = 0
directory, removed = sys.argv[1:]
run = start_run("first")
if removed == "removed":
    shutil.rmtree(directory)
    run.step("which nobody will read")
    run = start_run("second")
print("recorded", flush=True)
sys.stdin.readline()
room.SEGMENT_BYTES = 0
run.step("the last of its file")
run.step("the first of the next")
print("rotated", flush=True)
sys.stdin.readline()
"""


@pytest.mark.parametrize("removed", ["removed", "kept"])
def test_a_process_that_rotates_while_a_reader_looks_is_not_taken_for_dead(
    removed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reader has listed the journals and not the one that follows, and nobody writes to the listed one any more."""
    directory = tmp_path / "runs"
    with Program(ROTATES_WHEN_TOLD, str(directory), removed, directory=directory) as program:
        program.hear()

        def rotates_first(path: str, header: Header) -> State:
            program.tell()
            program.hear()
            monkeypatch.setattr(index_room, "state_of", state_of)
            return state_of(path, header)

        monkeypatch.setattr(index_room, "state_of", rotates_first)
        with RunRegistry(directory) as registry:
            assert {record.status for record in registry.find()} == {"running"}
            assert {record.status for record in registry.find()} == {"running"}
            assert len(journals_of(directory)) >= 2
            program.kill()
            assert {record.status for record in registry.find()} == {"lost"}


def test_the_end_by_the_owner_that_arrives_late_beats_lost(tmp_path: Path) -> None:
    """It was in a journal that was not there yet."""
    write_journal(tmp_path, [started(name="run")])
    with RunRegistry(tmp_path) as registry:
        assert registry.get(SEEN).status == "lost"
        write_journal(tmp_path, [event(2, "run.ended", SEEN, status="failed")], name="two", segment=2)
        assert registry.get(SEEN).status == "failed"
        index_of(tmp_path).unlink()
    with RunRegistry(tmp_path) as registry:
        assert registry.get(SEEN).status == "failed"


def test_the_end_by_a_process_that_does_not_own_the_run_is_refused_and_counted(tmp_path: Path) -> None:
    own = write_journal(tmp_path, [started(name="run")])
    end = event(1, "run.ended", SEEN, status="succeeded", output="stolen", time=1)
    write_journal(tmp_path, [end, {**end, "seq": 2}], name="two", process="b" * 32)
    with RunRegistry(tmp_path) as registry, held(own):
        record = registry.get(SEEN)
        assert (record.status, record.output, record.refused_ends) == ("running", None, 2)
        assert len(registry.events(SEEN)) == 3


def test_only_the_first_end_counts(tmp_path: Path) -> None:
    ends = [event(seq, "run.ended", SEEN, status=status) for seq, status in enumerate(["cancelled", "failed"], 2)]
    write_journal(tmp_path, [started(name="run"), *ends])
    with RunRegistry(tmp_path) as registry:
        assert (registry.get(SEEN).status, registry.get(SEEN).refused_ends) == ("cancelled", 0)


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


# An index that is damaged ---------------------------------------------------------------------------------------------


def some_runs(directory: Path, count: int = 300) -> None:
    """Enough for an index of many pages, by a process that has died."""
    ids = [RunId(f"{number:08x}-0000-4000-8000-000000000000") for number in range(1, count + 1)]
    write_journal(directory, [event(seq, "run.started", run, name="x" * 50) for seq, run in enumerate(ids, 1)])


def names_of(registry: RunRegistry) -> list[str | None]:
    return [record.name for record in registry.find(limit=None)]


def index_of(directory: Path) -> Path:
    return directory / NAME


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
        signal.alarm(5)
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


def test_a_journal_that_another_process_removes_meanwhile_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Retention does, at any moment."""
    some_runs(tmp_path, 2)
    gone = write_journal(tmp_path, [started(name="gone")], name="zzz", process="b" * 32)

    def removed_first(path: str, header: Header) -> State:
        gone.unlink(missing_ok=True)
        return state_of(path, header)

    monkeypatch.setattr(index_room, "state_of", removed_first)
    with RunRegistry(tmp_path) as registry:
        assert len(registry.find()) == 2


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
