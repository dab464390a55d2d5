"""Check-ups: how it stands with a directory of runs. Nothing in it is changed but the index, as by any reader.

The index is looked at as it is found. Then it is brought up to date, which mends it, and asked what the journals hold.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import sqlite3
import stat
import tempfile
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from agent_run_id import settings
from agent_run_id.diagnoses import Finding
from agent_run_id.errors import StoreError
from agent_run_id.filesystems import network_type
from agent_run_id.index import Index
from agent_run_id.layout import JOURNALS
from agent_run_id.looking import look_at_index, look_at_runs, look_beside

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from agent_run_id.diagnoses import Health
    from agent_run_id.index import Progress

__all__ = ["check_store"]

_READ: Final = stat.S_IRGRP | stat.S_IROTH | stat.S_IXGRP | stat.S_IXOTH
_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH
_WHY: Final = {"configure": "configure(directory=…) says so", "default": "the default for this user"}
_FEW: Final = 64 * 1024 * 1024
"""Bytes; a disk with less is full at any moment."""
_PROBE: Final = ".doctor-"


def check_store(
    directory: str | os.PathLike[str] | None = None, *, progress: Callable[[Progress], None] | None = None
) -> list[Finding]:
    """Look at everything about the directory in which runs are recorded.

    Args:
        directory: The directory; by default where this process records.
        progress: Is told how far the index is, while there is much to read.
    """
    if directory is not None:
        place = Path(directory).absolute()
        return [Finding(subject="directory", health="ok", text=f"{place}: as asked"), *_check(place, progress)]
    try:
        where = settings.directory()
    except StoreError as error:
        return [*_settings(), Finding(subject="directory", health="wrong", text=str(error))]
    why = _WHY.get(settings.named_by(), f"{settings.named_by()} says so")
    if where is None:
        text = f"none, recording is off: {why}"
        advice = f"to record, set {settings.DIRECTORY_VARIABLE} to a directory, or to nothing"
        return [*_settings(), Finding(subject="directory", health="note", text=text, advice=advice)]
    found = [*_settings(), Finding(subject="directory", health="ok", text=f"{where}: {why}")]
    return [*found, *_check(Path(where), progress, records=True)]


def _settings() -> Iterator[Finding]:
    for variable, takes in settings.ignored().items():
        text = f"{variable}={os.environ[variable]!r} is ignored"
        yield Finding(subject="settings", health="note", text=text, advice=f"it takes {takes}")


def _check(place: Path, progress: Callable[[Progress], None] | None, *, records: bool = False) -> Iterator[Finding]:
    """Look at a directory; what hinders recording is only wrong where this process would record."""
    try:
        status = place.stat()
    except FileNotFoundError:
        yield _not_there(place, records=records)
        return
    except OSError as error:
        yield _wrong("directory", f"cannot be looked at: {error.strerror}", "see who owns what is above it")
        return
    if not stat.S_ISDIR(status.st_mode):
        yield _wrong("directory", f"{place} is no directory", f"name another with {settings.DIRECTORY_VARIABLE}")
        return
    yield _owner(place, status, records=records)
    yield from _modes(place)
    yield from _writing(place, records=records)
    yield _file_system(place)
    yield from _space(place)
    yield from _index(place, progress)


def _not_there(place: Path, *, records: bool) -> Finding:
    above = next(parent for parent in place.parents if parent.exists())
    if not records:
        return Finding(subject="directory", health="note", text="it is not there", advice="`runid where` tells another")
    if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
        advice = f"make it, or name another with {settings.DIRECTORY_VARIABLE}"
        return _wrong("directory", f"it is not there, and cannot be made: {above} cannot be written", advice)
    return Finding(subject="directory", health="note", text="it is not there yet: the first run makes it")


def _owner(place: Path, status: os.stat_result, *, records: bool) -> Finding:
    if status.st_uid == os.geteuid():
        return Finding(subject="owner", health="ok", text="it is yours")
    text = f"it belongs to user {status.st_uid}, and you are user {os.geteuid()}"
    if records:
        return _wrong("owner", f"{text}: nothing is recorded", f"name another with {settings.DIRECTORY_VARIABLE}")
    return Finding(subject="owner", health="note", text=f"{text}: it is only read")


def _modes(place: Path) -> Iterator[Finding]:
    """Whether anybody else may read or write what is recorded."""
    places = [place, place / JOURNALS]
    with suppress(OSError):
        places += (place / JOURNALS).iterdir()
    loose: dict[Health, list[Path]] = {"note": [], "wrong": []}
    for each in places:
        with suppress(OSError):
            mode = each.stat().st_mode
            if mode & _WRITE:
                loose["wrong"].append(each)
            elif mode & _READ:
                loose["note"].append(each)
    verbs: dict[Health, str] = {"wrong": "change", "note": "read"}
    for health, verb in verbs.items():
        if loose[health]:
            first = loose[health][0]
            more = f" and {len(loose[health]) - 1} more" if len(loose[health]) > 1 else ""
            text = f"others may {verb} {first} ({stat.S_IMODE(first.stat().st_mode):04o}){more}"
            advice = f"chmod -R go= '{place}'"
            yield Finding(subject="permissions", health=health, text=text, advice=advice)
    if not any(loose.values()):
        yield Finding(subject="permissions", health="ok", text=f"nobody else may read it ({len(places)} looked at)")


def _writing(place: Path, *, records: bool) -> Iterator[Finding]:
    """Whether a file can be made and locked there; the one that is made goes again."""
    folder = place / JOURNALS if (place / JOURNALS).is_dir() else place
    try:
        with tempfile.NamedTemporaryFile(prefix=_PROBE, dir=folder) as file:
            yield Finding(subject="writing", health="ok", text="a file can be made there")
            yield _locks(file.name)
    except OSError as error:
        text = f"no file can be made in {folder}: {error.strerror}"
        if records:
            yield _wrong("writing", f"{text}, so nothing is recorded", _remedy(error, place))
        else:
            yield Finding(subject="writing", health="note", text=text)


def _remedy(error: OSError, place: Path) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "make room on the disk"
    if error.errno == errno.EROFS:
        return f"it is mounted read-only: name another with {settings.DIRECTORY_VARIABLE}"
    return f"chmod u+rwx '{place}', or name another with {settings.DIRECTORY_VARIABLE}"


def _locks(name: str) -> Finding:
    advice = f"name a directory of this machine with {settings.DIRECTORY_VARIABLE}"
    with open(name, "rb") as ours, open(name, "rb") as theirs:  # noqa: PTH123
        try:
            fcntl.flock(ours, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            text = f"there are none ({error.strerror}): who lives is told by process numbers alone"
            return Finding(subject="locks", health="note", text=text, advice=advice)
        try:
            fcntl.flock(theirs, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return Finding(subject="locks", health="ok", text="a lock keeps others out, and so tells who lives")
    return _wrong("locks", "a lock keeps nobody out: runs that go on are taken for lost", advice)


def _file_system(place: Path) -> Finding:
    network = network_type(str(place))
    if network is None:
        return Finding(subject="file system", health="ok", text="it is on this machine, as far as that is told")
    text = f"it is on another machine ({network}): who lives elsewhere cannot be told, and the index is in your cache"
    advice = f"name a directory of this machine with {settings.DIRECTORY_VARIABLE}"
    return Finding(subject="file system", health="note", text=text, advice=advice)


def _space(place: Path) -> Iterator[Finding]:
    try:
        free = shutil.disk_usage(place).free
    except OSError:
        return
    used = 0
    with suppress(OSError):
        used = sum(file.stat().st_size for file in (place / JOURNALS).iterdir())
    kept = settings.retention().size
    text = f"{_bytes(used)} of journals, {_bytes(free)} are free"
    if free < _FEW:
        yield _wrong("space", text, "make room: what does not fit is not recorded")
    elif kept is None:
        advice = f"{settings.BYTES_VARIABLE} sets a limit"
        yield Finding(subject="space", health="note", text=f"{text}, and all is kept", advice=advice)
    elif used + free < kept:
        advice = f"set {settings.BYTES_VARIABLE} to less"
        text = f"{text}, and {_bytes(kept)} may be kept: the disk is full before"
        yield Finding(subject="space", health="note", text=text, advice=advice)
    else:
        yield Finding(subject="space", health="ok", text=f"{text}, {_bytes(kept)} may be kept")


def _index(place: Path, progress: Callable[[Progress], None] | None) -> Iterator[Finding]:
    with closing(Index(str(place), progress)) as index:
        yield from look_beside(index)
        before = look_at_index(index)
        try:
            index.update()
            runs = list(look_at_runs(index))
        except (OSError, sqlite3.Error) as error:
            runs = [_wrong("journals", " ".join(str(error).split()), f"chmod -R u+rwX '{place}'")]
        yield before if before.health == "ok" else _mended(before, look_at_index(index))
        yield from runs


def _mended(before: Finding, after: Finding) -> Finding:
    """What is said of an index that was not as it should be: reading mends what it meets, and not what it does not."""
    if after.health != "ok":
        return after
    text = f"{before.text}; now it has been made anew"
    return Finding(subject=before.subject, health="note", text=text, advice="look at the disk if this comes again")


def _wrong(subject: str, text: str, advice: str) -> Finding:
    return Finding(subject=subject, health="wrong", text=text, advice=advice)


def _bytes(size: int) -> str:
    amount, unit = float(size), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if amount < 1024:
            break
        amount, unit = amount / 1024, larger
    return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
