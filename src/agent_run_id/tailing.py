"""Tailing: what is added to the journals of a directory, each event once, whatever becomes of the files.

Which processes there are is seen by looking at the folder, whose time of change says whether there is anything to see.
Only the files of processes that may still live are looked at again. A process is first asked whether it lives, then the
folder is looked at, then the files are read: so what a dead process wrote is all there.

Processes that are over are not remembered for ever. When one is found that is not known - in a bundle, or when
somebody goes on after a time - it is new if it began later than a minute before the folder was last looked at, and
known otherwise; see `positions`.
"""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING, Any, Final, cast

from agent_run_id.errors import StoreError
from agent_run_id.followed import Found, Line, Owner, end_of, sections, state_among
from agent_run_id.hosts import boot_id, host_name
from agent_run_id.layout import JOURNALS, parse_name
from agent_run_id.positions import Position, key_of
from agent_run_id.reading import read_header

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from agent_run_id.followed import Segment
    from agent_run_id.liveness import State

__all__ = ["Tail"]

_MARGIN_US: Final = 60_000_000
"""So much earlier than it was seen may a process have begun that is new."""
_REMEMBERED_US: Final = 3_600_000_000
"""So far may a clock be set back, and those that are over are still known."""
_PROBE_S: Final = 1.0
_LIST_S: Final = 5.0
"""So often the folder is looked at in any case: not every file system tells that it has changed."""
_COARSE_S: Final = 2.0
"""So long after a change another one may be hidden behind the same time of change."""
_QUIET_S: Final = 3600
_QUIET_LOOK_S: Final = 1.0
_SILENT_S: Final = 86_400
_MOST_AT_ONCE: Final = 4 * 1024 * 1024
_LOOKS: Final = 5
_MOST_PLACES: Final = 256
_FIRST_LINE: Final = 1024 * 1024


