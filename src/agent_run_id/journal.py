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
from typing import TYPE_CHECKING, Final

from agent_run_id import settings
from agent_run_id.errors import StoreError
from agent_run_id.journal_file import JournalFile, detach_inherited
from agent_run_id.notices import tell

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["Journal", "current_journal", "journal_in", "recording_in"]

_RETRY_US: Final = 1_000_000


class _Writing:
    """What belongs to one process: its file, once there is one, and the numbers of its events.

    A fork replaces it as a whole. An append that the fork interrupted, in a signal handler, goes on with the parent's
    in both processes, and in the child comes to nothing.
    """

    __slots__ = ("dropped", "file", "generation", "retry_at", "sequence")

    def __init__(self, generation: int) -> None:
        self.generation = generation
        self.sequence = itertools.count(1)
        self.file: dict[int, JournalFile] = {}  # at most one, under 0: `setdefault` decides a race without a lock
        self.dropped = 0
        self.retry_at = 0


class Journal:
    """What this process records in one directory.

    Args:
        directory: Where to record; None records nothing. The file is opened by the first event.
        problem: Why there is no directory, when there should be one; told once, with the first event that is dropped.

    Attributes:
        directory: Where it records; None for nowhere.
        records: Whether anything is to be recorded at all; False when recording is off.
    """

    __slots__ = ("_problem", "_warned", "_writings", "directory", "records")

    directory: str | None
    records: bool

    def __init__(self, directory: str | None, problem: str | None = None) -> None:
        self.directory = directory
        self.records = directory is not None or problem is not None
        self._problem = problem
        self._warned = False
        self._writings: dict[int, _Writing] = {}  # by generation; `setdefault` as above

    @property
    def process_id(self) -> str | None:
        """The id of this process in its journal, 32 hexadecimal digits; None before the first event."""
        file = self._writing().file.get(0)
        return None if file is None else file.process_id

    @property
    def dropped(self) -> int:
        """How many events this process could not write.

        Their sequence numbers are missing in the journal, so a reader sees the same number.
        """
        return self._writing().dropped

    def append(self, kind: str, token: str, fields: str = "") -> None:
        """Record one event. Never raises and never waits for anything but the kernel.

        Args:
            kind: The type of the event, one of the names in `events`.
            token: The token of the run it is about.
            fields: The rest, from `events.encode_fields`.
        """
        now = time.time_ns() // 1000
        writing = self._writings.get(_generation) or self._writing()
        seq = next(writing.sequence)
        try:
            file = writing.file.get(0) or self._open(writing, now)
            file.write(f'{{"v":1,"type":"{kind}","run":"{token}","time":{now},"seq":{seq}{fields}}}\n', now)
        except Exception as error:
            if writing.generation == _generation:
                writing.dropped += 1
                self._warn(str(error))

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

    def _warn(self, reason: str) -> None:
        if self._warned:
            return
        self._warned = True
        message = (
            f"agent_run_id cannot record runs: {reason}. The program goes on, and what is not recorded is counted. "
            f"Set {settings.DIRECTORY_VARIABLE} to a directory that can be written, or to 'off'."
        )
        tell(message, RuntimeWarning)

    def close(self) -> None:
        """Stop recording here for good; events that come later are dropped. For tests, which own their directory."""
        self.directory = None
        self.records = self._problem is not None
        file = self._writing().file.pop(0, None)
        if file is not None:
            file.close()


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


def _resolved() -> Journal:
    try:
        directory = settings.directory()
    except StoreError as error:
        return Journal(None, problem=str(error))
    return Journal(None) if directory is None else journal_in(directory)


@contextmanager
def recording_in(directory: str) -> Generator[Journal]:
    """Record in `directory` for a while, in the whole process; afterwards as before, into the very same journal."""
    configured = settings.configured_directory()
    settings.configure(directory=directory)
    journal = current_journal()
    try:
        yield journal
    finally:
        settings.configure(directory=configured)
        _journals.pop(directory, None)
        journal.close()


def _in_forked_child() -> None:
    global _generation
    _generation += 1
    detach_inherited()


settings.observe(_current.clear)
os.register_at_fork(after_in_child=_in_forked_child)
