"""Following: events as they are recorded, by whatever process.

The journals themselves are followed, not the index: there an event is where its process wrote it, and nobody has to
come by before it is seen.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from agent_run_id.errors import InvalidTokenError
from agent_run_id.events import STARTS
from agent_run_id.ids import RunId
from agent_run_id.lineages import Below
from agent_run_id.positions import Position
from agent_run_id.reading import ENVELOPE, LAST_MOMENT, is_count
from agent_run_id.schema import EventRecord
from agent_run_id.tailing import Tail

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Self

    from agent_run_id.followed import Line, Segment

__all__ = ["Watch", "record_of"]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NAP_S: Final = 0.1
"""Nobody can wake a task of any event loop from another thread; so it looks whether the watch was closed."""


class Watch:
    """Events as they are recorded: an iterator and an async iterator of `EventRecord`; `RunRegistry.watch` makes it.

    It begins where it is made, and hands out each event once: those of one process in the order of its files, those
    that are read at once in the order of their times. Several threads or tasks may share one, and each event then goes
    to one of them. Leaving the ``with`` or ``async with`` block closes it.

    Args:
        directory: The directory the journals are in; it need not be there yet.
        ids: Gives the ids of the runs it is about, called when it has begun; runs that start below them are added. By
            default it is about all.
        after: The `cursor` of another watch, in this or another process, that is gone on with.
        poll: How often to look, in seconds.
        timeout: How long to wait for an event before iteration ends, in seconds; iterating again waits again. None
            waits for ever.

    Raises:
        InvalidCursorError: (a `ValueError`) `after` is not the cursor of a watch.
        ValueError: `poll` or `timeout` is not a length of time.
        StoreError: (an `OSError`) the directory is there and cannot be read.
    """

    def __init__(
        self,
        directory: str,
        *,
        ids: Callable[[], Iterable[str]] | None = None,
        after: str | None = None,
        poll: float = 0.1,
        timeout: float | None = None,
    ) -> None:
        if not poll > 0:
            raise ValueError(f"poll is a number of seconds above 0, not {poll!r}")
        if timeout is not None and not timeout >= 0:
            raise ValueError(f"timeout is a number of seconds from 0, or None to wait for ever, not {timeout!r}")
        self._poll = poll
        self._timeout = float("inf") if timeout is None else timeout
        self._tail = Tail(directory, None if after is None else Position.from_text(after))
        self._below = None if ids is None else Below(ids())
        self._closed = threading.Event()
        self._looking = threading.Lock()
        self._taking = threading.Lock()
        self._read: deque[tuple[Line, EventRecord]] = deque()

    @property
    def cursor(self) -> str:
        """Where this watch is, as one word: behind the last event that it handed out.

        A watch that is made with ``after=cursor`` goes on there, in any process and after any time.
        """
        with self._looking, self._taking:
            return self._tail.position().to_text()

    def close(self) -> None:
        """End the iteration, also of another thread or task that waits; the cursor can still be asked for."""
        self._closed.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self.close()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> EventRecord:
        end = time.monotonic() + self._timeout
        while not self._closed.is_set():
            event = self._take()
            if event is not None:
                return event
            if self._look():
                continue
            pause = self._pause(end)
            if pause <= 0:
                break
            self._closed.wait(min(pause, threading.TIMEOUT_MAX))
        raise StopIteration

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> EventRecord:
        # Here, because it takes 30 ms, and the event loop of somebody who awaits has loaded it already, or its like.
        from anyio import sleep, to_thread
        from anyio.lowlevel import checkpoint

        await checkpoint()  # what is there already must not keep other tasks from running
        end = time.monotonic() + self._timeout
        while not self._closed.is_set():
            event = self._take()
            if event is not None:
                return event
            # A disk may take its time. What is read is kept here, so being cancelled loses nothing.
            if await to_thread.run_sync(self._look):
                continue
            pause = self._pause(end)
            if pause <= 0:
                break
            wake = time.monotonic() + pause
            while not self._closed.is_set() and (left := wake - time.monotonic()) > 0:  # noqa: ASYNC110 - see `_NAP_S`
                await sleep(min(left, _NAP_S))
        raise StopAsyncIteration

    def _pause(self, end: float) -> float:
        return min(self._poll, end - time.monotonic())

    def _take(self) -> EventRecord | None:
        with self._taking:
            if not self._read:
                return None
            line, event = self._read.popleft()
            line.segment.give(line.behind)
            return event

    def _look(self) -> bool:
        """Read what is new; whether there is something to hand out, or more to read."""
        with self._looking:
            if self._read:  # somebody else has looked
                return True
            bounds = self._tail.discover()
            if self._below is not None:
                self._learn(bounds, self._below)
            lines, is_more = self._tail.take(bounds)
            found = [(line, event) for line in lines if (event := self._record(line)) is not None]
            if self._below is not None and not is_more:
                self._below.settle()
            for line, _ in found:
                line.segment.keep()
            self._read.extend(found)
            return bool(found) or is_more

    def _learn(self, bounds: dict[Segment, int], below: Below) -> None:
        """Learn which runs are below before any of them is judged.

        A run may have been started in a file that was looked at a moment before. Whoever recorded something below it
        did so later, so what is above everything in `bounds` is there when it is looked for once more.
        """
        below.is_unsure = False
        for _ in range(2):
            for event in self._tail.look_ahead(bounds):
                run_id = _run_of(event)
                if run_id is not None:
                    below.learn(run_id, starts=event.get("type") in STARTS)
            if not below.is_unsure:
                break
            bounds = self._tail.discover()

    def _record(self, line: Line) -> EventRecord | None:
        """The record of an event, if this watch is about it."""
        run_id = _run_of(line.event)
        if run_id is None or (self._below is not None and run_id not in self._below):
            return None
        record = record_of(line.event, line.segment.found.header.process)
        if record is not None and self._below is not None:
            self._below.learn(run_id, starts=record.type in STARTS)
        return record


def record_of(event: dict[str, Any], process: str) -> EventRecord | None:
    """The record of what a line of a journal of some process says; None where that is no event.

    Args:
        event: What the line says.
        process: The id of the process.
    """
    run_id, seq, when, kind = _run_of(event), event.get("seq"), event.get("time"), event.get("type")
    if run_id is None or not (is_count(seq) and is_count(when) and isinstance(kind, str)):
        return None
    return EventRecord(
        type=kind,
        run_id=run_id.value,
        time=_EPOCH + timedelta(microseconds=min(when, LAST_MOMENT)),
        process_id=process,
        seq=seq,
        data={name: value for name, value in event.items() if name not in ENVELOPE},
    )


def _run_of(event: dict[str, Any]) -> RunId | None:
    try:
        return RunId.from_token(event.get("run", ""))
    except InvalidTokenError:  # the first line of a file, or no event at all
        return None
