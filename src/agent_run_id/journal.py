"""The journal: the append-only file this process, and no other, records events in.

Recording is one encode and one append. There is no thread, queue, buffer or lock of ours, so there is nothing to flush,
nothing to lose and nothing a signal handler or a fork could find in a bad state: an event is safe from `SIGKILL` and
`os._exit` the moment `append` returns, because its bytes are in the kernel.

Three choices that look odd
    The append calls `write(2)` with the interpreter lock held. `os.write` gives the lock up and, beside CPU-bound
    threads, waits a switch interval to get it back: 20 to 60 times the cost of the write (`benchmarks/append.py`).

    A journal that can no longer be used is replaced with `os.dup2`, never closed and opened anew: between the two,
    another thread would write into whatever file got the same descriptor.

    The process holds a lock on its first file for life. The kernel drops it at death, however death came, so for a
    reader the lock is the heartbeat. A forked child therefore closes what it inherited, or it would keep a killed
    parent alive, and never unlocks, for that would unlock the parent's.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import sys
import time
import warnings
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from agent_run_id import settings
from agent_run_id.errors import StoreError
from agent_run_id.events import FORMAT_VERSION, PROCESS_STARTED, encode_fields, encode_line
from agent_run_id.hosts import describe_process

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

__all__ = ["JOURNALS", "SUFFIX", "Journal", "current_journal", "journal_in", "recording_in"]

JOURNALS: Final = "journal"
"""The folder of the journals, inside the directory of `settings.directory`."""
SUFFIX: Final = ".jsonl"

SEGMENT_BYTES: Final = 64 * 1024 * 1024
"""A journal this long is continued in a new file."""

_RETRY_US: Final = 1_000_000
_LOOK_US: Final = 1_000_000
_NEVER: Final = 2**63


def _append_call() -> Callable[[int, bytes, int], int]:
    """`write(2)` with the interpreter lock held; `os.write` where there is no ctypes."""
    try:
        import ctypes  # here, because a program that records nothing need not pay for it

        write = ctypes.PyDLL(None).write
    except (ImportError, OSError, AttributeError):
        return lambda fd, data, size: os.write(fd, data)
    write.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t)
    write.restype = ctypes.c_ssize_t
    return write


class _File:
    """An open journal of this process. Its descriptors keep their numbers for life."""

    __slots__ = ("claimed", "fd", "heartbeat", "identity", "inode", "look_at", "path", "process_id", "segment", "torn")

    def __init__(self, folder: str, process_id: str) -> None:
        self.process_id = process_id
        self.segment = 1
        self.torn = False
        self.claimed: dict[int, object] = {}
        self.fd, self.path, self.inode = _create(folder, process_id, 1)
        self.heartbeat = os.dup(self.fd)  # holds the lock of the first segment when `fd` has moved on
        self.look_at = _now() + _LOOK_US

    def close(self) -> None:
        """Let go of both descriptors; only where no other thread can be writing."""
        for fd in (self.fd, self.heartbeat):
            with suppress(OSError):
                os.close(fd)


def _now() -> int:
    return time.time_ns() // 1000


def _create(folder: str, process_id: str, segment: int) -> tuple[int, str, tuple[int, int]]:
    """Make, lock and describe a journal, and only then give it the name under which readers find it.

    A reader that saw it between its creation and the lock would call its owner dead.
    """
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    name = f"{stamp}-{os.getpid()}-{process_id}.{segment:04d}{SUFFIX}"
    hidden = os.path.join(folder, f".{name}.new")  # noqa: PTH118
    fd = os.open(hidden, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            locked = True
        except OSError:  # a file system without locks: readers fall back on the pid
            locked = False
        status = os.fstat(fd)
        head = encode_fields(
            {"process": process_id, "segment": segment, "locked": locked, "inode": status.st_ino, **describe_process()}
        )
        line = encode_line(f'{{"v":{FORMAT_VERSION},"type":"{PROCESS_STARTED}","time":{_now()}{head}}}\n')
        _write_all(fd, line)
        path = os.path.join(folder, name)  # noqa: PTH118
        os.rename(hidden, path)  # noqa: PTH104
    except BaseException:
        os.close(fd)
        _unlink(hidden)
        raise
    return fd, path, (status.st_dev, status.st_ino)


def _write_all(fd: int, data: bytes) -> None:
    if os.write(fd, data) != len(data):  # raises with the reason, where there is one
        raise OSError("the file system is full")


def _unlink(path: str) -> None:
    with suppress(OSError):
        os.unlink(path)  # noqa: PTH108


class Journal:
    """What this process records in one directory.

    Args:
        directory: Where to record; None records nothing. The file is opened by the first event.
        problem: Why there is no directory, when there should be one; told once, with the first event that is dropped.

    Attributes:
        dropped: How many events could not be written. Their sequence numbers are missing in the journal, so a reader
            sees the same number.
    """

    __slots__ = ("_file", "_problem", "_retry_at", "_sequence", "_warned", "directory", "dropped")

    directory: str | None
    dropped: int

    def __init__(self, directory: str | None, problem: str | None = None) -> None:
        self.directory = directory
        self.dropped = 0
        self._problem = problem
        self._file: dict[int, _File] = {}  # at most one, under 0: `setdefault` decides a race without a lock
        self._sequence = itertools.count(1)
        self._retry_at = 0
        self._warned = False

    @property
    def records(self) -> bool:
        """Whether anything is to be recorded at all; False when recording is off."""
        return self.directory is not None or self._problem is not None

    @property
    def process_id(self) -> str | None:
        """The id of this process in its journal, 32 hexadecimal digits; None before the first event."""
        file = self._file.get(0)
        return None if file is None else file.process_id

    def append(self, kind: str, token: str, fields: str = "") -> None:
        """Record one event. Never raises and never waits for anything but the kernel.

        Args:
            kind: The type of the event, one of the names in `events`.
            token: The token of the run it is about.
            fields: The rest, from `events.encode_fields`.
        """
        now = time.time_ns() // 1000
        line = f'{{"v":1,"type":"{kind}","run":"{token}","time":{now},"seq":{next(self._sequence)}{fields}}}\n'
        try:
            file = self._file.get(0) or self._open(now)
            if file is None:
                self.dropped += 1
                return
            data = encode_line(line)
            if file.torn:
                # What a full disk cut short ends here; or it would swallow this line, which is acknowledged.
                data = b"\n" + data
                file.torn = False
            size = len(data)
            written = _write(file.fd, data, size)
            if written != size:
                self._finish_write(file, data, max(written, 0))
            if now >= file.look_at:
                self._look(file, now)
        except Exception as error:
            self._drop(error)

    def _finish_write(self, file: _File, data: bytes, written: int) -> None:
        file.torn = written > 0
        _write_all(file.fd, data[written:])
        file.torn = False

    def _open(self, now: int) -> _File | None:
        if self.directory is None or now < self._retry_at:
            if self._problem is not None:
                self._warn(self._problem)
            return None
        try:
            _choose_write()
            mine = _File(_folder(self.directory), os.urandom(16).hex())
        except OSError as error:
            self._retry_at = now + _RETRY_US
            self._warn(str(error))
            return None
        file = self._file.setdefault(0, mine)
        if file is not mine:  # another thread, or a signal handler in this one, was first
            _unlink(mine.path)
            mine.close()
        return file

    def _look(self, file: _File, now: int) -> None:
        """Once a second: after `rm -rf`, writes to the file that is no more still report success."""
        file.look_at = now + _LOOK_US
        try:
            status = os.stat(file.path)  # noqa: PTH116
            gone = (status.st_dev, status.st_ino) != file.inode
            full = status.st_size >= SEGMENT_BYTES
        except OSError:
            gone, full = True, False
        if (gone or full) and self.directory is not None:
            self._continue(file, self.directory)

    def _continue(self, file: _File, directory: str) -> None:
        segment = file.segment + 1
        me = object()
        if file.claimed.setdefault(segment, me) is not me:
            return  # another thread is at it
        try:
            fd, path, inode = _create(_folder(directory), file.process_id, segment)
        except BaseException:
            file.claimed.pop(segment, None)
            raise
        os.dup2(fd, file.fd, inheritable=False)
        os.close(fd)
        file.path, file.inode, file.segment = path, inode, segment

    def _drop(self, error: Exception) -> None:
        self.dropped += 1
        self._warn(str(error))

    def _warn(self, reason: str) -> None:
        if self._warned:
            return
        self._warned = True
        message = f"agent_run_id cannot record runs: {reason}; the program goes on, and events are counted as dropped"
        try:
            warnings.warn(message, RuntimeWarning, stacklevel=4)
        except Exception:
            if sys.stderr is not None:
                print(message, file=sys.stderr)  # noqa: T201

    def close(self) -> None:
        """Stop recording here for good; events that come later are dropped. For tests, which own their directory."""
        self.directory = None
        file = self._file.pop(0, None)
        if file is not None:
            file.close()

    def close_inherited(self) -> None:
        """Close the parent's file in a forked child and begin one of our own with the next event."""
        file = self._file.pop(0, None)
        if file is not None:
            file.close()
        self._sequence = itertools.count(1)
        self._retry_at = 0
        self.dropped = 0


def _folder(directory: str) -> str:
    os.makedirs(directory, 0o700, exist_ok=True)  # noqa: PTH103
    if os.stat(directory).st_uid != os.geteuid():  # noqa: PTH116
        raise StoreError(
            f"{directory} belongs to another user: set {settings.DIRECTORY_VARIABLE} to a directory of yours"
        )
    folder = os.path.join(directory, JOURNALS)  # noqa: PTH118
    os.makedirs(folder, 0o700, exist_ok=True)  # noqa: PTH103
    return folder


def _choose_write() -> None:
    global _write
    if _write is _not_chosen:
        _write = _append_call()


def _not_chosen(fd: int, data: bytes, size: int) -> int:
    raise AssertionError("no journal is open")


_write: Callable[[int, bytes, int], int] = _not_chosen
_journals: dict[str, Journal] = {}  # by directory; none is ever forgotten, for a forked child has to close them all
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


def _after_fork() -> None:
    for journal in list(_journals.values()):
        journal.close_inherited()


settings.observe(_current.clear)
os.register_at_fork(after_in_child=_after_fork)
