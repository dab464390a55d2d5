"""Journal files: what this process has open, and how a line gets into it.

Three choices that look odd
    A line is written with `write(2)` while the interpreter lock is held. `os.write` gives the lock up and, beside
    CPU-bound threads, waits a switch interval to get it back: 20 to 60 times the cost of the write
    (`benchmarks/append.py`).

    A file that can no longer be used is replaced with `os.dup2`, never closed and opened anew: between the two, another
    thread would write into whatever file got the same descriptor.

    The process holds a lock on its first file for life. The kernel drops it at death, however death came, so for a
    reader the lock is the heartbeat. A forked child therefore lets go of what it inherited, or it would keep a killed
    parent alive, and never unlocks, for that would unlock the parent's.
"""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from agent_run_id import settings
from agent_run_id.errors import StoreError
from agent_run_id.events import FORMAT_VERSION, PROCESS_STARTED, encode_fixed, encode_line
from agent_run_id.filesystems import network_type, sync
from agent_run_id.hosts import describe_process
from agent_run_id.housekeeping import keep_house
from agent_run_id.layout import JOURNALS, journal_name
from agent_run_id.notices import tell

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["JournalFile", "detach_inherited"]

SEGMENT_BYTES: Final = 64 * 1024 * 1024
"""A journal this long is continued in a new file; sooner where little is to be kept, and after a part of the time."""

_LOOK_US: Final = 1_000_000


class _Segment:
    """One file of a journal, replaced as a whole: no thread sees the path of one and the rest of another."""

    __slots__ = ("began", "gone", "identity", "number", "path")

    def __init__(self, number: int, path: str, identity: tuple[int, int], began: int) -> None:
        self.number = number
        self.path = path
        self.identity = identity  # device and inode
        self.began = began  # in microseconds
        self.gone = False


class JournalFile:
    """The open journal of this process in one directory. Its descriptors keep their numbers for life.

    Args:
        directory: The directory; made when it is not there.
        process_id: The id of this process in its journals.

    Attributes:
        name: The name of the file whose lock tells that the process lives: the first, as long as that is there.
        process_id: The id of this process in its journals.

    Raises:
        OSError: it cannot be made; nothing is left behind.
    """

    __slots__ = (
        "_claimed", "_directory", "_fd", "_heartbeat", "_look_at", "_look_size", "_segment", "_size", "_torn",
        "_unsynced", "name", "process_id",
    )  # fmt: skip

    name: str
    process_id: str

    def __init__(self, directory: str, process_id: str) -> None:
        _choose_write()
        self.process_id = process_id
        self._directory = directory
        self._claimed: dict[int, object] = {}
        self._torn = False
        self._look_at = 0
        self._look_size = _most_bytes(settings.retention()) >> 4
        self._size = 0  # about: threads may overlook each other's bytes
        # The names of new files and folders are lost in a power cut, too, unless the folder they are in is written.
        self._unsynced = [os.path.dirname(directory), directory, os.path.join(directory, JOURNALS)]  # noqa: PTH118, PTH120
        self._fd, self._segment = _create(directory, process_id, 1)
        self.name = os.path.basename(self._segment.path)  # noqa: PTH119
        try:
            self._heartbeat = os.dup(self._fd)  # holds the lock of the first file when `_fd` has moved on
        except OSError:
            os.close(self._fd)
            _unlink(self._segment.path)
            raise
        _open_files.append(self)
        keep_house(directory, settings.retention(), process_id=process_id)

    def write(self, line: str, now: int) -> None:
        """Write one line, and once a second look whether the file is still where readers find it.

        Args:
            line: The line, with its end.
            now: The time, in microseconds since the epoch.

        Raises:
            OSError: the line is not written, and says why.
        """
        if self._segment.gone:
            self._check(now)
        data = encode_line(line)
        torn = self._torn
        if torn:
            # What a full disk cut short ends here; or it would swallow this line, which is acknowledged.
            data = b"\n" + data
        written = _write(self._fd, data, len(data))
        if written != len(data):
            self._write_rest(data, max(written, 0))
        elif torn:
            self._torn = False
        self._size += len(data)
        if self._size > self._look_size:  # at the latest then it is looked how long the file really is
            self._size = self._look_at = 0
        if now >= self._look_at:
            self._check(now)

    def _write_rest(self, data: bytes, written: int) -> None:
        self._torn = True
        try:
            while written < len(data):
                written += os.write(self._fd, data[written:])  # raises with the reason, where there is one
        except OSError:
            if written < len(data) - 1:
                raise
            # All of the event is there and will be read, so it is not dropped. The next line brings its end.
        else:
            self._torn = False

    def _check(self, now: int) -> None:
        """After `rm -rf`, writes to the file that is no more still report success."""
        segment = self._segment
        if now >= self._look_at:
            self._look_at = now + _LOOK_US
            try:
                status = os.stat(segment.path)  # noqa: PTH116
                segment.gone = (status.st_dev, status.st_ino) != segment.identity
                kept = settings.retention()
                self._look_size = _most_bytes(kept) >> 4
                full = status.st_size >= _most_bytes(kept) or now - segment.began > kept.part_s * 1e6
            except (FileNotFoundError, NotADirectoryError):
                segment.gone, full = True, False
            except OSError:  # it cannot be looked at, and is still there: what is written to it is not lost
                full = False
            if segment.gone:
                self._continue(segment)
            elif full:
                with suppress(OSError):  # the line is written; a file that is too long is still a good one
                    self._continue(segment)
        if self._segment.gone:
            raise FileNotFoundError(f"{segment.path} was removed")

    def _continue(self, segment: _Segment) -> None:
        """Go on in a new file. One thread does it; the others write where they were until it is there."""
        number, me = segment.number + 1, object()
        if self._claimed.setdefault(number, me) is not me:
            return
        if not segment.gone:  # room is made before it is needed
            keep_house(self._directory, settings.retention(), process_id=self.process_id, makes_room=True)
        try:
            fd, new = _create(self._directory, self.process_id, number)
        except BaseException:
            self._claimed.pop(number, None)
            raise
        if not segment.gone and os.fstat(self._heartbeat).st_nlink == 0:
            # Retention took the first file. A reader that has just listed this one must not find it without a lock.
            os.dup2(self._fd, self._heartbeat, inheritable=False)
            self.name = os.path.basename(segment.path)  # noqa: PTH119
        os.dup2(fd, self._fd, inheritable=False)
        if segment.gone:  # and with it the lock: from now on this file has the heartbeat
            os.dup2(fd, self._heartbeat, inheritable=False)
            self.name = os.path.basename(new.path)  # noqa: PTH119
        os.close(fd)
        if settings.fsync() != "never":
            self._unsynced += [segment.path, os.path.dirname(segment.path)]  # noqa: PTH120
        self._segment = new

    def sync(self) -> None:
        """Wait until what was written is on the disk.

        Raises:
            OSError: it cannot be told whether it is.
        """
        os.fsync(self._fd)
        while self._unsynced:
            path = self._unsynced.pop()
            try:
                sync(path)
            except (FileNotFoundError, PermissionError):  # removed meanwhile; or above what is ours
                continue
            except OSError:
                self._unsynced.append(path)
                raise

    def discard(self) -> None:
        """Close and remove a file that nothing was written to."""
        _unlink(self._segment.path)
        self.close()

    def close(self) -> None:
        """Let go of the file; only where no other thread can be writing."""
        if self in _open_files:
            _open_files.remove(self)
        for fd in (self._fd, self._heartbeat):
            with suppress(OSError):
                os.close(fd)

    def detach(self, nothing: int) -> None:
        """In a forked child: let go of the parent's file, but keep the number of its descriptor taken.

        The fork may have interrupted a write, in a signal handler, that the child now finishes: into `nothing`.
        """
        with suppress(OSError):
            os.close(self._heartbeat)
        with suppress(OSError):
            os.dup2(nothing, self._fd, inheritable=False)


