"""The index: a SQLite database built from journals, which answers what reading them all would answer, only sooner.

It is a cache: named by its format, deletable at any time, rebuilt by itself when malformed. Every event is applied
exactly once, by (process, sequence), however many readers race and however often a journal was copied. The row of a run
is folded anew from all its events whenever one arrives, so no order of journals can give another content.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import sqlite3
import threading
import time
import weakref
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from agent_run_id import settings
from agent_run_id.filesystems import network_type
from agent_run_id.housekeeping import keep_house
from agent_run_id.index_update import Update
from agent_run_id.layout import JOURNALS

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable


__all__ = ["INDEX_VERSION", "Index"]

INDEX_VERSION: Final = 1

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS processes (
    pk INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    state TEXT NOT NULL,
    header TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS journals (
    name TEXT PRIMARY KEY,
    offset INTEGER NOT NULL,
    unreadable INTEGER NOT NULL DEFAULT 0,
    sealed INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS parts (
    process INTEGER NOT NULL REFERENCES processes,
    journal TEXT NOT NULL,
    first_seq INTEGER,
    last_seq INTEGER,
    PRIMARY KEY (process, journal)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS parts_by_journal ON parts (journal);
CREATE TABLE IF NOT EXISTS runs (
    pk INTEGER PRIMARY KEY,
    id BLOB NOT NULL UNIQUE,
    parent INTEGER REFERENCES runs,
    root INTEGER REFERENCES runs,
    depth INTEGER NOT NULL DEFAULT 0,
    name TEXT,
    kind TEXT,
    key TEXT,
    status TEXT,
    started_at INTEGER,
    ended_at INTEGER,
    last_event_at INTEGER,
    elapsed INTEGER,
    user_id TEXT,
    session_id TEXT,
    summary TEXT,
    owner INTEGER REFERENCES processes,
    seq INTEGER,
    details TEXT NOT NULL DEFAULT '{}'
);
CREATE INDEX IF NOT EXISTS runs_by_parent ON runs (parent) WHERE parent IS NOT NULL;
CREATE INDEX IF NOT EXISTS runs_by_root ON runs (root);
CREATE INDEX IF NOT EXISTS runs_by_start ON runs (started_at);
CREATE INDEX IF NOT EXISTS roots_by_start ON runs (started_at) WHERE parent IS NULL;
CREATE INDEX IF NOT EXISTS open_runs ON runs (owner) WHERE status = 'running';
CREATE TABLE IF NOT EXISTS events (
    process INTEGER NOT NULL REFERENCES processes,
    seq INTEGER NOT NULL,
    run INTEGER NOT NULL REFERENCES runs,
    type TEXT NOT NULL,
    time INTEGER NOT NULL,
    data TEXT NOT NULL,
    PRIMARY KEY (process, seq)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS events_by_run ON events (run);
"""

# Kept in the database: one that was laid out otherwise is made anew, even where nobody counted the version up.
_LAYOUT: Final = zlib.crc32(_SCHEMA.encode()) & 0x7FFF_FFFF
_BUSY_S: Final = 60.0
_KEEP_HOUSE_S: Final = 60.0
# What is wrong with a file that was damaged, or deleted under a reader: then tables are missing, or it cannot be read.
_DAMAGED: Final = (
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_ERROR,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_READONLY,
)
_TRIES: Final = 5

T = TypeVar("T")


