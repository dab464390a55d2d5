"""Followed: one file of one process, read piece by piece, wherever it is by now.

It is a journal of its own at first, and later a part of a bundle, or of a bundle of bundles. What is in it stays the
same, and so do the offsets in it.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from agent_run_id.events import PROCESS_STARTED
from agent_run_id.reading import Header, header_of, lines_from, parse_line, state_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from agent_run_id.liveness import State

__all__ = ["Found", "Line", "Owner", "Segment", "end_of", "sections", "state_among"]

_MOST: Final = 1024 * 1024
"""So much of one file is read at once; the rest follows when that was handed out."""
_CHUNK: Final = 65_536


class Found(NamedTuple):
    """Where a file of a process was found: alone, or as a part of a bundle, from `base` to `end`.

    It may be a copy; `is_original` says that it is the file that its owner made.
    """

    name: str
    path: str
    header: Header
    is_original: bool = False
    base: int = 0
    end: int | None = None

    @property
    def began(self) -> int:
        """When it was begun, in microseconds, by the clock of whoever wrote it."""
        time: Any = self.header.fields.get("time")
        return time if type(time) is int and time > 0 else 0


class Line(NamedTuple):
    """One event, where it was read, and the offset behind it."""

    segment: Segment
    behind: int
    event: dict[str, Any]


class Segment:
    """One file of a process, and how far it was read.

    Attributes:
        number: Its number among the files of its process.
        found: Where it is.
        identity: Device and inode; None in a bundle, where nothing changes.
        is_gone: Whether it is not there any more.
        read: How far it was read.
        covered: How far it was looked at; what is between, is the beginning of a line.
        learned: How far it was read ahead.
    """

    __slots__ = (
        "_ahead", "_given", "_pending", "covered", "found", "identity", "is_gone", "learned", "modified", "number",
        "read",
    )  # fmt: skip

    number: int
    found: Found
    identity: tuple[int, int] | None
    is_gone: bool
    modified: float
    read: int
    covered: int
    learned: int

    def __init__(self, found: Found, offset: int) -> None:
        self.number = found.header.segment
        self.read = self.covered = self.learned = self._ahead = self._given = offset
        self._pending = 0
        self.modified = 0.0  # when something was written to it, by the clock of the file system
        self.move(found)

    def move(self, found: Found) -> None:
        """Go on reading it where it was found."""
        self.found = found
        self.covered = self.read  # it may have been looked at in vain
        self.is_gone = False
        self.identity = None

    def size(self) -> int | None:
        """How long it is by now; None when it is not there, or is another one."""
        if self.found.end is not None:
            return self.found.end - self.found.base
        try:
            status = os.stat(self.found.path)  # noqa: PTH116
        except OSError:
            return None
        identity = (status.st_dev, status.st_ino)
        if self.identity is None:
            self.identity = identity
        if self.identity != identity:
            return None
        self.modified = status.st_mtime
        return max(status.st_size, self.covered)

    def take(self, bound: int) -> list[Line]:
        """The next events up to `bound`; perhaps not all of them at once."""
        lines: list[Line] = []
        if not self._pending:
            self._given = self.read
        start = self.read
        try:
            for event, behind in self._events(start, bound):
                self.read = behind
                if event is not None and event.get("type") != PROCESS_STARTED:
                    lines.append(Line(self, behind, event))
                if behind - start >= _MOST:
                    return lines
        except FileNotFoundError:
            return lines
        except OSError:  # there is no use in trying again at once
            pass
        self.covered = bound
        return lines

    def look_ahead(self, bound: int) -> Iterator[dict[str, Any]]:
        """The events up to `bound` that were not looked at before; they remain to be taken."""
        if self._ahead == bound:
            return
        try:
            for event, behind in self._events(max(self.learned, self.read), bound):
                self.learned = behind
                if event is not None:
                    yield event
        except OSError:
            return
        self._ahead = bound

    def _events(self, start: int, bound: int) -> Iterator[tuple[dict[str, Any] | None, int]]:
        """What each line holds, with the offset behind it."""
        base = self.found.base
        for line, has_end in _lines(self.found.path, base + start, base + bound):
            events, _ = parse_line(line)
            if not has_end and not events:
                return
            # Without an end it may be whole all the same, and its end come with the next one.
            start += len(line) + has_end
            yield (events[0] if events else None), start

    # What is handed out -----------------------------------------------------------------------------------------------

    def keep(self) -> None:
        """One event that was taken will be handed out."""
        self._pending += 1

    def give(self, behind: int) -> None:
        """One event was handed out, that ended there."""
        self._pending -= 1
        self._given = behind

    @property
    def is_pending(self) -> bool:
        """Whether something is still to be handed out."""
        return self._pending > 0

    @property
    def position(self) -> int:
        """How far it was handed out."""
        return self._given if self._pending else self.read


class Owner:
    """A process whose files are followed.

    Args:
        key: What stands for it in a position.
        places: From where on its files are read, by their numbers. Others are read from their beginning, and those
            before all of these are not read at all.
        state: Whether it lives.
        was_read: Whether `places` are from before it was lost sight of.
    """

    __slots__ = (
        "began", "due_at", "first", "heartbeat", "is_done", "key", "places", "probe_at", "segments", "sought", "state",
    )  # fmt: skip

    began: int
    due_at: float
    first: int
    heartbeat: Found | None
    is_done: bool
    key: str
    places: dict[int, int]
    probe_at: float
    segments: dict[int, Segment]
    sought: frozenset[int]
    state: State

    def __init__(self, key: str, places: dict[int, int], state: State, *, was_read: bool = False) -> None:
        self.key = key
        self.places = places
        self.sought = frozenset(places if was_read else ())
        self.first = min(places, default=0)
        self.state = state
        self.segments = {}
        self.heartbeat = None  # its first file, which it holds the lock of for life
        self.began = 0
        self.probe_at = self.due_at = 0.0
        self.is_done = False  # it is over, and everything was read

    def attach(self, found: Found) -> None:
        """Read a file of this process too, if it is not read already; the file its owner made rather than a copy."""
        number = found.header.segment
        self.began = max(self.began, found.began)
        first = self.heartbeat
        if first is None or (number, first.is_original) <= (first.header.segment, found.is_original):
            self.heartbeat = found
        segment = self.segments.get(number)
        if segment is None:
            if number >= self.first:
                self.segments[number] = Segment(found, self.places.get(number, 0))
                self.segments = dict(sorted(self.segments.items()))
        elif segment.is_gone or (found.is_original and not segment.found.is_original):
            segment.move(found)

    def probe(self) -> State:
        """Ask whether it lives."""
        first = [] if self.heartbeat is None else [self.heartbeat]
        self.state = state_among([*first, *(segment.found for segment in self.segments.values())])
        return self.state

    def drop(self, segment: Segment) -> None:
        """Follow a file no more that is gone, but remember how far it was read."""
        self.places[segment.number] = segment.position
        del self.segments[segment.number]

    def close_old(self) -> None:
        """Follow files no more after which two others were begun: a write that was under way has long ended."""
        for segment in [*self.segments.values()][:-2]:
            if segment.is_pending or segment.covered != segment.size():
                return
            del self.segments[segment.number]
            self.first = segment.number + 1

    @property
    def is_partly_found(self) -> bool:
        """Whether one of its files that was read is not there, or only as a copy, which may end earlier."""
        for number in self.sought:
            segment = self.segments.get(number)
            if number >= self.first and (segment is None or not (segment.found.is_original or segment.found.end)):
                return True
        return False

    def left_at(self) -> dict[int, int]:
        """Where to go on with its files if they come back."""
        return {number: at for number, at in self.places.items() if number >= self.first} or {self.first: 0}

    def position(self) -> dict[int, int]:
        """How far each of its files was handed out."""
        return {number: segment.position for number, segment in self.segments.items()} or self.left_at()

    @property
    def is_pending(self) -> bool:
        """Whether something is still to be handed out."""
        return any(segment.is_pending for segment in self.segments.values())


def state_among(found: Iterable[Found]) -> State:
    """Whether a process lives, by all its files: it holds the lock of at least one as long as it does."""
    state: State = "unknown"
    for each in found:
        seen = "dead" if each.end is not None else state_of(each.path, each.header)
        if seen == "alive":
            return seen
        if seen == "dead":
            state = seen
    return state


def sections(name: str, path: str) -> Iterator[Found]:
    """The files that are in a bundle.

    Raises:
        OSError: it cannot be read.
    """
    header: Header | None = None
    start = before = 0
    for line, behind in lines_from(path, 0):
        # To decode every line of a large bundle would take seconds.
        events = parse_line(line)[0] if b"process.started" in line else []
        for event in events:
            following = header_of(event)
            if following is not None:
                if header is not None:
                    yield Found(name, path, header, base=start, end=before)
                header, start = following, before
        before = behind
    if header is not None:
        yield Found(name, path, header, base=start, end=before)


def _lines(path: str, at: int, bound: int) -> Iterator[tuple[bytes, bool]]:
    """The lines between two offsets, and whether each has an end."""
    rest = b""
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123
        file.seek(at)
        while chunk := file.read(min(_MOST, bound - at)):
            at += len(chunk)
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                yield line, True
    if rest:
        yield rest, False


def end_of(path: str) -> int:
    """How far a file goes by now: behind its last event that is whole."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            at, tail = file.seek(0, os.SEEK_END), b""
            while at > 0 and b"\n" not in tail:
                step = min(_CHUNK, at)
                at = file.seek(at - step)
                tail = file.read(step) + tail
    except OSError:
        return 0
    begun = len(tail) - (tail.rfind(b"\n") + 1)
    whole = at + len(tail)
    return whole if begun and parse_line(tail[-begun:])[0] else whole - begun
