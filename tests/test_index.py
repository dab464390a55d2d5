"""The index: whatever is read, and in whatever order, it holds every event once."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent_run_id import RunId, RunRegistry
from agent_run_id.index import folder as folder_room
from agent_run_id.index.rows import unwrapped
from agent_run_id.reading import state_of
from agent_run_id.testing.strategies import json_values
from tests.journal_programs.indexes import NAME, SEEN, index_of, started
from tests.journal_programs.journals import encode, event, held, journals_of, write_journal
from tests.journal_programs.programs import Program
from tests.journal_programs.worlds import Part, World, everything, worlds

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from agent_run_id.liveness import State
    from agent_run_id.reading import Header

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


def test_a_last_line_of_which_only_the_end_is_missing_is_read(tmp_path: Path) -> None:
    """All of the event is there: it is acknowledged when a disk is full, and in a bundle an end would follow."""
    end = encode(event(2, "run.ended", SEEN, status="failed")).rstrip()
    path = write_journal(tmp_path, [started(name="run"), end])
    with RunRegistry(tmp_path) as registry:
        with held(path):
            assert registry.get(SEEN).status == "failed"
            with path.open("ab") as file:
                file.write(b"\n" + encode(event(3, "run.step", SEEN)))
            assert [found.seq for found in registry.events(SEEN)] == [1, 2, 3]
        assert registry.get(SEEN).status == "failed"
        assert unreadable(registry) == 0


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


ROTATES_AND_ENDS_WHEN_TOLD = """
import os, sys
import agent_run_id.journal_file as room
from agent_run_id import start_run
room._LOOK_US = 0
run = start_run("run")
print("recorded", flush=True)
sys.stdin.readline()
room.SEGMENT_BYTES = 0
run.step("the last of its file")
run.end(output="the last word")
os._exit(0)
"""


@pytest.mark.parametrize("program", [ENDS_WHEN_TOLD, ROTATES_AND_ENDS_WHEN_TOLD], ids=["same file", "new file"])
def test_what_a_process_recorded_just_before_its_death_is_read_at_once(
    program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends its run and dies after a reader has listed the journals and before the reader asks whether it lives.

    No run that succeeded is said to be lost, also where its end is in a file that was not there yet.
    """
    with Program(program, directory=tmp_path) as running, RunRegistry(tmp_path) as registry:
        running.hear()
        assert registry.get("@last").status == "running"

        def dies_first(path: str, header: Header) -> State:
            if running.process.poll() is None:
                running.tell()
                running.process.wait()
            return state_of(path, header)

        monkeypatch.setattr(folder_room, "state_of", dies_first)
        record = registry.get("@last")
    assert (record.status, record.output) == ("succeeded", "the last word")
    assert (len(journals_of(tmp_path)) > 1) is (program is ROTATES_AND_ENDS_WHEN_TOLD)


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
            monkeypatch.setattr(folder_room, "state_of", state_of)
            return state_of(path, header)

        monkeypatch.setattr(folder_room, "state_of", rotates_first)
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


@pytest.mark.parametrize(
    ("count", "size", "kind"), [(3, 10, "run.step"), (70, 10, "run.step"), (3, 70_000, "run.step"), (3, 10, 'odd"')]
)
def test_what_happened_in_a_run_reads_the_same_however_it_came(
    tmp_path: Path, count: int, size: int, kind: str
) -> None:
    """Little of it is kept in the row of a run that was whole when it was first seen; much, and the odd, in others."""
    said = [event(seq, kind, SEEN, name=f"word{seq} {'x' * size}") for seq in range(2, count + 2)]
    updated = event(count + 2, "run.updated", SEEN, summary="halfway", output=[1e308])
    used = event(count + 3, "run.usage", SEEN, model="m", input_tokens=7)
    lines = [started(name="run"), *said, updated, used, event(count + 4, "run.ended", SEEN, status="succeeded")]
    whole, grown = tmp_path / "whole", tmp_path / "grown"
    write_journal(whole, lines)
    path = write_journal(grown, lines[:1])
    with RunRegistry(grown) as registry:
        with held(path), path.open("ab", buffering=0) as file:
            for line in lines[1:]:
                registry.find()
                file.write(encode(line))
        expected = everything(registry)
        found = [len(registry.find(text=f"word{seq}")) for seq in (2, count + 1)]
        assert registry.usage(SEEN).own.input_tokens == 7
    with RunRegistry(whole) as registry:
        assert everything(registry) == expected
        assert [len(registry.find(text=f"word{seq}")) for seq in (2, count + 1)] == found == [1, 1]
        assert registry.usage(SEEN).own.input_tokens == 7
        assert [line.seq for line in registry.events(SEEN)] == list(range(1, len(lines) + 1))


def test_what_was_recorded_is_kept_whole_wherever_it_is_kept(tmp_path: Path) -> None:
    """Also where what happened in a run ends with the end of something that is nested in it."""
    data = {"a": {"b": [{"c": 1}]}}
    lines = [started(name="run"), event(2, "run.step", SEEN, name="step", data=data), event(3, "run.ended", SEEN)]
    write_journal(tmp_path, lines)
    with RunRegistry(tmp_path) as registry:
        registry.find()
        [row] = registry._index.read("SELECT data FROM recorded WHERE type = 'run.step'")
        assert unwrapped(row["data"]) == {"name": "step", "data": data}
