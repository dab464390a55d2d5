"""The index: a SQLite database built from journals, which answers what reading them all would answer, only sooner.

It is a cache: named by its format, deletable at any time, rebuilt by itself when malformed. Every event is applied
exactly once, by (process, sequence), however many readers race and however often a journal was copied. What is known
of a run is folded from all its events whenever one arrives that changes it, so no order of journals can give another
content. One that is made anew is built under another name and put in its place when it is whole.
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
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import quote

from agent_run_id import settings
from agent_run_id.errors import StoreError
from agent_run_id.filesystems import is_ours, network_type
from agent_run_id.housekeeping import keep_house
from agent_run_id.index.layout import LAYOUT, create_indexes, create_tables
from agent_run_id.index.update import Progress, Update
from agent_run_id.layout import JOURNALS

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable


__all__ = ["INDEX_VERSION", "Index", "Progress"]

INDEX_VERSION: Final = 4

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
_FOR_SHARING: Final = (
    "journal_mode = WAL",
    "synchronous = NORMAL",
    "cache_size = -65536",
    "wal_autocheckpoint = 8000",  # pages: every checkpoint waits for the disk
)
_FOR_BUILDING: Final = ("journal_mode = OFF", "synchronous = OFF", "locking_mode = EXCLUSIVE", "cache_size = -262144")

T = TypeVar("T")


class Index:
    """The index of one directory. `update` brings it up to date; `read` queries it.

    One instance may be used from any number of threads, and after a fork.

    Args:
        directory: The directory the journals are in; it need not exist.
        progress: Is told how far an update is that has much to read; None for nobody.
    """

    def __init__(self, directory: str, progress: Callable[[Progress], None] | None = None) -> None:
        self.directory: Path = Path(directory)
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._progress = progress
        self._update: Update | None = None
        self._keep_house_at = 0.0
        _indexes.add(self)

    @property
    def path(self) -> Path:
        """Where the database is: beside the journals, or in the reader's cache where it does not belong there.

        A file of root's would lock the owner out, and on a network file system SQLite's locks cannot be relied on.
        """
        name = f"index-{INDEX_VERSION}.sqlite3"
        if is_ours(str(self.directory)) and network_type(str(self.directory)) is None:
            return self.directory / name
        base = os.environ.get("XDG_CACHE_HOME", "")
        cache = Path(base) if os.path.isabs(base) else Path(os.path.expanduser("~")) / ".cache"  # noqa: PTH111, PTH117
        digest = hashlib.sha256(os.fsencode(self.directory)).hexdigest()[:16]
        return cache / "agent-run-id" / digest / name

    def update(self, *, texts: bool = False) -> None:
        """Apply what the journals have beyond what was applied before, and do the housekeeping that is due.

        Args:
            texts: Whether to index words, too, for a search.

        Raises:
            StoreError: the directory exists and cannot be read, or this SQLite cannot search texts.
        """
        self._healed(lambda: self._updating().apply(texts=texts))
        if time.monotonic() >= self._keep_house_at and is_ours(str(self.directory)):
            self._keep_house_at = time.monotonic() + _KEEP_HOUSE_S
            keep_house(str(self.directory), settings.retention())

    def search(self, text: str) -> tuple[str, list[Any]]:
        """The condition, for `read`, that `r.pk` is a run that holds all words of a text, as of the last update."""
        return self._healed(lambda: self._updating().search(text), texts=True)

    def read(self, sql: str, parameters: Iterable[Any] = ()) -> list[sqlite3.Row]:
        """The rows of one query."""
        given = tuple(map(_storable, parameters))
        return self._healed(lambda: self._connected().execute(sql, given).fetchall())

    def rebuild(self) -> None:
        """Make the database anew from all journals, beside those who read the old one meanwhile.

        Who opens it while that lasts waits for the new one. When it cannot be made, the old one stays.

        Raises:
            StoreError: the journals cannot be read.
            OSError: it cannot be written where it belongs.
            sqlite3.Error: there is no room for it.
        """
        with self._lock:
            self.close()
            path = self.path
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with _file_lock(path):
                self._build(path)

    def _healed(self, act: Callable[[], T], *, texts: bool = False) -> T:
        """Do `act`; when the database turns out to be damaged or gone, make it anew and do it again.

        Neither somebody who goes on deleting it nor a full disk keeps us from answering: the last try is in memory.
        """
        with self._lock:
            for again in range(_TRIES):
                try:
                    if again:
                        self._updating().apply(texts=texts)
                    return act()
                except sqlite3.DatabaseError as error:
                    if _is_full(error):
                        break
                    if not _is_damage(error):
                        raise
                    self._remove()
            self.close()
            self._connection = _in_memory()
            self._updating().apply(texts=texts)
            return act()

    def __del__(self) -> None:
        # Python 3.13 complains of a connection that nobody closed, and a registry made for one question is fine.
        self.close()

    def close(self) -> None:
        """Close the database; the next use opens it again."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
            self._connection = self._update = None

    def leave_to_parent(self) -> None:
        """In a forked child: leave the connection alone, and the lock, which a thread may hold that is not here.

        A connection that crossed a fork corrupts the file without a sound, and closing it may too.
        """
        if self._connection is not None:
            _parents.append(self._connection)
        self._connection = self._update = None
        self._lock = threading.RLock()

    def _connected(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = self._open()
        return self._connection

    def _open(self) -> sqlite3.Connection:
        try:
            if not self.directory.is_dir():
                return _in_memory()
            path = self.path
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with _file_lock(path):
                try:
                    return _opened(path)
                except sqlite3.DatabaseError as error:
                    if not _is_damage(error):
                        raise
                    return self._built(path)
        except StoreError:
            raise
        except OSError:
            return _in_memory()

    def _built(self, path: Path) -> sqlite3.Connection:
        try:
            self._build(path)
            return _opened(path)
        except sqlite3.DatabaseError as error:
            if not (_is_full(error) or _is_damage(error)):
                raise
            # There is no room for it, as a quota may also say in other words; what little there is, others need.
            _remove(path)
            return _in_memory()

    def _build(self, path: Path) -> None:
        """Make the database anew, and put it in its place when it is whole.

        Until then nobody reads it, so what keeps others safe can be left out, and a crash may do to it what it likes.
        """
        for left in path.parent.glob(f"{path.name}*.new"):
            _remove(left)
        # A name of its own: where somebody deletes the file of the lock, two build at once, and in one file both would
        # hold what the other waits for.
        new = path.with_name(f"{path.name}.{os.urandom(4).hex()}.new")
        # SQLite gives its other files the mode of this one.
        os.close(os.open(new, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        try:
            with contextlib.closing(_connection(_uri(new))) as connection:
                for pragma in _FOR_BUILDING:
                    connection.execute(f"PRAGMA {pragma}")
                create_tables(connection)
                Update(connection, self.directory / JOURNALS, self._progress).apply()
                create_indexes(connection)
                connection.execute("PRAGMA journal_mode = WAL")
        except BaseException:
            _remove(new)
            raise
        new.stat()  # where somebody has removed it, they may have made another, which stays
        _remove(path)
        new.rename(path)

    def _remove(self) -> None:
        self.close()
        path = self.path
        with _file_lock(path):
            _remove(path)

    def _updating(self) -> Update:
        connection = self._connected()
        if self._update is None or self._update.connection is not connection:
            self._update = Update(connection, self.directory / JOURNALS, self._progress)
        return self._update


def _is_damage(error: sqlite3.DatabaseError) -> bool:
    """Whether a file that is made anew would be free of it; that it is locked, for one, would not."""
    return error.sqlite_errorcode & 0xFF in _DAMAGED


def _is_full(error: sqlite3.DatabaseError) -> bool:
    return error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_FULL


def _storable(value: Any) -> Any:
    """A parameter of a query; in place of half a character, with which no text can be stored, what equals no text."""
    if isinstance(value, str) and not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            return value.encode(errors="surrogatepass")
    return value


def _uri(path: Path) -> str:
    # Not `Path.as_uri`: since 3.13 it imports what it needs when it is called, which a process that has given up its
    # rights meanwhile may not read.
    return f"file:{quote(os.fsencode(path.absolute()))}"


def _connection(path: str) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False, uri=True)
    connection.row_factory = sqlite3.Row
    return connection


def _opened(path: Path) -> sqlite3.Connection:
    """The database at `path`, which must be there and laid out as it should be."""
    connection = _connection(f"{_uri(path)}?mode=rw")
    try:
        _check_layout(connection)
        for pragma in _FOR_SHARING:
            connection.execute(f"PRAGMA {pragma}")
    except BaseException:
        connection.close()
        raise
    return connection


def _check_layout(connection: sqlite3.Connection) -> None:
    layout = connection.execute("PRAGMA user_version").fetchone()[0]
    if layout != LAYOUT:
        error = sqlite3.DatabaseError("the index has the layout of another version")
        error.sqlite_errorcode = sqlite3.SQLITE_NOTADB
        raise error


def _in_memory() -> sqlite3.Connection:
    """An empty database of this reader's own."""
    connection = _connection(":memory:")
    connection.execute("PRAGMA temp_store = MEMORY")  # perhaps it is here because the disk is full
    create_tables(connection)
    create_indexes(connection)
    return connection


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
