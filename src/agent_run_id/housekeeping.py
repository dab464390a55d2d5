"""Housekeeping: a program that nobody ever looks at must not fill a disk, nor a directory with files.

Writers do it when they open or rotate a journal, for a few milliseconds; readers when they have read. One at a time.

Two things are done. *Retention* removes journals that are over, the oldest first, when they are too old or all of them
are too much. *Folding* puts the many small journals of processes that are over into one bundle.

Folding loses nothing for a reader at any instant: a bundle is complete when it gets its name, and the journals in it
stay for a while, until it is known to be on the disk. What a reader finds in both counts once, as every event that is
found twice. Nothing is done about processes of which it is not known that they are over: those of other hosts, and of
the time before the last boot.
"""

from __future__ import annotations

import fcntl
import math
import os
import stat
import time
from contextlib import contextmanager, suppress
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from agent_run_id.claims import sweep
from agent_run_id.errors import StoreError
from agent_run_id.events import BUNDLE_STARTED, FORMAT_VERSION, encode_fixed, encode_line
from agent_run_id.filesystems import is_ours, sync
from agent_run_id.layout import BUNDLE, JOURNALS, Name, bundle_name, parse_name
from agent_run_id.liveness import first_line, is_header, liveness_of

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from agent_run_id.settings import Retention

__all__ = ["Plan", "Removal", "keep_house", "plan_retention", "retain"]

_LOCK: Final = ".housekeeping"
_EVERY_S: Final = 60
"""A writer that opens a journal keeps house when nobody did for so long, and one in 64 does in any case."""
_LOTS: Final = "04"
_WRITER_S: Final = 0.005
_AT_LEAST: Final = 64
"""So many files are seen to in any case: on a slow disk, or a busy machine, nothing would ever be done in that time."""
_HIDDEN_S: Final = 86_400

_SMALL: Final = 1024 * 1024
_LARGE_BUNDLE: Final = 8 * 1024 * 1024
_MIN_JOURNALS: Final = 64
_MIN_BUNDLES: Final = 32
_MAX_SOURCES: Final = 1024
_MAX_SOURCES_OF_WRITER: Final = 128
_MAX_BUNDLE: Final = 64 * 1024 * 1024
_MAX_BUNDLE_OF_WRITER: Final = 4 * 1024 * 1024
_MAX_FILES_OF_WRITER: Final = 2048
_MAX_CLAIMS_OF_WRITER: Final = 256
_SETTLED_S: Final = 60
"""So long after a bundle was made the kernel has written it to the disk by itself."""


class _File(NamedTuple):
    """A journal or a bundle."""

    path: str
    name: Name
    size: int
    modified: float


class _Unit(NamedTuple):
    """Files that are folded together or not at all: the journals of one process, or one bundle."""

    files: list[_File]
    since: float

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)

    @property
    def until(self) -> float:
        return max(file.modified for file in self.files)


def keep_house(
    directory: str, retention: Retention, *, process_id: str | None = None, makes_room: bool = False
) -> None:
    """Remove what is to be removed, and fold what is small. Never raises.

    Args:
        directory: The directory that the folder of the journals is in.
        retention: How long and how much is kept.
        process_id: Of a writer, who does not always keep house, and never for long. None for a reader, who takes the
            time it takes.
        makes_room: Whether room has to be made now, for a file that is about to be begun.
    """
    lock = os.path.join(directory, _LOCK)  # noqa: PTH118 - pathlib costs 5 ms to import
    with suppress(OSError):
        is_reader = process_id is None
        if makes_room or (process_id is not None and process_id < _LOTS) or _is_due(lock, is_reader=is_reader):
            folder = os.path.join(directory, JOURNALS)  # noqa: PTH118
            with _alone(lock):
                _House(folder, retention, is_patient=is_reader).keep()


class Removal(NamedTuple):
    """A file that retention removes: a journal, or a bundle of many.

    Attributes:
        path: Where it is.
        size: In bytes.
        since: When the first of what is in it was recorded, in seconds since 1970, as far as it says.
        until: When it was last written to.
    """

    path: str
    size: int
    since: float
    until: float


class Plan(NamedTuple):
    """What retention removes, the oldest first, and how many files and bytes stay."""

    removals: list[Removal]
    kept: int
    kept_bytes: int


def plan_retention(directory: str, retention: Retention) -> Plan:
    """What retention would remove now; nothing is changed.

    Args:
        directory: The directory that the folder of the journals is in.
        retention: How long and how much is kept.

    Raises:
        StoreError: the folder cannot be read.
    """
    return _planned(directory, retention, lambda _: True)


