"""Looking: what an index says of the journals it was made from, and how it is itself."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from agent_run_id.diagnoses import Finding
from agent_run_id.hosts import boot_id, host_name
from agent_run_id.index import INDEX_VERSION
from agent_run_id.index.layout import LAYOUT
from agent_run_id.layout import JOURNALS, parse_name
from agent_run_id.surveys import stats

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from agent_run_id.index import Index

__all__ = ["look_at_index", "look_at_runs", "look_beside"]

_OLDEST_SQLITE: Final = (3, 37, 0)
_PATIENCE_S: Final = 3.0
_STEPS: Final = 100_000
_LATEST: Final = 20_000  # runs
_JUMP_US: Final = 60_000_000

_MISSING: Final = (
    "SELECT total(missing) AS events, count(*) AS processes FROM (SELECT max(last_seq) - min(first_seq) + 1"
    " - sum(last_seq - first_seq + 1) AS missing FROM applied GROUP BY process HAVING missing > 0)"
)
_TORN: Final = "SELECT name, unreadable FROM journals WHERE unreadable > 0 ORDER BY unreadable DESC"
_SKEWED: Final = (
    "SELECT count(*) AS runs, max(p.started_at - r.started_at) AS most FROM"
    " (SELECT * FROM runs WHERE started_at IS NOT NULL ORDER BY started_at DESC LIMIT ?) r"
    " JOIN runs p ON p.pk = r.parent WHERE p.started_at > r.started_at"
)
_AHEAD: Final = "SELECT count(*) AS runs, max(last_event_at) AS latest FROM runs WHERE started_at > ?"


# The index itself -----------------------------------------------------------------------------------------------------


def look_at_index(index: Index) -> Finding:
    """Look at the file of an index as it is found, without opening it for writing."""
    if not index.path.exists():
        return Finding(subject="index", health="ok", text="none yet: the first reading makes it")
    return _found(index.path, index.directory / JOURNALS)


def look_beside(index: Index) -> Iterator[Finding]:
    """Look at what an index is made with, and at what else there is beside it."""
    yield _sqlite()
    yield from _others(index.path)


def _sqlite() -> Finding:
    if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
        text = f"{sqlite3.sqlite_version} is too old"
        advice = "use a Python with SQLite 3.37 or later"
        return Finding(subject="sqlite", health="wrong", text=text, advice=advice)
    with closing(sqlite3.connect(":memory:")) as connection:
        [(searches,)] = connection.execute("SELECT sqlite_compileoption_used('ENABLE_FTS5')")
    if not searches:
        text = f"{sqlite3.sqlite_version}, without FTS5: words cannot be searched for"
        return Finding(subject="sqlite", health="note", text=text, advice="use a Python whose SQLite has it")
    return Finding(subject="sqlite", health="ok", text=f"{sqlite3.sqlite_version}, with FTS5")


def _found(path: Path, folder: Path) -> Finding:
    behind: int | None = None
    try:
        with closing(sqlite3.connect(f"file:{quote(os.fsencode(path))}?mode=ro", uri=True)) as connection:
            damage = _damage(connection)
            if damage is None:
                [(version,)] = connection.execute("PRAGMA user_version")
                behind = _behind(connection, folder) if version == LAYOUT else None
    except sqlite3.Error as error:
        if error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return Finding(subject="index", health="ok", text=f"{path} is being written, and was not looked at")
        damage = str(error)
    if damage is not None or behind is None:
        text = f"{path} is damaged: {damage}" if damage else f"{path} is laid out as by another version"
        advice = f"delete it; the next reading makes it again: rm '{path}'*"
        return Finding(subject="index", health="wrong", text=text, advice=advice)
    late = f", {behind:,} bytes behind the journals" if behind else ", up to date"
    return Finding(subject="index", health="ok", text=f"{path} is sound{late}")


def _damage(connection: sqlite3.Connection) -> str | None:
    """What is wrong with a database; None for nothing that could be found in a few seconds."""
    until = time.monotonic() + _PATIENCE_S
    connection.set_progress_handler(lambda: time.monotonic() > until, _STEPS)
    try:
        told = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
            raise
        return None
    finally:
        connection.set_progress_handler(None, 0)
    return None if told == "ok" else str(told).splitlines()[-1]


def _behind(connection: sqlite3.Connection, folder: Path) -> int:
    """How many bytes of journals were not read yet."""
    read = dict(connection.execute("SELECT name, offset FROM journals").fetchall())
    behind = 0
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if parse_name(entry.name) is not None:
                with suppress(OSError):
                    behind += max(0, entry.stat().st_size - read.get(entry.name, 0))
    return behind


def _others(path: Path) -> Iterator[Finding]:
    others = sorted(
        other.name for other in path.parent.glob("index-*") if not other.name.startswith(f"index-{INDEX_VERSION}.")
    )
    if others:
        text = f"{', '.join(others[:3])}{' and more' if len(others) > 3 else ''}: of another version of this library"
        advice = "delete what no version that you use has made"
        yield Finding(subject="other indexes", health="note", text=text, advice=advice)


# What it says ---------------------------------------------------------------------------------------------------------


def look_at_runs(index: Index) -> Iterator[Finding]:
    """Say what the journals hold, and what they hold no more; the index is up to date."""
    held = stats(index)
    runs = f"{held.runs:,} runs, {held.events:,} events in {held.journals:,} journals"
    yield Finding(subject="journals", health="ok", text=runs)
    headers = [json.loads(row["header"]) for row in index.read("SELECT header FROM processes")]
    yield _processes(held.processes, headers)
    yield _unreadable(index, held.unreadable)
    yield _lost(index)
    yield from _clocks(index, headers)


def _processes(states: Any, headers: list[dict[str, Any]]) -> Finding:
    elsewhere = sum(header.get("host") != host_name() for header in headers)
    told = [f"{states.get(state, 0):,} {state}" for state in ("alive", "dead", "unknown") if states.get(state)]
    if elsewhere:
        told.append(f"{elsewhere:,} of other machines")
    text = ", ".join(told) or "none has recorded anything"
    if states.get("unknown"):
        text += "; of the unknown it cannot be told here whether they live, so their open runs stay running"
        return Finding(subject="processes", health="note", text=text)
    return Finding(subject="processes", health="ok", text=text)


def _unreadable(index: Index, pieces: int) -> Finding:
    if not pieces:
        return Finding(subject="lines", health="ok", text="all can be read")
    names = [row["name"] for row in index.read(_TORN)]
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    text = f"{pieces:,} pieces of journals are no events: in {names[0]}{more}; all around them is read"
    advice = "see whether the disk was full or a machine crashed then"
    return Finding(subject="lines", health="note", text=text, advice=advice)


def _lost(index: Index) -> Finding:
    """Whether writers have dropped events: then numbers are missing between others of the same process."""
    [missing] = index.read(_MISSING)
    if not missing["processes"]:
        return Finding(subject="losses", health="ok", text="no process has dropped an event between others")
    text = f"{int(missing['events']):,} events of {missing['processes']:,} processes are missing between others"
    advice = "their programs have warned why: the disk was full, or the directory could not be written"
    return Finding(subject="losses", health="note", text=text, advice=advice)


def _clocks(index: Index, headers: list[dict[str, Any]]) -> Iterator[Finding]:
    now = time.time_ns() // 1000
    [ahead] = index.read(_AHEAD, [now + _JUMP_US])
    [skewed] = index.read(_SKEWED, [_LATEST])
    jumped = sum(_began_before_its_time(header) for header in headers)
    advice = "set the clocks of the machines by the same time server; order and trees do not depend on them"
    told: list[str] = []
    if ahead["runs"]:
        told.append(f"{ahead['runs']:,} runs started later than now")
    if skewed["runs"]:
        told.append(f"{skewed['runs']:,} started before their parents, by up to {skewed['most'] / 1e6:,.3f} s")
    if jumped:
        told.append(f"{jumped:,} processes began before the clock of this machine was set forward")
    if told:
        yield Finding(subject="clocks", health="note", text=", ".join(told), advice=advice)
    else:
        yield Finding(subject="clocks", health="ok", text="no run is of the future or older than its parent")


def _began_before_its_time(header: dict[str, Any]) -> bool:
    """Whether a journal of this boot says a time at which, by the clock of today, its process had not begun."""
    began, said = header.get("pid_started"), header.get("time")
    if (
        header.get("boot") != boot_id()
        or not isinstance(said, int)
        or not isinstance(began, str)
        or not began.isdigit()
    ):
        return False
    try:
        booted = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
        started = booted + int(began) / os.sysconf("SC_CLK_TCK")
    except (AttributeError, OSError, ValueError):
        return False
    return said < started * 1e6 - _JUMP_US
