"""The journal: the append-only file this process, and no other, records events in.

Recording is one encode and one append. There is no thread, queue, buffer or lock of ours, so there is nothing to flush,
nothing to lose and nothing a signal handler or a fork could find in a bad state: an event is safe from `SIGKILL` and
`os._exit` the moment `append` returns, because its bytes are in the kernel.
"""

from __future__ import annotations

import itertools
import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, NamedTuple

from agent_run_id import settings
from agent_run_id.errors import StoreError
from agent_run_id.events import RUN_ENDED, RUN_PAUSED, RUN_QUEUED
from agent_run_id.journal_file import JournalFile, detach_inherited
from agent_run_id.notices import tell

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from agent_run_id.settings import Fsync

__all__ = ["Accounts", "Journal", "accounts", "current_journal", "is_inherited", "journal_in", "recording_in"]

_RETRY_US: Final = 1_000_000
_LAST_WORDS: Final = frozenset({RUN_ENDED, RUN_PAUSED, RUN_QUEUED})
"""The types of events with which a run leaves a process."""


class _Writing:
    """What belongs to one process: its file, once there is one, and the numbers of its events.

    A fork replaces it as a whole. An append that the fork interrupted, in a signal handler, goes on with the parent's
    in both processes, and in the child comes to nothing.
    """

    __slots__ = ("drops", "file", "generation", "retry_at", "sequence")

    def __init__(self, generation: int) -> None:
        self.generation = generation
        # Counted by what threads and signal handlers cannot interrupt, as `+= 1` can be.
        self.sequence = itertools.count(1)
        self.drops = itertools.count(1)
        self.file: dict[int, JournalFile] = {}  # at most one, under 0: `setdefault` decides a race without a lock
        self.retry_at = 0


def _counted(counter: Iterator[int]) -> int:
    """How often a counter that began with 1 was asked."""
    return int(repr(counter)[len("count(") : -1]) - 1  # the one way to look at it without asking it


class Accounts(NamedTuple):
    """What this process has recorded in one directory: ``recorded == written + dropped``.

    Attributes:
        directory: Where; None when recording is off or there is no place for it.
        process_id: The id of this process in its journals; None before the first event.
        recorded: How many events were to be recorded.
        written: How many are in a journal.
        dropped: How many are not. Their sequence numbers are missing there.
    """

    directory: str | None
    process_id: str | None
    recorded: int
    written: int
    dropped: int


