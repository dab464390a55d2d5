"""Fixing: the same ids and the same times every time, for what is compared with a text that was kept.

Ids and times are fixed together, and only in a directory that is thrown away: a journal that stays would take the runs
of today for those of yesterday, which had the same ids.
"""

from __future__ import annotations

import contextlib
import os
import re
import uuid
from datetime import UTC, datetime, timedelta
from hashlib import shake_128
from itertools import count
from typing import TYPE_CHECKING, Final

from agent_run_id.ids import draw_from
from agent_run_id.journal import Journal
from agent_run_id.testing.capturing import captured_by

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from agent_run_id.ids import RunId
    from agent_run_id.registry import RunRegistry

__all__ = ["fixed_runs"]

START: Final = datetime(2026, 1, 1, tzinfo=UTC)
STEP: Final = timedelta(seconds=1)

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_ELAPSED: Final = re.compile(r'^((?:,"status":"\w+")?),"elapsed":\d+')
"""Where the journal is told how long a run took. What a program says comes after it, so this is never that."""


@contextlib.contextmanager
def fixed_runs(*, seed: int | str = 0, start: datetime = START, step: timedelta = STEP) -> Generator[RunRegistry]:
    """Do what `capture_runs` does, with the same ids and times every time.

    The id of a run follows from `seed`, from its parent's id, and from how many that parent has got before. So it does
    not matter what other threads and tasks do meanwhile, but for siblings that several of them start at once. Times
    follow the order in which events are recorded: the first is at `start`, each is `step` after the one before, and a
    run took as long as lies between its first event and its last. `random.seed` makes no difference.

    A forked child draws random ids again, or it would give its runs those that its parent gives; its times go on from
    where the fork was. Processes that are started otherwise have the ids and times they have without it. What is
    recorded elsewhere meanwhile, in runs that started before, has its real times. Outside the block ids are random.

    Args:
        seed: Another one makes other ids.
        start: When the first event happens; a time with a time zone.
        step: How long from one event to the next; a microsecond or more.

    Yields:
        A `RunRegistry` of what is recorded inside the block.

    Raises:
        ValueError: `start` has no time zone, or `step` is no length of time.
    """
    clock = _clock(start, step)

    def make(directory: str) -> Journal:
        journal = _FixedJournal(directory)
        journal.clock = clock
        return journal

    ids = _Ids(seed)
    with captured_by(make) as registry:
        process = os.getpid()
        before = draw_from(ids.random_bytes, ids.new_id)
        try:
            yield registry
        finally:
            if os.getpid() == process:  # a forked child draws random ids already
                draw_from(*before)


class _FixedJournal(Journal):
    """A journal that is not told how long runs took by the real clock: then readers go by the times of events."""

    __slots__ = ()

    def append(self, kind: str, token: str, fields: str = "") -> None:
        super().append(kind, token, _ELAPSED.sub(r"\1", fields, count=1))


def _clock(start: datetime, step: timedelta) -> Callable[[], int]:
    """A clock in nanoseconds that goes on by a step each time it is asked."""
    if start.tzinfo is None:
        raise ValueError(f"{start} could be any time: give it a time zone, as datetime(2026, 1, 1, tzinfo=UTC) has one")
    if step < _MICROSECOND:
        raise ValueError(f"step is a microsecond or more, as in timedelta(seconds=1), not {step!r}")
    # To ask it is one call in C, which no other thread interrupts.
    return count((start - _EPOCH) // _MICROSECOND * 1000, step // _MICROSECOND * 1000).__next__


class _Ids:
    """Ids that follow from a seed."""

    def __init__(self, seed: int | str) -> None:
        self._seed = seed
        self._asked: dict[object, Iterator[int]] = {}

    def new_id(self, parent: RunId | None) -> str:
        """The next id below a run, or below none."""
        return str(uuid.UUID(bytes=self._next("" if parent is None else parent.value, 16), version=4))

    def random_bytes(self, size: int) -> bytes:
        """The next bytes of so many: ids and spans have pages of their own, and do not get into each other's way."""
        return self._next(f"{size} bytes", size)

    def _next(self, what: str, size: int) -> bytes:
        number = next(self._asked.setdefault(what, count()))
        return shake_128(f"{self._seed!r} {what} {number}".encode()).digest(size)
