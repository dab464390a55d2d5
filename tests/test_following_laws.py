"""The law of watching: whatever becomes of the files, every event is seen once, and those of a process in their order.

Writers begin, record, tear lines, go on in other files and die; their files are folded into bundles, and bundles into
bundles; folders go and come back. The watches read a little, stop, and go on from their cursors.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import time
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from agent_run_id import RunId, Watch, housekeeping, tailing
from tests.journal_programs.houses import AT_ONCE, keep, name_of
from tests.journal_programs.journals import encode, event, held, write_journal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from agent_run_id.schema import EventRecord

Seen = tuple[str, int]


class Writer:
    """A process that records, made by hand."""

    def __init__(self, directory: Path, number: int) -> None:
        self.directory = directory
        self.process = f"{number:032x}"
        self.segment = self.seq = 0
        self.half = b""
        self.lock = contextlib.ExitStack()
        self.rotate()
        self.lock.enter_context(held(self.path))

    def rotate(self) -> None:
        """Go on in another file."""
        self.finish_line()
        self.segment += 1
        name = name_of(self.process, self.segment)
        self.path = write_journal(
            self.directory, [], name=name, process=self.process, segment=self.segment, time=time.time_ns() // 1000
        )

    def write(self, data: bytes) -> None:
        with self.path.open("ab") as file:
            file.write(data)

    def record(self, kind: str, run: RunId) -> Seen:
        """One event, as it is when the call returns."""
        self.finish_line()
        self.seq += 1
        self.write(encode(event(self.seq, kind, run, time=time.time_ns() // 1000)))
        return self.process, self.seq

    def begin_line(self, run: RunId, cut: int) -> Seen:
        """An event of which only a part is there yet."""
        self.finish_line()
        self.seq += 1
        line = encode(event(self.seq, "run.step", run, time=time.time_ns() // 1000))
        cut = min(cut, len(line) - 2)
        self.half = line[cut:]
        self.write(line[:cut])
        return self.process, self.seq

    def finish_line(self) -> None:
        if self.half:
            self.write(self.half)
            self.half = b""

    def die(self) -> None:
        self.lock.close()


class Watcher:
    """A watch, stopped and gone on with now and then, and what it has to see."""

    def __init__(self, directory: Path, ids: Iterable[str] | None = None) -> None:
        self.directory = directory
        self.ids = None if ids is None else set(ids)
        self.watch = self.made(None)
        self.seen: list[Seen] = []
        self.expected: list[Seen] = []

    def made(self, cursor: str | None) -> Watch:
        ids = None if self.ids is None else lambda: self.ids or set()
        return Watch(str(self.directory), ids=ids, after=cursor, timeout=0)

    def read(self, most: int | None) -> None:
        for record in islice(self.watch, most):
            self.see(record)

    def see(self, record: EventRecord) -> None:
        self.seen.append((record.process_id, record.seq))
        assert self.seen.count(self.seen[-1]) == 1, "twice"
        assert self.seen[-1] in self.expected, "of another run, or of the time before it began"

    def resume(self) -> None:
        self.watch.close()
        self.watch = self.made(self.watch.cursor)


class Following(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.stack = contextlib.ExitStack()
        self.directory = Path(self.stack.enter_context(tempfile.TemporaryDirectory()))
        self.away = self.directory / "away"
        patch = self.stack.enter_context(pytest.MonkeyPatch.context())
        for name, value in AT_ONCE.items():
            patch.setattr(housekeeping, name, value)
        self.patch: Any = patch
        self.writers: list[Writer] = []
        self.dead: list[Writer] = []
        self.runs: list[RunId] = []
        self.above: dict[str, set[str]] = {}
        self.torn: dict[str, Seen] = {}
        self.born = 0

    @initialize(
        margin=st.sampled_from([0, 60_000_000]), probe=st.sampled_from([0, 1.0]), most=st.sampled_from([1, 300])
    )
    def begin(self, margin: int, probe: float, most: int) -> None:
        """With a margin of a minute nobody is told from others by when it began; with none, everybody is."""
        self.patch.setattr(tailing, "_MARGIN_US", margin)
        self.patch.setattr(tailing, "_PROBE_S", probe)
        self.patch.setattr(tailing, "_MOST_AT_ONCE", most)
        self.patch.setattr("agent_run_id.followed._MOST", most)
        self.watchers = [Watcher(self.directory)]

    # Writers ----------------------------------------------------------------------------------------------------------

    def expect(self, seen: Seen, run: RunId) -> None:
        for watcher in self.watchers:
            if watcher.ids is None or self.above[run.value] & watcher.ids:
                watcher.expected.append(seen)

    @rule()
    def birth(self) -> None:
        self.born += 1
        self.writers.append(Writer(self.directory, self.born))

    @precondition(lambda self: self.writers)
    @rule(data=st.data(), is_child=st.booleans(), is_bare=st.booleans())
    def start(self, data: st.DataObject, *, is_child: bool, is_bare: bool) -> None:
        """A run, of which only the bare id of its parent may be known."""
        writer = data.draw(st.sampled_from(self.writers), "writer")
        run, above = RunId.generate(), set[str]()
        if is_child and self.runs:
            parent = data.draw(st.sampled_from(self.runs), "parent")
            run, above = RunId.generate(RunId(parent.value) if is_bare else parent), self.above[parent.value]
        self.runs.append(run)
        self.above[run.value] = {run.value, *above}
        self.whole(writer)
        self.expect(writer.record("run.started", run), run)

    @precondition(lambda self: self.writers and self.runs)
    @rule(data=st.data(), is_bare=st.booleans(), cut=st.none() | st.integers(0, 200))
    def record(self, data: st.DataObject, *, is_bare: bool, cut: int | None) -> None:
        writer = data.draw(st.sampled_from(self.writers), "writer")
        run = data.draw(st.sampled_from(self.runs), "run")
        told = RunId(run.value) if is_bare else run
        self.whole(writer)
        if cut is None:
            self.expect(writer.record("run.step", told), run)
        else:
            writer.begin_line(told, cut)
            self.torn[writer.process] = (writer.process, writer.seq)
            self.torn_run = {**getattr(self, "torn_run", {}), writer.process: run}

    def whole(self, writer: Writer) -> None:
        """A line that was begun is whole now."""
        if writer.process in self.torn:
            writer.finish_line()
            self.expect(self.torn.pop(writer.process), self.torn_run[writer.process])

    @precondition(lambda self: self.writers)
    @rule(data=st.data(), garbage=st.sampled_from([b"garbage\n", b"\n", b"\xff\xfe\n", b"[1]\n", b'{"v":1,"ty\n']))
    def scribble(self, data: st.DataObject, garbage: bytes) -> None:
        writer = data.draw(st.sampled_from(self.writers), "writer")
        self.whole(writer)
        writer.write(garbage)

    @precondition(lambda self: self.writers)
    @rule(data=st.data(), times=st.integers(1, 3))
    def rotate(self, data: st.DataObject, times: int) -> None:
        writer = data.draw(st.sampled_from(self.writers), "writer")
        self.whole(writer)
        for _ in range(times):
            if self.runs:
                self.expect(writer.record("run.step", self.runs[0]), self.runs[0])
            writer.rotate()

    @precondition(lambda self: self.writers)
    @rule(data=st.data())
    def death(self, data: st.DataObject) -> None:
        """Perhaps in the middle of a line, which is then lost."""
        writer = data.draw(st.sampled_from(self.writers), "writer")
        self.writers.remove(writer)
        self.dead.append(writer)
        self.torn.pop(writer.process, None)
        writer.die()

    # The folder -------------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.dead and not self.away.exists())
    @rule()
    def fold(self) -> None:
        keep(self.directory)

    @precondition(lambda self: self.dead and (self.directory / "journal").exists())
    @rule(data=st.data())
    def copy(self, data: st.DataObject) -> None:
        path = data.draw(st.sampled_from(sorted((self.directory / "journal").glob("2*.jsonl"))), "copied")
        if "-bundle-" not in path.name:
            shutil.copy(path, path.with_name(f"copy of {path.name}"))

    @precondition(lambda self: (self.directory / "journal").exists())
    @rule(data=st.data())
    def hiccup(self, data: st.DataObject) -> None:
        """The folder is away for a moment, in which somebody looks."""
        (self.directory / "journal").rename(self.away)
        data.draw(st.sampled_from(self.watchers), "watcher").read(1)
        self.away.rename(self.directory / "journal")

    # Watches ----------------------------------------------------------------------------------------------------------

    @precondition(lambda self: len(self.watchers) < 4)
    @rule(data=st.data())
    def watch(self, data: st.DataObject) -> None:
        """Of one run, and what is below it, or of all."""
        run = data.draw(st.none() | st.sampled_from(self.runs) if self.runs else st.none(), "run")
        ids = None if run is None else {id_ for id_, above in self.above.items() if run.value in above}
        self.watchers.append(Watcher(self.directory, ids))

    @rule(data=st.data(), most=st.integers(0, 4) | st.none())
    def read(self, data: st.DataObject, most: int | None) -> None:
        data.draw(st.sampled_from(self.watchers), "watcher").read(most)

    @rule(data=st.data())
    def resume(self, data: st.DataObject) -> None:
        watcher = data.draw(st.sampled_from(self.watchers), "watcher")
        if watcher.ids is not None:
            watcher.ids = {id_ for id_, above in self.above.items() if above & watcher.ids}
        watcher.resume()

    def teardown(self) -> None:
        with self.stack:
            for watcher in getattr(self, "watchers", []):
                watcher.read(None)
                watcher.read(None)
                assert sorted(watcher.seen) == sorted(watcher.expected)
                for process in {process for process, _ in watcher.seen}:
                    order = [seq for found, seq in watcher.seen if found == process]
                    assert order == sorted(order)
            for writer in self.writers:
                writer.die()


TestFollowing = Following.TestCase
TestFollowing.settings = settings(stateful_step_count=40, max_examples=60, report_multiple_bugs=False)