class Journal:
    """What this process records in one directory.

    Args:
        directory: Where to record; None records nothing. The file is opened by the first event.
        problem: Why there is no directory, when there should be one; told once, with the first event that is dropped.

    Attributes:
        directory: Where it records; None for nowhere.
        records: Whether anything is to be recorded at all; False when recording is off.
        fsync: When it waits for the disk; see `configure`.
        clock: What says when an event happens, in nanoseconds since the epoch.
    """

    __slots__ = ("_problem", "_warned", "_writings", "clock", "directory", "fsync", "records")

    directory: str | None
    records: bool
    fsync: Fsync
    clock: Callable[[], int]

    def __init__(self, directory: str | None, problem: str | None = None) -> None:
        self.directory = directory
        self.records = directory is not None or problem is not None
        self.fsync = settings.fsync()
        self.clock = time.time_ns
        self._problem = problem
        self._warned = False
        self._writings: dict[int, _Writing] = {}  # by generation; `setdefault` as above

    @property
    def process_id(self) -> str | None:
        """The id of this process in its journal, 32 hexadecimal digits; None before the first event."""
        writing = self._writings.get(_generation) or self._writing()
        file = writing.file.get(0)
        return None if file is None else file.process_id

    def name(self) -> str | None:
        """The name of the file whose lock tells that the process lives, begun if need be; None where none can be."""
        writing = self._writings.get(_generation) or self._writing()
        try:
            return (writing.file.get(0) or self._open(writing, self.clock() // 1000)).name
        except Exception:
            return None  # the next event says why

    @property
    def dropped(self) -> int:
        """How many events this process could not write.

        Their sequence numbers are missing in the journal, so a reader sees the same number.
        """
        return _counted(self._writing().drops)

    def accounts(self) -> Accounts:
        """The books of this process in this directory; they add up as soon as no other thread is recording."""
        writing = self._writing()
        file = writing.file.get(0)
        dropped = _counted(writing.drops)
        recorded = _counted(writing.sequence)
        return Accounts(
            self.directory, None if file is None else file.process_id, recorded, recorded - dropped, dropped
        )

    def append(self, kind: str, token: str, fields: str = "") -> None:
        """Record one event. Never raises and never waits for anything but the kernel.

        Args:
            kind: The type of the event, one of the names in `events`.
            token: The token of the run it is about.
            fields: The rest, from `events.encode_fields`.
        """
        now = self.clock() // 1000
        writing = self._writings.get(_generation) or self._writing()
        seq = next(writing.sequence)
        try:
            file = writing.file.get(0) or self._open(writing, now)
            file.write(f'{{"v":1,"type":"{kind}","run":"{token}","time":{now},"seq":{seq}{fields}}}\n', now)
        except Exception as error:
            if writing.generation == _generation:
                self._warn(str(error), next(writing.drops))
        else:
            if self.fsync != "never" and (self.fsync == "always" or kind in _LAST_WORDS):
                self._sync(file)

    def _writing(self) -> _Writing:
        return self._writings.setdefault(_generation, _Writing(_generation))

    def _open(self, writing: _Writing, now: int) -> JournalFile:
        if self.directory is None or writing.generation != _generation:
            raise StoreError(self._problem or "recording here has ended")
        if now < writing.retry_at:
            raise StoreError("the directory cannot be used")
        try:
            mine = JournalFile(self.directory, os.urandom(16).hex())
        except OSError:
            writing.retry_at = now + _RETRY_US
            raise
        file = writing.file.setdefault(0, mine)
        if file is not mine:  # another thread, or a signal handler in this one, was first
            mine.discard()
        return file

    def _sync(self, file: JournalFile) -> None:
        try:
            file.sync()
        except Exception as error:
            self._warn(f"{error}; it is written, but perhaps not on the disk", self.dropped)

    def _warn(self, reason: str, dropped: int) -> None:
        if self._warned:
            return
        self._warned = True
        message = (
            f"agent_run_id cannot record runs: {reason}. The program goes on, and what is not recorded is counted "
            f"({dropped} so far; agent_run_id.accounts() tells). Set {settings.DIRECTORY_VARIABLE} to a directory that "
            "can be written, or to 'off'."
        )
        tell(message, RuntimeWarning)

    def close(self) -> None:
        """Stop recording here for good; events that come later are dropped. For tests, which own their directory."""
        self.directory = None
        self.records = self._problem is not None
        file = self._writing().file.pop(0, None)
        if file is not None:
            file.close()


_forked_at = 0
_generation = 0  # how many forks lie between the first process and this one
_journals: dict[str, Journal] = {}  # by directory
_current: list[Journal] = []


def journal_in(directory: str) -> Journal:
    """The journal of this process in `directory`: the same one every time."""
    journal = _journals.get(directory)
    return journal if journal is not None else _journals.setdefault(directory, Journal(directory))


def current_journal() -> Journal:
    """Where this process records now."""
    try:
        return _current[-1]
    except IndexError:
        journal = _resolved()
        _current[:] = [journal]
        return journal


def accounts() -> Accounts:
    """How much this process has recorded where it records now, and how much of it could not be written."""
    return current_journal().accounts()


def _resolved() -> Journal:
    try:
        directory = settings.directory()
    except StoreError as error:
        return Journal(None, problem=str(error))
    return Journal(None) if directory is None else journal_in(directory)


@contextmanager
def recording_in(directory: str, make: Callable[[str], Journal] = Journal) -> Generator[Journal]:
    """Record in `directory` for a while, in the whole process; afterwards as before, into the very same journal.

    Args:
        directory: Where to.
        make: Makes the journal, where this process has none there.
    """
    configured = settings.configured_directory()
    directory = os.path.abspath(directory)  # noqa: PTH100 - as it is configured
    _journals.setdefault(directory, make(directory))
    settings.configure(directory=directory)
    journal = current_journal()
    try:
        yield journal
    finally:
        settings.configure(directory=configured)
        _journals.pop(directory, None)
        journal.close()


def is_inherited(began: int) -> bool:
    """Whether what began at this time of `time.perf_counter_ns` began before this process was forked."""
    return began < _forked_at


def _in_forked_child() -> None:
    global _forked_at, _generation
    _generation += 1
    _forked_at = time.perf_counter_ns()
    detach_inherited()


def _on_settings() -> None:
    _current.clear()
    for journal in list(_journals.values()):
        journal.fsync = settings.fsync()


settings.observe(_on_settings)
os.register_at_fork(after_in_child=_in_forked_child)