def retain(directory: str, retention: Retention, plan: Plan) -> Plan:
    """Remove what was planned, as far as that is still to be removed. Waits for whoever keeps house at the moment.

    Raises:
        StoreError: the folder cannot be read, or it belongs to another user.
        OSError: its lock cannot be written.
    """
    # What somebody else's lock is locked by belongs to them, or they could not keep house any more.
    if not is_ours(directory):
        raise StoreError(f"what is recorded in {directory} is not yours to remove; its owner can do it")
    wanted = {removal.path for removal in plan.removals}
    with _alone(os.path.join(directory, _LOCK), waits=True):  # noqa: PTH118
        return _planned(directory, retention, lambda path: path in wanted and _remove(path))


def _planned(directory: str, retention: Retention, remove: Callable[[str], bool]) -> Plan:
    try:
        house = _House(os.path.join(directory, JOURNALS), retention, is_patient=True)  # noqa: PTH118
    except FileNotFoundError:
        return Plan([], 0, 0)
    except OSError as error:
        raise StoreError(f"the journals in {directory} cannot be read: {error.strerror}") from error
    removals: list[Removal] = []

    def note(file: _File) -> bool:
        removal = Removal(file.path, file.size, _begun(file), file.modified)
        if not remove(file.path):
            return False
        removals.append(removal)
        return True

    house.retain(note)
    return Plan(removals, *house.left())