_open_files: list[JournalFile] = []


def detach_inherited() -> None:
    """In a forked child: let go of every file of the parent."""
    files = _open_files[:]
    _open_files.clear()
    if files:
        try:
            nothing = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        except OSError:  # no descriptor is left for it
            for file in files:
                file.close()
            return
        for file in files:
            file.detach(nothing)
        os.close(nothing)


def _create(directory: str, process_id: str, number: int) -> tuple[int, _Segment]:
    """Make, lock and describe a journal, and only then give it the name under which readers find it.

    A reader that saw it between its creation and the lock would call its owner dead.
    """
    folder, began = _folder(directory), time.time_ns() // 1000
    name = journal_name(process_id, number)
    hidden = os.path.join(folder, f".{name}.new")  # noqa: PTH118
    fd = os.open(hidden, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
    try:
        status = os.fstat(fd)
        network = network_type(folder)
        place = {"process": process_id, "segment": number, "locked": _lock(fd), "inode": status.st_ino}
        _write_all(fd, _header({**place, "network": network}, began))
        path = os.path.join(folder, name)  # noqa: PTH118
        os.rename(hidden, path)  # noqa: PTH104
    except BaseException:
        os.close(fd)
        _unlink(hidden)
        raise
    if network is not None:
        _tell_of_network(directory, network)
    return fd, _Segment(number, path, (status.st_dev, status.st_ino), began)


def _lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # a file system without locks: readers fall back on the pid
        return False
    return True


def _header(place: dict[str, Any], now: int) -> bytes:
    fields = encode_fixed({**place, **describe_process()})
    return encode_line(f'{{"v":{FORMAT_VERSION},"type":"{PROCESS_STARTED}","time":{now}{fields}}}\n')


def _folder(directory: str) -> str:
    """Make the directory and the folder of the journals in it.

    Raises:
        OSError: they cannot be made, or belong to another user, who could replace what is recorded there.
    """
    folder = os.path.join(directory, JOURNALS)  # noqa: PTH118
    for place in (directory, folder):
        os.makedirs(place, 0o700, exist_ok=True)  # noqa: PTH103
        if os.stat(place).st_uid != os.geteuid():  # noqa: PTH116
            raise StoreError(f"{place} belongs to another user")
    return folder


def _most_bytes(kept: settings.Retention) -> int:
    return min(SEGMENT_BYTES, kept.part)


_told_of_network: list[None] = []


def _tell_of_network(directory: str, network: str) -> None:
    if not _told_of_network:
        _told_of_network.append(None)
        tell(
            f"agent_run_id records runs in {directory}, which is on a network file system ({network}): appending waits "
            "for the network, and other machines cannot tell whether a run died. Set "
            f"{settings.DIRECTORY_VARIABLE} to a directory of this machine.",
            RuntimeWarning,
        )


def _write_all(fd: int, data: bytes) -> None:
    if os.write(fd, data) != len(data):  # raises with the reason, where there is one
        raise OSError("the file system is full")


def _unlink(path: str) -> None:
    with suppress(OSError):
        os.unlink(path)  # noqa: PTH108


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


def _choose_write() -> None:
    global _write
    if _write is _not_chosen:
        _write = _append_call()


def _not_chosen(fd: int, data: bytes, size: int) -> int:
    raise AssertionError("no journal is open")


_write: Callable[[int, bytes, int], int] = _not_chosen