class Tail:
    """What is added to the journals of a directory from now on, or from a position on.

    Args:
        directory: The directory that the folder of the journals is in; it need not be there yet.
        position: Where to go on; None begins behind what is there now.

    Raises:
        StoreError: (an `OSError`) the folder is there and cannot be read.
    """

    def __init__(self, directory: str, position: Position | None = None) -> None:
        self._folder = os.path.join(directory, JOURNALS)  # noqa: PTH118 - as everywhere where many are joined
        self._owners: dict[str, Owner] = {}
        self._names: dict[str, tuple[str, int] | None] = {}  # which file of which process; None for bundles
        resumed = Position(_now_us() - _MARGIN_US) if position is None else position
        self._since = resumed.since
        self._over = dict(resumed.over)
        self._places = {key: dict(places) for key, places in resumed.open.items()}
        self._is_first = True
        self._pins = position is None
        self._folder_seen: tuple[int, int, int] | None = None
        self._settles_at = self._list_at = 0.0
        self._must_list = True
        self._seeks = bool(self._places)
        try:
            os.listdir(self._folder)  # noqa: PTH208
        except (FileNotFoundError, NotADirectoryError):
            pass
        except OSError as error:
            raise StoreError(f"the journals in {self._folder} cannot be read: {error.strerror}") from error
        self.discover()
        self._is_first = self._pins = False

    # What there is ----------------------------------------------------------------------------------------------------

    def discover(self) -> dict[Segment, int]:
        """Look which files there are, and how long they are: up to there they may be read."""
        now = time.monotonic()
        for owner in list(self._owners.values()):
            if owner.is_done and not owner.is_pending:
                self._close(owner)
            else:
                owner.close_old()
        dying = self._probe(now)
        if self._may_have_changed(now) or dying:
            self._list()
            for owner in dying:  # it may have gone on in another file
                owner.probe()
        return self._bounds(now)

    def _probe(self, now: float) -> list[Owner]:
        """Those that have died since they were last asked."""
        dying: list[Owner] = []
        for owner in self._owners.values():
            if owner.state != "dead" and now >= owner.probe_at:
                owner.probe_at = now + _PROBE_S
                if owner.probe() == "dead":
                    dying.append(owner)
        return dying

    def _may_have_changed(self, now: float) -> bool:
        try:
            status = os.stat(self._folder)  # noqa: PTH116
            seen = (status.st_dev, status.st_ino, status.st_mtime_ns)
        except OSError:
            seen = None
        if seen != self._folder_seen:
            self._folder_seen, self._settles_at = seen, now + _COARSE_S
        if not (self._must_list or now < self._settles_at or now >= self._list_at):
            return False
        self._must_list, self._list_at = False, now + _LIST_S
        return True

    def _bounds(self, now: float) -> dict[Segment, int]:
        bounds: dict[Segment, int] = {}
        for owner in self._owners.values():
            if now < owner.due_at and owner.state != "dead":
                continue
            for segment in owner.segments.values():
                size = segment.size()
                if size is None:  # gone, or another file
                    self._names.pop(segment.found.name, None)
                    self._must_list = True
                else:
                    bounds[segment] = size
            if owner.state == "unknown" and _is_quiet(owner, _QUIET_S):
                owner.due_at = now + _QUIET_LOOK_S
        return bounds

    def _list(self) -> None:
        """Look at the folder, again where something went while it was looked at: it may be in a bundle by now."""
        is_there = False
        for _ in range(_LOOKS):
            at = _now_us()
            try:
                names = set(os.listdir(self._folder))  # noqa: PTH208
                is_there = True
            except (FileNotFoundError, NotADirectoryError):
                names, is_there = set[str](), False
            except OSError:  # it cannot be read now; what is in it is not gone
                self._must_list = True
                return
            # A clock that was set back makes what is new look old.
            vanished = self._take_stock(names, self._since if self._since <= at else at - _MARGIN_US)
            if is_there:  # while it is away it is not known what is begun in it
                self._since = at - _MARGIN_US
            if not vanished and not any(segment.is_gone for _, segment in self._segments()):
                break
        for owner, segment in list(self._segments()):
            if segment.is_gone:
                self._drop(owner, segment)
        self._seeks = not is_there  # when it comes back, what was read of it may be in bundles that are not new
        horizon = self._since - _REMEMBERED_US
        self._over = {key: began for key, began in self._over.items() if began > horizon}

    def _take_stock(self, names: set[str], since: int) -> bool:
        """Take in what is new in the folder; whether some of it vanished meanwhile."""
        before = self._names
        fresh = names - before.keys()
        gone = before.keys() - names
        for _, segment in self._segments():
            segment.is_gone = segment.is_gone or segment.found.name not in before or segment.found.name in gone
        self._names = {name: place for name, place in before.items() if name in names} if gone else before
        bundles, vanished = self._take_journals(fresh, since)
        for name in bundles:
            vanished = self._take_bundle(name, since, known=before.keys() | self._names.keys()) or vanished
        if self._misses():
            others = sorted((name for name, place in self._names.items() if place is None), reverse=True)
            for name in others:
                if self._misses() and name not in bundles:
                    self._take_bundle(name, since, known=set())
            self._forget_copies_of_gone()
        return vanished

    def _take_journals(self, fresh: Iterable[str], since: int) -> tuple[list[str], bool]:
        """Take in new files; the bundles among them, the newest first, and whether some file has vanished."""
        bundles: list[str] = []
        groups: dict[str, list[Found]] = {}
        vanished = False
        for name in sorted(fresh):
            parsed, path = parse_name(name), os.path.join(self._folder, name)  # noqa: PTH118
            if parsed is None:
                continue
            if parsed.is_bundle:
                bundles.append(name)
            elif (header := read_header(path)) is None:
                vanished = vanished or not os.path.exists(path)  # noqa: PTH110
            else:
                found = Found(name, path, header, is_original=_inode(path) == header.fields.get("inode"))
                groups.setdefault(key_of(header.process), []).append(found)
        listed = {place[0] for place in self._names.values() if place is not None} if groups else set[str]()
        for key, group in groups.items():
            self._meet(key, group, since, is_listed=key in listed)
            self._names.update({found.name: (key, found.header.segment) for found in group})
        return bundles[::-1], vanished

    def _take_bundle(self, name: str, since: int, *, known: Iterable[str]) -> bool:
        """Take in the processes of a bundle that are not known, and files that are in it by now; whether it is gone."""
        path = os.path.join(self._folder, name)  # noqa: PTH118
        try:
            made, sources = _first_line(path)
            self._names[name] = None
            if self._misses() or (made > since and not set(sources) <= set(known)):
                groups: dict[str, list[Found]] = {}
                for found in sections(name, path):
                    groups.setdefault(key_of(found.header.process), []).append(found)
                for key, group in groups.items():
                    self._meet(key, group, since, is_listed=False)
        except OSError:
            self._names.pop(name, None)
            return True
        return False

    def _meet(self, key: str, group: list[Found], since: int, *, is_listed: bool) -> None:
        """Go on with a process, begin to follow it, or note that it is over and known."""
        owner = self._owners.get(key)
        if owner is None:
            state, began = state_among(group), max(found.began for found in group)
            # What was brought here is new whenever it began; but a copy of what was here is not.
            is_brought = state == "unknown" and not self._is_first and not any(_is_of_here(found) for found in group)
            is_new = state == "alive" or is_brought or began > since
            was_read = key in self._places
            places = None if is_listed else self._begin(key, group, state, is_new=is_new)
            if places is None:
                self._over[key] = max(began, self._over.get(key, 0))
                return
            owner = self._owners[key] = Owner(key, places, state, was_read=was_read)
        elif self._pins:  # of what is here already, a part is in a bundle
            owner.places.update(_ends(group))
        for found in group:
            owner.attach(found)

    def _begin(self, key: str, group: list[Found], state: State, *, is_new: bool) -> dict[int, int] | None:
        """From where on a process is followed that was not before; None when it is over and known."""
        places = self._places.pop(key, None)
        if places is not None:
            return places
        if key in self._over:
            return None
        if is_new and not self._pins:
            return {}
        # Nobody goes on in a copy of what was recorded here.
        if state == "dead" or all(_is_of_here(found) and not found.is_original for found in group):
            return None
        return _ends(group)

    # What is gone -----------------------------------------------------------------------------------------------------

    def _segments(self) -> Iterator[tuple[Owner, Segment]]:
        for owner in self._owners.values():
            for segment in owner.segments.values():
                yield owner, segment

    def _misses(self) -> bool:
        """Whether there is anything to look for in bundles."""
        if self._seeks and (self._places or any(owner.is_partly_found for owner in self._owners.values())):
            return True
        return any(segment.is_gone for _, segment in self._segments())

    def _forget_copies_of_gone(self) -> None:
        """Where the file of a process is gone and a copy is there, that is found as if it were new."""
        gone = {(owner.key, segment.number) for owner, segment in self._segments() if segment.is_gone}
        if gone:
            self._names = {name: place for name, place in self._names.items() if place not in gone}

    def _drop(self, owner: Owner, segment: Segment) -> None:
        """Follow a file no more that is gone; a folder that was away for a while comes back with it."""
        owner.drop(segment)
        if not owner.segments:
            del self._owners[owner.key]
            self._places[owner.key] = owner.left_at()
            for key in [*self._places][:-_MOST_PLACES]:
                del self._places[key]

    def _close(self, owner: Owner) -> None:
        del self._owners[owner.key]
        self._over[owner.key] = owner.began

    # What is in it ----------------------------------------------------------------------------------------------------

    def look_ahead(self, bounds: dict[Segment, int]) -> Iterator[dict[str, Any]]:
        """All events up to `bounds` that were not looked at before, without taking them."""
        for segment, bound in bounds.items():
            yield from segment.look_ahead(bound)

    def take(self, bounds: dict[Segment, int]) -> tuple[list[Line], bool]:
        """The next events up to `bounds`, by their time, but those of one file in its order; and whether more is there.

        Whoever takes them hands them all out before taking the next.
        """
        timed: list[tuple[int, Line]] = []
        budget, is_more = _MOST_AT_ONCE, False
        for key in list(self._owners):
            if budget <= 0:
                return _by_time(timed), True
            owner = self._owners[key] = self._owners.pop(key)  # the others come first the next time
            latest = 0
            for segment in owner.segments.values():
                bound, start = bounds.get(segment), segment.read
                if bound is None or segment.covered == bound:
                    continue
                for line in segment.take(bound):
                    latest = max(latest, _time_of(line.event))
                    timed.append((latest, line))
                budget -= segment.read - start
                if segment.covered != bound:  # the rest of it comes before what is in the next one
                    is_more = True
                    break
            if owner.state == "dead":
                owner.is_done = all(segment.covered == segment.size() for segment in owner.segments.values())
        return _by_time(timed), is_more

    def position(self) -> Position:
        """How far everything was handed out."""
        places = dict(self._places)
        over = {key: began for key, began in self._over.items() if began > self._since}
        for key, owner in self._owners.items():
            if (
                owner.is_pending
                or not owner.segments
                or not (owner.is_done or (owner.state == "unknown" and _is_quiet(owner, _SILENT_S)))
            ):
                places[key] = owner.position()
            elif owner.began > self._since:
                over[key] = owner.began
        return Position(self._since, over, places)


