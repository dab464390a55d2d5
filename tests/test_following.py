"""Watching: events of any process are handed out as they are recorded, in any kind of loop."""

from __future__ import annotations

import itertools
import os
import shutil
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import anyio.abc
import pytest

from agent_run_id import ROOT, InvalidCursorError, RunId, RunNotFound, RunRegistry, configure, start_run
from tests.journal_programs.houses import dead, eager, keep
from tests.journal_programs.journals import crafted, event, started, write_journal
from tests.journal_programs.programs import IS_ROOT, NOBODY, Program, run_program

if TYPE_CHECKING:
    from collections.abc import Iterable

    from agent_run_id.schema import EventRecord


def told(events: Iterable[EventRecord]) -> list[tuple[str, str]]:
    return [(event.type, event.run_id) for event in events]


def now() -> int:
    """In microseconds: whoever began long before a watch, and is over, is not new to it."""
    return time.time_ns() // 1000


def whole(run: Any) -> list[tuple[str, str]]:
    return [("run.started", run.id.value), ("run.ended", run.id.value)]


# What is seen ---------------------------------------------------------------------------------------------------------


def test_a_watch_begins_where_it_is_made(registry: RunRegistry) -> None:
    start_run("before").end()
    watch = registry.watch(timeout=0)
    with start_run("seen", input={"to": "Oslo"}) as run:
        pass
    first, last = watch
    assert told([first, last]) == whole(run)
    assert first.data == {"name": "seen", "kind": "task", "input": {"to": "Oslo"}}
    assert [first, last] == registry.events(run.id)
    assert list(watch) == []


def test_a_watch_made_before_the_directory_is_there_sees_everything(tmp_path: Path) -> None:
    watch = RunRegistry(tmp_path / "later").watch(timeout=0)
    assert list(watch) == []
    crafted(tmp_path / "later", [started(run) for run in (RunId.generate(), RunId.generate())], time=now())
    assert [event.seq for event in watch] == [1, 2]


def test_what_is_asked_after_a_watch_was_made_and_what_it_hands_out_leave_no_gap(registry: RunRegistry) -> None:
    with start_run("root") as root:
        start_run("one").end()
        watch = registry.watch(root.id, timeout=0)
        start_run("two").end()
        tree = registry.tree(root.id)
        start_run("three").end()
    assert [node.record.name for node in tree] == ["root", "one", "two"]
    assert [event.data["name"] for event in watch if event.type == "run.started"] == ["two", "three"]


WRITES = """
import sys
from agent_run_id import start_run
for line in sys.stdin:
    start_run(line.strip()).end()
    print("done", flush=True)
"""


def test_processes_that_are_born_and_killed_meanwhile_are_seen(registry: RunRegistry) -> None:
    watch = registry.watch(timeout=0)
    for number in range(3):
        with Program(WRITES, directory=registry.directory) as program:
            program.tell(f"run {number}")
            program.hear()
            program.kill()
        if number == 1:
            assert len(list(watch)) == 4
            watch = registry.watch(after=watch.cursor, timeout=0)
    assert [event.data["name"] for event in watch if event.type == "run.started"] == ["run 2"]


ROTATES = """
import os, sys, threading
import agent_run_id.housekeeping as house
import agent_run_id.journal_file as room
from agent_run_id import configure, start_run
room._LOOK_US, room.SEGMENT_BYTES = 0, 2000
house._MIN_JOURNALS, house._MIN_BUNDLES, house._SETTLED_S, house._EVERY_S = 2, 2, -1, -1
configure(retention_days=None, retention_bytes=None)

def record():
    for number in range(100):
        with start_run("step") as run:
            run.step("x" * 100)

for _ in range(3):
    if os.fork() == 0:
        threads = [threading.Thread(target=record) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        os._exit(0)
for _ in range(3):
    assert os.wait()[1] == 0
"""