def _is_due(lock: str, *, is_reader: bool) -> bool:
    """Whether nobody kept house for a while; in a folder that is new, there is nothing to do yet."""
    try:
        return abs(time.time() - os.stat(lock).st_mtime) > _EVERY_S  # noqa: PTH116
    except FileNotFoundError:
        if not is_reader:
            os.close(os.open(lock, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
        return is_reader


@contextmanager
def _alone(lock: str, *, waits: bool = False) -> Generator[None]:
    """Keep house alone, or not at all; where there are no locks, perhaps beside others, which costs time and no events.

    Args:
        lock: The file of the lock.
        waits: Whether to wait for somebody who does at this moment.

    Raises:
        OSError: somebody does at this moment, and is not waited for.
    """
    fd = os.open(lock, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | (0 if waits else fcntl.LOCK_NB))
        except BlockingIOError:
            raise
        except OSError:  # otherwise nobody would ever do it here, and the disk would fill up
            pass
        os.utime(fd)
        yield
    finally:
        with suppress(OSError):
            fcntl.flock(fd, fcntl.LOCK_UN)  # closing is not enough: a child forked meanwhile has it open too
        os.close(fd)


class _House:
    """One round through the folder."""

    def __init__(self, folder: str, retention: Retention, *, is_patient: bool) -> None:
        self._folder = folder
        self._retention = retention
        self._now = time.time()
        self._most = _MAX_SOURCES if is_patient else _MAX_SOURCES_OF_WRITER
        self._part = min(_MAX_BUNDLE, retention.part)
        self._most_bytes = self._part if is_patient else min(_MAX_BUNDLE_OF_WRITER, self._part)
        self._sources: set[str] = set()  # what is in a bundle that is not known to be on the disk yet
        self._unsettled: set[str] = set()  # bundles of which something that is in them is still here
        self._nameless: list[str] = []  # of processes that died before they gave them their names
        names = os.listdir(folder)  # noqa: PTH208
        if not is_patient and len(names) > _MAX_FILES_OF_WRITER:
            names = self._most_urgent(names)
        self._files = list(self._scan(names))
        self._newest: dict[str, int] = {}
        for file in self._files:
            owner, number, _ = file.name
            self._newest[owner] = max(number, self._newest.get(owner, 0))
        # From here on: to list thousands of files takes longer, and then nothing would ever be done about them.
        self._deadline = None if is_patient else time.monotonic() + _WRITER_S

    def keep(self) -> None:
        """Do what there is to do, as far as there is time for it."""
        for path in self._nameless:
            _remove(path)
        self.retain(lambda file: _remove(file.path))
        self._settle()
        self._fold(self._journals(), _MIN_JOURNALS, _journal_content)
        self._fold(self._bundles(), _MIN_BUNDLES, _bundle_content)
        if not self._is_late():
            most = None if self._deadline is None else _MAX_CLAIMS_OF_WRITER
            sweep(os.path.dirname(self._folder), age_s=self._retention.age_s, most=most)  # noqa: PTH120

    def _most_urgent(self, names: list[str]) -> list[str]:
        """Of very many files those about which something can be done now: bundles first, then the oldest journals.

        Who does not see a bundle folds once more what is in it; so what the bundles hold is noted, and left out until
        it can be removed.
        """
        names = sorted(name for name in names if not name.startswith("."))  # they begin with when they were made
        here = set(names)
        chosen: list[str] = []
        for name in [name for name in names if f"-{BUNDLE}-" in name]:
            path = os.path.join(self._folder, name)  # noqa: PTH118
            chosen.append(name)
            sources = here.intersection(_sources_of(path))
            if sources and not self._is_settled(path):
                self._unsettled.add(path)
                self._sources |= sources
            elif sources and len(chosen) < _MAX_FILES_OF_WRITER:
                chosen += sources
        known = self._sources.union(chosen)
        journals = (name for name in names if name not in known)
        return chosen + list(islice(journals, max(0, _MAX_FILES_OF_WRITER - len(chosen))))

    def _is_settled(self, bundle: str) -> bool:
        """Whether a bundle is on the disk by now."""
        with suppress(OSError):  # it was removed meanwhile
            return self._now - os.stat(bundle).st_ctime > _SETTLED_S  # noqa: PTH116
        return False

    def _scan(self, names: list[str]) -> Iterator[_File]:
        for file_name in names:
            path = os.path.join(self._folder, file_name)  # noqa: PTH118
            with suppress(FileNotFoundError):
                name, status = parse_name(file_name), os.lstat(path)
                if not stat.S_ISREG(status.st_mode):
                    continue
                if name is not None:
                    yield _File(path, name, status.st_size, status.st_mtime)
                elif file_name.endswith(".new") and self._now - status.st_mtime > _HIDDEN_S:
                    self._nameless.append(path)

    def _is_late(self) -> bool:
        return self._deadline is not None and time.monotonic() > self._deadline

    # Retention --------------------------------------------------------------------------------------------------------

    def retain(self, remove: Callable[[_File], bool]) -> None:
        """Remove what is too old or too much, and leave room for one bundle and one file that is begun.

        Args:
            remove: Is given each file that is to go, the oldest first, and says whether it is gone.
        """
        days, limit = self._retention
        self._files.sort(key=lambda file: file.modified)
        excess = -1 if limit is None else self._size() + 2 * self._part - limit
        kept: list[_File] = []
        for place, file in enumerate(self._files):
            age = self._now - file.modified
            too_old = days is not None and age > days * 86_400
            if (not too_old and excess <= 0) or (place >= _AT_LEAST and self._is_late()):
                kept.extend(self._files[place:])
                break
            if self._is_over(file, believing_age=too_old) and remove(file):
                excess -= file.size
            else:
                kept.append(file)
        self._files = kept

    def left(self) -> tuple[int, int]:
        """How many files there are, and bytes in them."""
        return len(self._files), self._size()

    def _size(self) -> int:
        return sum(file.size for file in self._files)

    def _is_over(self, file: _File, *, believing_age: bool) -> bool:
        """Whether nothing more is written to a file, as far as can be told; what is old enough counts as over."""
        owner, number, is_bundle = file.name
        if is_bundle or number < self._newest[owner]:
            return True
        fields = first_line(file.path)
        state = "unknown" if fields is None else liveness_of(file.path, fields)
        return state == "dead" or (believing_age and state == "unknown")

    # Folding ----------------------------------------------------------------------------------------------------------

    def _settle(self) -> None:
        """Remove what is in a bundle that is on the disk by now."""
        here = {os.path.basename(file.path): file for file in self._files}  # noqa: PTH119
        removed = 0
        for bundle in [file for file in self._files if file.name.is_bundle]:
            sources = [name for name in _sources_of(bundle.path) if name in here]
            with suppress(OSError):  # the disk is in trouble
                is_time = removed < _AT_LEAST or not self._is_late()
                if sources and is_time and self._is_settled(bundle.path):
                    sync(bundle.path)  # so this takes no time
                    for name in sources:
                        if _remove(here[name].path):
                            del here[name]
                    removed += len(sources)
            self._sources.update(sources)
            if not here.keys().isdisjoint(sources):
                self._unsettled.add(bundle.path)
        self._files = [file for file in self._files if os.path.basename(file.path) in here]  # noqa: PTH119

    def _unfolded(self, *, is_bundle: bool) -> Iterator[_File]:
        for file in self._files:
            if file.name.is_bundle == is_bundle and os.path.basename(file.path) not in self._sources:  # noqa: PTH119
                yield file

    def _journals(self) -> Iterator[_Unit]:
        """The small journals of processes that have died, the oldest first."""
        owners: dict[str, list[_File]] = {}
        for file in self._unfolded(is_bundle=False):
            owners.setdefault(file.name.owner, []).append(file)
        units = [_Unit(files, min(file.modified for file in files)) for files in owners.values()]
        small = [unit for unit in units if unit.size <= min(_SMALL, self._most_bytes)]
        if sum(len(unit.files) for unit in small) < _MIN_JOURNALS:
            return
        for place, unit in enumerate(sorted(small, key=lambda unit: unit.until)):
            if place >= 2 * _AT_LEAST and self._is_late():
                return
            # Not the newest alone: one that was just given up for the next is not locked, and its owner lives.
            if all(_has_died(file.path) for file in unit.files):
                yield unit

    def _bundles(self) -> Iterator[_Unit]:
        # Not those whose sources are still here: with the bundle it would be forgotten that they are in one, and they
        # would be folded once more.
        bundles = [
            file
            for file in self._unfolded(is_bundle=True)
            if file.size < _LARGE_BUNDLE and file.path not in self._unsettled
        ]
        if len(bundles) >= _MIN_BUNDLES and not self._is_late():
            for file in bundles:
                yield _Unit([file], min(file.modified, _since(file.path)))

    def _fold(self, units: Iterator[_Unit], fewest: int, content_of: Callable[[str], bytes]) -> None:
        for group, is_full in self._groups(units):
            files = [file for unit in group for file in unit.files]
            if len(files) >= fewest or (is_full and len(files) > 1):
                size, limit = sum(unit.size for unit in group), self._retention.size
                if limit is None or self._size() + size + self._part <= limit:
                    self._bundle(files, min(unit.since for unit in group), content_of)
                return

    def _groups(self, units: Iterator[_Unit]) -> Iterator[tuple[list[_Unit], bool]]:
        """Units that may be in one bundle, and whether it is full with them.

        A bundle is removed when the youngest in it is too old: with all in one, the oldest would be kept for ever.
        """
        group: list[_Unit] = []
        count, size, since = 0, 0, math.inf
        for unit in units:
            is_full = count + len(unit.files) > self._most or size + unit.size > self._most_bytes
            if is_full or unit.until - min(since, unit.since) > self._retention.part_s:
                yield group, is_full
                group, count, size, since = [], 0, 0, math.inf
            group.append(unit)
            count, size, since = count + len(unit.files), size + unit.size, min(since, unit.since)
        yield group, False

    def _bundle(self, files: list[_File], since: float, content_of: Callable[[str], bytes]) -> None:
        """Put files into a new one, which gets its name when all is in it."""
        bundle_id = os.urandom(16).hex()
        name = bundle_name(bundle_id)
        hidden = os.path.join(self._folder, f".{name}.new")  # noqa: PTH118
        sources = [os.path.basename(file.path) for file in files]  # noqa: PTH119
        said = {"time": int(self._now * 1e6), "since": int(since * 1e6), "sources": sources}
        first = encode_fixed({"type": BUNDLE_STARTED, **said})
        fd = os.open(hidden, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with open(fd, "wb") as out:  # noqa: PTH123
                out.write(encode_line(f'{{"v":{FORMAT_VERSION}{first}}}\n'))
                for file in files:
                    out.write(content_of(file.path))
            newest = max(file.modified for file in files)
            os.utime(hidden, (newest, newest))  # it is as old as what is in it
            os.rename(hidden, os.path.join(self._folder, name))  # noqa: PTH104, PTH118
        except BaseException:
            _remove(hidden)
            raise


def _journal_content(path: str) -> bytes:
    with open(path, "rb") as file:  # noqa: PTH123
        content = file.read()
    return content if content.endswith(b"\n") else content + b"\n"  # death tore its last line


def _bundle_content(path: str) -> bytes:
    with open(path, "rb") as file:  # noqa: PTH123
        file.readline()  # its own first line, which tells what was put into it
        return file.read()


def _has_died(path: str) -> bool:
    """Whether a journal says whose it is, and they have died.

    Without, a reader of a bundle would take its events for those of the one before.
    """
    fields = first_line(path)
    return fields is not None and is_header(fields) and liveness_of(path, fields) == "dead"


def _sources_of(bundle: str) -> list[str]:
    sources = (first_line(bundle) or {}).get("sources")
    return [str(name) for name in cast("Any", sources)] if isinstance(sources, list) else []


def _since(bundle: str) -> float:
    """When the oldest in a bundle was last written to."""
    since = (first_line(bundle) or {}).get("since")
    return since / 1e6 if isinstance(since, int) else 0


def _begun(file: _File) -> float:
    """When the first of what is in a file was recorded; where it does not say, when it was last written to."""
    fields = first_line(file.path) or {}
    began = fields.get("since" if file.name.is_bundle else "time")
    return began / 1e6 if isinstance(began, int) and 0 <= began <= file.modified * 1e6 else file.modified


def _remove(path: str) -> bool:
    """Whether a file is gone; one that cannot be removed must not keep the rest."""
    try:
        os.unlink(path)  # noqa: PTH108
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True
