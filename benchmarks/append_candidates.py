"""The candidate mechanisms for appending one event to a file that this process owns.

Each is one small class with the three methods of `Appender`, so that a scenario treats them alike. ``append`` keeps one
promise whatever the mechanism: it returns only when the whole line is in the kernel, and raises `OSError` otherwise.
"""

import ctypes
import mmap
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar, Protocol

LINE_BYTES = 250
_HEAD = b'{"v":1,"type":"run.started","seq":%010d,"run":"0b7e0f8e-6f0c-4d0e-9c55-2f9d6f1f3a10'
_TAIL = b'.6a3c9d42-51f7-4b8e-8a0d-90e1c2b3d4f5.3","time":1767225600.123456,"name":"summarise","data":"'


def line(number: int) -> bytes:
    """A JSON line of `LINE_BYTES` bytes, newline included, that carries its own number."""
    body = _HEAD % number + _TAIL
    return body.ljust(LINE_BYTES - 3, b"x") + b'"}\n'


class ShortWriteError(OSError):
    """The kernel took a part of the line and refused the rest."""


class Appender(Protocol):
    """One way of appending a line."""

    name: ClassVar[str]

    def open(self, path: Path) -> None:
        """Create the file, or go on at its end."""

    def append(self, line: bytes) -> None:
        """Append one whole line, or raise `OSError`."""

    def close(self) -> None:
        """Leave the file as it should be read for ever."""


class Nothing:
    """The floor: the cost of the call alone."""

    name: ClassVar[str] = "floor: no append"

    def open(self, path: Path) -> None:
        """Open nothing."""

    def append(self, line: bytes) -> None:
        """Append nothing."""

    def close(self) -> None:
        """Close nothing."""


class _Descriptor:
    """An ``O_APPEND`` descriptor that remembers whether the last line came up short."""

    _fd: int
    _torn: bool

    def open(self, path: Path) -> None:
        """Open for appending: the kernel chooses the offset, so no position of ours needs a lock."""
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._torn = False

    def close(self) -> None:
        """Close the descriptor; every byte is in the kernel already."""
        os.close(self._fd)

    def _refuse(self, written: int) -> None:
        # Without the newline that `_torn` puts before the next line, that line would be glued to this fragment and lost
        # with it, although its own write succeeds.
        self._torn = self._torn or written > 0
        raise ShortWriteError(f"{written} bytes of the line were written")


class OsWrite(_Descriptor):
    """`os.write`, which lets go of the interpreter lock around the system call."""

    name: ClassVar[str] = "os.write"

    def append(self, line: bytes) -> None:
        """Write with the interpreter lock released."""
        if self._torn:
            line = b"\n" + line
        written = os.write(self._fd, line)
        if written != len(line):
            self._refuse(written)
        self._torn = False


class _ForeignWrite(_Descriptor):
    """``write(2)`` of the C library; the subclass says through which loader."""

    _write: Callable[[int, bytes, int], int]

    def _load(self, library: ctypes.CDLL) -> None:
        function = library.write
        function.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t)
        function.restype = ctypes.c_ssize_t
        self._write = function

    def append(self, line: bytes) -> None:
        """Write through the foreign function and look at what came back."""
        if self._torn:
            line = b"\n" + line
        written = self._write(self._fd, line, len(line))
        if written != len(line):
            self._refuse(written)
        self._torn = False

    def _refuse(self, written: int) -> None:
        if written < 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
        super()._refuse(written)


class HeldWrite(_ForeignWrite):
    """`ctypes.PyDLL`, which keeps the interpreter lock through the call."""

    name: ClassVar[str] = "PyDLL write"

    def __init__(self) -> None:
        self._load(ctypes.PyDLL(None, use_errno=True))


class ReleasedWrite(_ForeignWrite):
    """`ctypes.CDLL`, which lets go of it: tells the cost of ctypes from the gain of keeping the lock."""

    name: ClassVar[str] = "CDLL write"

    def __init__(self) -> None:
        self._load(ctypes.CDLL(None, use_errno=True))


class Mapped:
    """A window of the file in memory; appending is an assignment of bytes under a lock.

    The window moves on when it is full. Its space is reserved first: a page that the disk cannot back is a ``SIGBUS``
    at the assignment, which no ``except`` catches.

    Args:
        window: bytes mapped at a time, a multiple of the allocation granularity.
    """

    name: ClassVar[str] = "mmap, reserved"

    def __init__(self, window: int = 1 << 20) -> None:
        self._window = window

    def open(self, path: Path) -> None:
        """Map the first window of a new file."""
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._lock = threading.Lock()
        self._base = self._position = 0
        self._map = self._map_at(0)

    def append(self, line: bytes) -> None:
        """Copy the line to the position and move the position on."""
        length = len(line)
        with self._lock:
            end = self._position + length
            if end > self._window:
                self._advance()
                end = self._position + length
            self._map[self._position : end] = line
            self._position = end

    def close(self) -> None:
        """Seal the file: cut off the zero bytes beyond the last line."""
        self._map.close()
        os.ftruncate(self._fd, self._base + self._position)
        os.close(self._fd)

    def _advance(self) -> None:
        inside = self._position % mmap.ALLOCATIONGRANULARITY
        base = self._base + self._position - inside
        fresh = self._map_at(base)
        self._map.close()
        self._map, self._base, self._position = fresh, base, inside

    def _map_at(self, base: int) -> mmap.mmap:
        self._reserve(base)
        return mmap.mmap(self._fd, self._window, offset=base)

    def _reserve(self, base: int) -> None:
        os.posix_fallocate(self._fd, base, self._window)


class Unreserved(Mapped):
    """The naive mapping, which a full disk kills; shown in that scenario alone."""

    name: ClassVar[str] = "mmap, unreserved"

    def _reserve(self, base: int) -> None:
        os.ftruncate(self._fd, base + self._window)


class Buffered:
    """A buffered file written and flushed under a re-entrant lock, as `logging.FileHandler` does."""

    name: ClassVar[str] = "buffered + flush"

    def open(self, path: Path) -> None:
        """Open for appending, buffered."""
        self._file = path.open("ab")
        self._lock = threading.RLock()

    def append(self, line: bytes) -> None:
        """Write to the buffer and flush it."""
        with self._lock:
            self._file.write(line)
            self._file.flush()

    def close(self) -> None:
        """Flush what is left and close."""
        self._file.close()


# macOS has no posix_fallocate, and a mapping without it is not a candidate.
CANDIDATES: tuple[type[Appender], ...] = (
    OsWrite,
    HeldWrite,
    ReleasedWrite,
    *((Mapped,) if hasattr(os, "posix_fallocate") else ()),
    Buffered,
)