@pytest.mark.parametrize("how", ["goes on", "resumes"])
def test_nothing_is_missed_or_twice_while_writers_rotate_and_fold(tmp_path: Path, how: str) -> None:
    with RunRegistry(tmp_path) as registry, Program(ROTATES, directory=tmp_path) as program:
        watch = registry.watch(timeout=30, poll=0.01)
        seen: list[tuple[str, int]] = []
        while len(seen) < 1800:
            seen += [(event.process_id, event.seq) for event in itertools.islice(watch, 90)]
            with eager():
                keep(tmp_path)
            if how == "resumes":
                watch = registry.watch(after=watch.cursor, timeout=30, poll=0.01)
        program.finish()
        with eager():
            for _ in range(3):
                keep(tmp_path)
        assert list(registry.watch(after=watch.cursor, timeout=0)) == []
    assert len(set(seen)) == len(seen) == 1800


def test_what_was_folded_while_nobody_watched_is_gone_on_with(tmp_path: Path) -> None:
    """Journals that were read in part, and others that came and went in between, all in bundles of bundles."""
    with RunRegistry(tmp_path) as registry, eager():
        dead(tmp_path, 5)
        watch = registry.watch(timeout=0)
        begun = now()
        for number in (6, 7):
            process = f"{number:032x}"
            lines = [started(RunId.generate()), started(RunId.generate())]
            crafted(tmp_path, lines, name=f"2-7-{process}.0001", process=process, time=begun)
        seen = [next(watch) for _ in range(3)]
        cursor = watch.cursor
        crafted(tmp_path, lines, name=f"2-7-{8:032x}.0001", process=f"{8:032x}", time=begun)
        for _ in range(4):
            keep(tmp_path)
        assert len(list((tmp_path / "journal").iterdir())) == 1
        seen += registry.watch(after=cursor, timeout=0)
    assert sorted((int(event.process_id, 16), event.seq) for event in seen) == [
        (6, 1), (6, 2), (7, 1), (7, 2), (8, 1), (8, 2)
    ]  # fmt: skip


def test_a_directory_that_is_replaced_under_a_watch_is_followed(registry: RunRegistry, tmp_path: Path) -> None:
    watch = registry.watch(timeout=0)
    start_run("before").end()
    assert len(list(watch)) == 2
    shutil.rmtree(Path(registry.directory, "journal"))
    assert list(watch) == []
    run_program(WRITES.replace("sys.stdin", "['after']"), directory=registry.directory)
    assert [event.data.get("name") for event in watch] == ["after", None]


def test_events_that_are_read_at_once_come_by_their_time(tmp_path: Path) -> None:
    watch = RunRegistry(tmp_path).watch(timeout=0)
    first, second = RunId.generate(), RunId.generate()
    lines = [event(1, "run.started", first, time=5), event(2, "run.ended", first, time=9)]
    write_journal(tmp_path, lines, time=now())
    write_journal(tmp_path, [event(1, "run.started", second, time=7)], name="0", process="f" * 32, time=now())
    assert told(watch) == [
        ("run.started", first.value),
        ("run.started", second.value),
        ("run.ended", first.value),
    ]


def test_what_cannot_be_read_costs_itself_alone(tmp_path: Path) -> None:
    watch = RunRegistry(tmp_path).watch(timeout=0)
    run = RunId.generate()
    bad: list[Any] = [
        b"garbage\n", {"v": 1, "type": "run.step", "run": "x", "time": 1, "seq": 1},
        {"type": "run.step", "run": run.value, "time": -1, "seq": 1}, b"\xff\n", b"\n", b"[]\n",
        {"type": 7, "run": run.value, "time": 1, "seq": 1}, {"type": "run.step", "run": run.value, "time": 1},
    ]  # fmt: skip
    path = write_journal(tmp_path, [*bad, event(1, "run.step", run), b'{"v":1,"torn'], time=now())
    (path.parent / "strange.jsonl").write_text("nothing of ours\n")
    (path.parent / "a-bundle-b.0001.jsonl").write_text("nothing of ours\n")
    assert [seen.seq for seen in watch] == [1]


# Below a run ----------------------------------------------------------------------------------------------------------


@pytest.mark.open_runs
def test_a_watch_of_a_run_is_of_all_below_it_at_any_depth_in_any_process(registry: RunRegistry) -> None:
    """Also where no token leads all the way up: each names its parent and its root alone."""
    with start_run("other"), start_run("top") as top, start_run("child") as child:
        watch = registry.watch(top.id, timeout=0)
        deeper = start_run("deeper", parent=child.id)
        with Program(WRITES, directory=registry.directory, env={"AGENT_RUN_ID": deeper.id.token}) as program:
            program.tell("deepest")
            program.hear()
        start_run("beside", parent=ROOT).end()
    assert [event.data["name"] for event in watch if event.type == "run.started"] == ["deeper", "deepest"]


