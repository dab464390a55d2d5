"""Sabotage: ways to break the library inside a writer, each a mistake that somebody could make.

They reach into the rooms of the journal by name, and fail loudly when a name is gone.
"""

from __future__ import annotations

import fcntl
import random
import time
from typing import TYPE_CHECKING, Any

from agent_run_id import journal, journal_file

if TYPE_CHECKING:
    from collections.abc import Callable

_RARE = 500


def skip_write() -> None:
    """One write in 500 is left out, though the call returns."""
    write = _chosen_write()
    rng = random.Random()  # noqa: S311
    journal_file._write = lambda fd, data, size: size if rng.randrange(_RARE) == 0 else write(fd, data, size)


def double_write() -> None:
    """One write in 500 is made twice."""
    write = _chosen_write()
    rng = random.Random()  # noqa: S311

    def twice(fd: int, data: bytes, size: int) -> int:
        if rng.randrange(_RARE) == 0:
            write(fd, data, size)
        return write(fd, data, size)

    journal_file._write = twice


def buffered() -> None:
    """Writes are kept in memory until 20 are there."""
    write = _chosen_write()
    kept: list[bytes] = []

    def keep(fd: int, data: bytes, size: int) -> int:
        kept.append(data)
        if len(kept) >= 20:
            together = b"".join(kept)
            kept.clear()
            write(fd, together, len(together))
        return size

    journal_file._write = keep


def lock_dropped_early() -> None:
    """The heartbeat's lock is released after a few writes, while its owner lives."""
    write = _chosen_write()
    written: list[int] = []

    def write_and_unlock(fd: int, data: bytes, size: int) -> int:
        written.append(fd)
        if len(written) == 5:
            _unlock_open_files()
        return write(fd, data, size)

    journal_file._write = write_and_unlock


def stale_sequence() -> None:
    """Numbers are counted as `seq = last + 1; last = seq`, so that two threads may get the same."""
    writing: Any = journal._Writing

    class Stale(writing):  # type: ignore[misc]
        def __init__(self, generation: int) -> None:
            super().__init__(generation)
            self.sequence = _StaleCount()

    journal._Writing = Stale  # type: ignore[misc]


class _StaleCount:
    def __init__(self) -> None:
        self._last = 0

    def __next__(self) -> int:
        number = self._last + 1
        if number % 8 == 0:
            time.sleep(0)  # where a thread may be switched, it sometimes is
        self._last = number
        return number

    def __repr__(self) -> str:
        return f"count({self._last + 1})"  # by which the journal's accounts know it


def unlock_in_fork() -> None:
    """A forked child unlocks what it inherited before it closes it, and so unlocks its parent's."""
    room: Any = journal
    detach = room.detach_inherited

    def unlock_and_detach() -> None:
        _unlock_open_files()
        detach()

    room.detach_inherited = unlock_and_detach


def header_late() -> None:
    """A journal gets its name before it is locked; the moment between is made a millisecond long."""
    create: Callable[..., Any] = journal_file._create
    lock = journal_file._lock

    def create_and_lock(*args: Any, **kwargs: Any) -> Any:
        made = create(*args, **kwargs)
        time.sleep(0.001)
        lock(made[0])
        return made

    journal_file._lock = lambda fd: True
    journal_file._create = create_and_lock


def _chosen_write() -> Callable[[int, bytes, int], int]:
    journal_file._choose_write()
    return journal_file._write


def _unlock_open_files() -> None:
    for file in journal_file._open_files:
        fcntl.flock(file._heartbeat, fcntl.LOCK_UN)


SABOTAGES: dict[str, Callable[[], None]] = {
    "skip-write": skip_write,
    "double-write": double_write,
    "lock-dropped-early": lock_dropped_early,
    "stale-sequence": stale_sequence,
    "buffered": buffered,
    "unlock-in-fork": unlock_in_fork,
    "header-late": header_late,
}