def _ends(group: list[Found]) -> dict[int, int]:
    """How far each file of a process goes by now; a copy may end earlier than what it was made of."""
    group.sort(key=lambda found: found.is_original)
    return {
        found.header.segment: end_of(found.path) if found.end is None else found.end - found.base for found in group
    }


def _by_time(timed: list[tuple[int, Line]]) -> list[Line]:
    timed.sort(key=lambda pair: pair[0])
    return [line for _, line in timed]


def _time_of(event: dict[str, Any]) -> int:
    when = event.get("time")
    return when if type(when) is int else 0


def _now_us() -> int:
    return time.time_ns() // 1000


def _is_quiet(owner: Owner, seconds: float) -> bool:
    """Whether all its files were read, and nothing was written to them for so long."""
    now = time.time()
    return all(0 < segment.modified < now - seconds for segment in owner.segments.values())


def _is_of_here(found: Found) -> bool:
    """Whether its owner ran on this host, since it was last started."""
    fields = found.header.fields
    return (fields.get("host"), fields.get("boot")) == (host_name(), boot_id())


def _inode(path: str) -> int | None:
    try:
        return os.stat(path).st_ino  # noqa: PTH116
    except OSError:
        return None


def _first_line(bundle: str) -> tuple[float, list[str]]:
    """When a bundle was made, and of which files.

    Raises:
        OSError: it cannot be read.
    """
    with open(bundle, "rb") as file:  # noqa: PTH123
        line = file.readline(_FIRST_LINE)
    try:
        fields: Any = json.loads(line)
        made: Any = fields["time"]
        sources: Any = fields["sources"]
    except (ValueError, TypeError, KeyError, RecursionError):
        made = sources = None
    if type(made) is not int or not isinstance(sources, list):
        return float("inf"), [""]
    return made, [str(source) for source in cast("Any", sources)]