def test_a_run_under_a_bare_id_is_below_what_that_is_below(tmp_path: Path) -> None:
    top = RunId.generate()
    child = RunId.generate(top)
    under = RunId.generate(RunId(child.value))
    under_that = RunId.generate(under)
    stranger = RunId.generate(RunId.generate())
    crafted(tmp_path, [started(top)])
    watch = RunRegistry(tmp_path).watch(top, timeout=0)
    # By their time, what is above comes last; and so it does by the names of the files.
    crafted(tmp_path, [started(under_that), started(stranger)], name="1", process="1" * 32, time=now())
    crafted(
        tmp_path, [started(under), event(0, "run.step", RunId(child.value))], name="2", process="2" * 32, time=now()
    )
    crafted(tmp_path, [started(child)], name="3", process="3" * 32, time=now())
    assert {event.run_id for event in watch} == {child.value, under.value, under_that.value}


def test_an_id_of_ones_own_can_be_watched_before_it_starts(registry: RunRegistry) -> None:
    run_id = RunId.generate()
    watch = registry.watch(run_id, timeout=0)
    registry.start(run_id).end()
    assert told(watch) == [("run.started", run_id.value), ("run.ended", run_id.value)]


def test_what_names_no_run_cannot_be_watched(registry: RunRegistry) -> None:
    for ref in ("@last", "ffff", RunId.generate().value):
        with pytest.raises(RunNotFound):
            registry.watch(ref)


# Waiting --------------------------------------------------------------------------------------------------------------


def test_closing_ends_the_iteration_of_another_thread(registry: RunRegistry) -> None:
    watch = registry.watch(poll=1000)
    started_waiting = threading.Event()

    def iterate() -> None:
        started_waiting.set()
        assert list(watch) == []

    thread = threading.Thread(target=iterate)
    thread.start()
    started_waiting.wait()
    watch.close()
    thread.join(60)
    assert not thread.is_alive()
    start_run("later").end()
    assert list(watch) == []
    assert len(list(registry.watch(after=watch.cursor, timeout=0))) == 2


def test_leaving_the_block_closes_the_watch(registry: RunRegistry) -> None:
    with registry.watch(timeout=0) as watch:
        start_run("run").end()
        assert next(watch).seq
    assert list(watch) == []


def test_threads_share_a_watch_and_each_event_goes_to_one(registry: RunRegistry) -> None:
    watch = registry.watch(timeout=0)
    for _ in range(200):
        start_run("run").end()
    seen: list[int] = []

    def iterate() -> None:
        seen.extend(event.seq for event in watch)

    threads = [threading.Thread(target=iterate) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(seen)) == len(seen) == 400


async def test_a_watch_is_an_async_iterator_in_every_loop(registry: RunRegistry, anyio_backend: Any) -> None:
    seen: list[str] = []
    with start_run("root") as root:
        async with registry.watch(root.id, poll=0.01) as watch, anyio.create_task_group() as group:

            async def follow() -> None:
                async for event in watch:
                    seen.append(event.type)
                    if event.type == "run.ended":
                        watch.close()

            group.start_soon(follow)
            async with await anyio.to_thread.run_sync(start_run, "child") as child:
                child.step("on the way")
            await anyio.lowlevel.checkpoint()
    assert seen == ["run.started", "run.step", "run.ended"]


async def test_closing_ends_the_iteration_of_another_task(registry: RunRegistry, anyio_backend: Any) -> None:
    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            watch = registry.watch(poll=1000)

            async def follow(*, task_status: anyio.abc.TaskStatus[None]) -> None:
                task_status.started()
                async for _ in watch:
                    raise AssertionError("there is nothing to see")

            await group.start(follow)
            watch.close()


