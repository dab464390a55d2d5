"""Writers: what they record, and how they say so.

Everything a writer records carries its name and a number. It *acknowledges* a number when the call that recorded it has
returned: one line in a pipe, one `write` each, so that nothing is between the two but the kernel.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import json
import multiprocessing
import os
import random
import resource
import signal
import sys
import threading
import time
import traceback
import warnings
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Final, NoReturn

from agent_run_id import ROOT, configure, journal_file, start_run
from agent_run_id.journal import accounts, current_journal
from tests.crash.hurry import hurry
from tests.crash.plans import CHILDREN, FINISH, Order
from tests.crash.sabotage import SABOTAGES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from agent_run_id import Run
    from agent_run_id.outcomes import Ending

COLD_PIPE: Final = 100
"""The descriptor of the pipe in a writer that is not forked."""
_LONGEST_LIFE_S: Final = 300
_ENDINGS: Final[tuple[Ending, ...]] = ("succeeded", "failed", "cancelled")


class Writer:
    """One process that records."""

    def __init__(self, order: Order, pipe: int, inherited: Sequence[Run] = ()) -> None:
        self.order = order
        self.numbers = itertools.count(1)
        self.shared = list(inherited)
        self._pipe = pipe
        self._children = itertools.count(1)
        self._rng = random.Random(order.seed)  # noqa: S311
        self._introduced = False
        self._dropped = 0

    def say(self, what: str, *words: object) -> None:
        """Tell the harness something; less than the pipe takes as a whole, for others write into it too."""
        os.write(self._pipe, f"{' '.join(map(str, (what, self.order.name, *words)))}\n".encode())

    def acknowledge(self, number: int) -> None:
        """Tell that the call which recorded `number` has returned, unless it is counted as dropped."""
        if self.order.kind == "short of space" and self._was_dropped():
            return
        self.say("ack", number)
        if not self._introduced:
            self._introduced = True
            self.say("process", current_journal().process_id)

    def _was_dropped(self) -> bool:
        before, self._dropped = self._dropped, current_journal().dropped
        if before < 5 <= self._dropped:
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        return self._dropped > before

    def live(self) -> None:
        """Record, and then end as ordered or wait to be killed. Returns for an ordinary exit only."""
        order = self.order
        configure(directory=order.directory)
        self.say("hello", os.getpid(), order.kind.replace(" ", "_"), "itself" if order.way else "harness")
        if order.way in (None, FINISH):
            signal.alarm(_LONGEST_LIFE_S)  # should the harness be gone
        else:
            signal.signal(signal.SIGALRM, lambda number, frame: self._die())
            signal.setitimer(signal.ITIMER_REAL, max(order.after, 1e-6))
        hurry()
        if order.sabotage is not None:
            SABOTAGES[order.sabotage]()
        recorder = self._work()
        if order.way == FINISH:
            self._finish(recorder)
            return
        self.say("idle")
        while True:
            time.sleep(0.05)  # `pause` would miss a signal that came just before it

    def _work(self) -> Recorder:
        rng, order = self._rng, self.order
        recorder = Recorder(self, rng)
        if order.kind == "threads":
            self._in_threads(recorder, 4)
        elif order.kind in CHILDREN:
            for _ in range(CHILDREN[order.kind]):
                recorder.record_some(order.events // 3)
                if order.kind == "spawning":
                    self._spawn()
                else:
                    self._fork(recorder, "forked" if order.kind == "forking" else "orphan")
            recorder.record_some(order.events // 3)
        elif order.kind == "rotating":
            journal_file.SEGMENT_BYTES = rng.randint(1500, 5000)  # type: ignore[misc]
            journal_file._LOOK_US = rng.choice((0, 500))  # type: ignore[misc]
            self._in_threads(recorder, rng.randint(1, 2))
        else:
            if order.kind == "short of space":
                warnings.simplefilter("ignore", RuntimeWarning)  # that it cannot write
                limit = rng.randint(1500, 12_000)
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
            recorder.record_some(order.events)
        return recorder

    def _in_threads(self, first: Recorder, count: int) -> None:
        if first.rng.random() < 0.5:  # or else the threads race for who opens the journal
            first.record()
            self.shared = list(first.runs)
        others = [Recorder(self, random.Random(first.rng.random())) for _ in range(count)]  # noqa: S311
        threads = [
            threading.Thread(target=other.record_some, args=(self.order.events // count + 1,)) for other in others
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _fork(self, recorder: Recorder, kind: str) -> None:
        order = self.order.child(next(self._children), kind, self._rng)
        pid = os.fork()
        if pid == 0:
            be_writer(order, self._pipe, recorder.runs)
            os._exit(0)
        self.say("child", order.name, pid, kind)

    def _spawn(self) -> None:
        order = self.order.child(next(self._children), "spawned", self._rng)
        with Connection(os.dup(self._pipe), readable=False) as pipe:
            process = multiprocessing.get_context("spawn").Process(target=_be_spawned, args=(order, pipe))
            process.start()
        self.say("child", order.name, process.pid, "spawned")

    def _finish(self, recorder: Recorder) -> None:
        recorder.end_most()
        _, _, recorded, written, dropped = accounts()
        self.say("counts", next(self.numbers) - 1, recorded, written, dropped)
        self.say("ending", FINISH, time.monotonic())
        # An ordinary exit waits for children that multiprocessing started, which rest until they are killed.
        if self.order.kind == "spawning" or self._rng.random() < 0.5:
            os._exit(0)

    def _die(self) -> NoReturn:
        way = self.order.way or ""
        self.say("ending", way, time.monotonic())
        if way == "abort":
            os.abort()
        if way == "segfault":
            ctypes.string_at(0)
        os._exit(0)


class Recorder:
    """One thread that records at random, with runs of its own."""

    def __init__(self, writer: Writer, rng: random.Random) -> None:
        self.rng = rng
        self.runs: list[Run] = []
        self._writer = writer

    def record_some(self, count: int) -> None:
        """Record mostly without a pause, so that an end at random comes while it records."""
        for _ in range(count):
            self.record()
            if self.rng.random() < 0.08:
                time.sleep(self.rng.uniform(0, 0.004))

    def end_most(self) -> None:
        """End most of the runs; the others are found lost."""
        for run in self.runs:
            if self.rng.random() < 0.7:
                self._end(run)

    def record(self) -> None:
        """Record one event, and acknowledge it."""
        self._acknowledged(self._act)

    def _end(self, run: Run) -> None:
        self._acknowledged(lambda label: run.end(status=self.rng.choice(_ENDINGS), output=label))

    def _acknowledged(self, act: Callable[[str], None]) -> None:
        number = next(self._writer.numbers)
        act(f"{self._writer.order.name}#{number}")
        self._writer.acknowledge(number)

    def _act(self, label: str) -> None:
        rng, shared = self.rng, self._writer.shared
        if not self.runs or (len(self.runs) < 4 and rng.random() < 0.15):
            parent = rng.choice(self.runs).id if self.runs and rng.random() < 0.6 else ROOT
            self.runs.append(start_run(label, parent=parent))
        elif shared and rng.random() < 0.2:
            self._report(rng.choice(shared), label)
        elif shared and self._writer.order.kind == "forked" and rng.random() < 0.05:
            shared.pop().end(output=label)  # its parent's run: readers refuse it
        elif rng.random() < 0.1:
            self.runs.pop(rng.randrange(len(self.runs))).end(status=rng.choice(_ENDINGS), output=label)
        else:
            self._report(rng.choice(self.runs), label)

    def _report(self, run: Run, label: str) -> None:
        rng = self.rng
        match rng.randrange(8):
            case 0:
                run.usage(model="m", input_tokens=1, call_id=label)
            case 1:
                run.decide(label, options=[1, 2], chosen=1, why="by lot")
            case 2:
                run.update(summary=label)
            case 3:
                # Across pages, where a kill may tear it.
                run.step(label, data="x" * rng.randrange(rng.choice((3000, 9000, 40_000))))
            case _:
                run.step(label)


def be_writer(order: Order, pipe: int, inherited: Sequence[Run] = ()) -> None:
    """Be a writer; what goes wrong in it is told to the harness."""
    writer = Writer(order, pipe, inherited)
    try:
        writer.live()
    except BaseException:
        with contextlib.suppress(OSError):  # the harness may be gone
            writer.say("failed", json.dumps(traceback.format_exc()[-2000:]))
        os._exit(70)


def _be_spawned(order: Order, pipe: Connection) -> None:
    be_writer(order, pipe.fileno())


if __name__ == "__main__":
    be_writer(Order(**json.loads(sys.argv[1])), COLD_PIPE)