class Index:
    """The index of one directory. `update` brings it up to date; `read` queries it.

    One instance may be used from any number of threads, and after a fork.

    Args:
        directory: The directory the journals are in; it need not exist.
    """

    def __init__(self, directory: str) -> None:
        self.directory: Path = Path(directory)
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._keep_house_at = 0.0
        _indexes.add(self)

    @property
    def path(self) -> Path:
        """Where the database is: beside the journals, or in the reader's cache where it does not belong there.

        A file of root's would lock the owner out, and on a network file system SQLite's locks cannot be relied on.
        """
        name = f"index-{INDEX_VERSION}.sqlite3"
        if _is_ours(self.directory) and network_type(str(self.directory)) is None:
            return self.directory / name
        base = os.environ.get("XDG_CACHE_HOME", "")
        cache = Path(base) if os.path.isabs(base) else Path(os.path.expanduser("~")) / ".cache"  # noqa: PTH111, PTH117
        digest = hashlib.sha256(os.fsencode(self.directory)).hexdigest()[:16]
        return cache / "agent-run-id" / digest / name

    def update(self) -> None:
        """Apply what the journals have beyond what was applied before, and do the housekeeping that is due.

        Raises:
            StoreError: the directory exists and cannot be read.
        """
        self._healed(self._apply_all)
        if time.monotonic() >= self._keep_house_at and _is_ours(self.directory):
            self._keep_house_at = time.monotonic() + _KEEP_HOUSE_S
            keep_house(str(self.directory), settings.retention())

    def read(self, sql: str, parameters: Iterable[Any] = ()) -> list[sqlite3.Row]:
        """The rows of one query."""
        return self._healed(lambda: self._connected().execute(sql, tuple(parameters)).fetchall())

    def _healed(self, act: Callable[[], T]) -> T:
        """Do `act`; when the database turns out to be damaged or gone, make it anew and do it again.

        Somebody who goes on deleting it does not keep us from answering: the last try is in memory.
        """
        with self._lock:
            for again in range(_TRIES):
                try:
                    if again:
                        self._apply_all()
                    return act()
                except sqlite3.DatabaseError as error:
                    if not _is_damage(error):
                        raise
                    self._remove()
            self._connection = _prepared(":memory:")
            self._apply_all()
            return act()

    def __del__(self) -> None:
        # Python 3.13 complains of a connection that nobody closed, and a registry made for one question is fine.
        self.close()

    def close(self) -> None:
        """Close the database; the next use opens it again."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
            self._connection = None

    def leave_to_parent(self) -> None:
        """In a forked child: leave the connection alone, and the lock, which a thread may hold that is not here.

        A connection that crossed a fork corrupts the file without a sound, and closing it may too.
        """
        if self._connection is not None:
            _parents.append(self._connection)
        self._connection = None
        self._lock = threading.RLock()

    def _connected(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = self._open()
        return self._connection

    def _open(self) -> sqlite3.Connection:
        try:
            if not self.directory.is_dir():
                return _prepared(":memory:")
            path = self.path
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with _file_lock(path):
                try:
                    return _prepared(str(path))
                except sqlite3.DatabaseError as error:
                    if not _is_damage(error):
                        raise
                    _remove(path)
                    return _prepared(str(path))
        except OSError:
            return _prepared(":memory:")

    def _remove(self) -> None:
        self.close()
        path = self.path
        with _file_lock(path):
            _remove(path)

    def _apply_all(self) -> None:
        connection = self._connected()
        # IMMEDIATE: a transaction that reads and then writes fails at once when another writes meanwhile.
        connection.execute("BEGIN IMMEDIATE")
        try:
            Update(connection, self.directory / JOURNALS).apply()
        except BaseException:
            connection.rollback()
            raise
        connection.commit()


def _is_ours(directory: Path) -> bool:
    """Whether a directory belongs to this user, who can write there."""
    try:
        return directory.stat().st_uid == os.geteuid() and os.access(directory, os.W_OK)
    except OSError:
        return False


def _is_damage(error: sqlite3.DatabaseError) -> bool:
    """Whether a file that is made anew would be free of it; that it is locked, for one, would not."""
    return error.sqlite_errorcode & 0xFF in _DAMAGED


def _prepared(path: str) -> sqlite3.Connection:
    if path != ":memory:":
        # SQLite gives its other files the mode of this one.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    connection = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
    try:
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        _lay_out(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _lay_out(connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN IMMEDIATE")
    layout = connection.execute("PRAGMA user_version").fetchone()[0]
    if layout not in (0, _LAYOUT):
        error = sqlite3.DatabaseError("the index has the layout of another version")
        error.sqlite_errorcode = sqlite3.SQLITE_NOTADB
        raise error
    for statement in (*_SCHEMA.split(";\n"), f"PRAGMA user_version = {_LAYOUT}"):
        connection.execute(statement)
    connection.commit()


def _remove(path: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{path}{suffix}")  # noqa: PTH108


@contextlib.contextmanager
def _file_lock(path: Path) -> Generator[None]:
    """One process at a time creates or replaces the database."""
    with open(f"{path}.lock", "a", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            # Closing is not enough: a child that was forked meanwhile has the file open too, and would wait for itself.
            fcntl.flock(file, fcntl.LOCK_UN)


_indexes: weakref.WeakSet[Index] = weakref.WeakSet()
_parents: list[sqlite3.Connection] = []  # kept, so that they are not closed


def _in_forked_child() -> None:
    for index in list(_indexes):
        index.leave_to_parent()


os.register_at_fork(after_in_child=_in_forked_child)