async def test_being_cancelled_loses_nothing(registry: RunRegistry, anyio_backend: Any) -> None:
    watch = registry.watch(poll=0.001)
    seen: list[int] = []
    for _ in range(30):
        start_run("run").end()
    while len(seen) < 60:
        with anyio.move_on_after(0.001):
            async for event in watch:
                seen.append(event.seq)  # noqa: PERF401 - what is seen before the end counts
    assert len(set(seen)) == len(seen) == 60


async def test_an_async_watch_gives_up_after_its_timeout(registry: RunRegistry, anyio_backend: Any) -> None:
    watch = registry.watch(timeout=0, poll=0.001)
    start_run("run").end()
    assert len([event async for event in watch]) == 2
    start_run("run").end()
    assert len([event async for event in watch]) == 2, "and can be asked again"


# Cursors --------------------------------------------------------------------------------------------------------------


def test_a_cursor_is_behind_the_last_event_that_was_handed_out(registry: RunRegistry) -> None:
    watch = registry.watch(timeout=0)
    for _ in range(3):
        start_run("run").end()
    for number in range(6):
        assert [event.seq for event in registry.watch(after=watch.cursor, timeout=0)] == list(range(number + 1, 7))
        assert next(watch).seq == number + 1


def test_a_cursor_is_as_long_as_there_are_processes_that_may_record_more(tmp_path: Path) -> None:
    dead(tmp_path, 1000)
    assert len(RunRegistry(tmp_path).watch().cursor) < 100


def test_a_cursor_stays_short_when_thousands_were_born_in_a_minute(tmp_path: Path) -> None:
    watch = RunRegistry(tmp_path).watch(timeout=0)
    begun = now()
    for number in range(1000):
        crafted(tmp_path, [started(RunId.generate())], name=f"{number}", process=f"{number:032x}", time=begun + number)
    assert len(list(watch)) == 1000
    assert len(watch.cursor) < 6000
    assert list(RunRegistry(tmp_path).watch(after=watch.cursor, timeout=0)) == []


@pytest.mark.parametrize(
    "cursor",
    ["", "x", "w1.", "w1.é", "w1.eJyLNjS3", "w2.eJyLNjS3NDU1NzIzMDEyNjc0MtOprtWpVjIyTLKw", 7, None.__class__],
)
def test_what_is_no_cursor_is_refused_with_what_to_give(registry: RunRegistry, cursor: Any) -> None:
    with pytest.raises(InvalidCursorError, match=r"what `watch\.cursor` gave, unchanged.* without `after`"):
        registry.watch(after=cursor)


def test_every_cut_of_a_cursor_is_refused(registry: RunRegistry) -> None:
    start_run("run").end()
    cursor = registry.watch().cursor
    for end in range(len(cursor) - 1):
        with pytest.raises(ValueError, match="a cursor is"):
            registry.watch(after=cursor[:end])


@pytest.mark.parametrize("options", [{"poll": 0}, {"poll": float("nan")}, {"timeout": -1}, {"timeout": float("nan")}])
def test_what_is_no_length_of_time_is_refused(registry: RunRegistry, options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="is a number of seconds"):
        registry.watch(**options)  # type: ignore[arg-type]


WATCHES_WHAT_IT_MAY_NOT_READ = """
import os, sys
import agent_run_id as ari
with ari.RunRegistry(sys.argv[1]) as registry:
    registry.find()  # what is imported late is imported before the user changes
    os.chmod(f"{sys.argv[1]}/journal", 0)
    if int(sys.argv[2]) >= 0:
        os.setuid(int(sys.argv[2]))
    try:
        registry.watch()
    except ari.StoreError as error:
        print(error)
"""


def test_a_directory_that_cannot_be_read_is_refused(open_to_all: Path) -> None:
    write_journal(open_to_all, [])
    said = run_program(WATCHES_WHAT_IT_MAY_NOT_READ, str(open_to_all), str(NOBODY if IS_ROOT else -1))
    assert "Permission denied" in said


def test_a_fork_of_the_recording_process_is_seen(registry: RunRegistry) -> None:
    configure()
    watch = registry.watch(timeout=0)
    start_run("parent").end()
    child = os.fork()
    if child == 0:
        start_run("child").end()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    names = [event.data["name"] for event in watch if event.type == "run.started"]
    assert sorted(names) == ["child", "parent"]
