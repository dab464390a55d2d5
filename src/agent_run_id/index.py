"""The index: a SQLite database built from journals, which answers what reading them all would answer, only sooner.

It is a cache: named by its format, deletable at any time, rebuilt by itself when malformed. Every event is applied
exactly once, by (process, sequence), however many readers race and however often a journal was copied. The row of a run
is folded anew from all its events whenever one arrives, so no order of journals can give another content.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import sqlite3
import threading
import weakref
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeGuard, TypeVar

from agent_run_id.errors import InvalidTokenError, StoreError
from agent_run_id.events import PROCESS_STARTED, RUN_STARTED
from agent_run_id.folding import StoredEvent, fold
from agent_run_id.ids import RunId
from agent_run_id.journal_file import JOURNALS, SUFFIX
from agent_run_id.reading import Header, State, lines_from, parse_line, read_header, state_of

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
    process INTEGER NOT NULL REFERENCES processes,
    segment INTEGER NOT NULL,
    offset INTEGER NOT NULL,
    unreadable INTEGER NOT NULL DEFAULT 0,
    sealed INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
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
_ENVELOPE: Final = frozenset({"v", "type", "run", "time", "seq"})
_BUSY_S: Final = 60.0
_LAST_MOMENT: Final = 253_402_300_799_999_999  # the end of the year 9999, where `datetime` ends
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
        _indexes.add(self)

    @property
    def path(self) -> Path:
        """Where the database is: beside the journals, or in the reader's cache when that cannot be written."""
        name = f"index-{INDEX_VERSION}.sqlite3"
        if os.access(self.directory, os.W_OK):
            return self.directory / name
        base = os.environ.get("XDG_CACHE_HOME", "")
        cache = Path(base) if os.path.isabs(base) else Path(os.path.expanduser("~")) / ".cache"  # noqa: PTH111, PTH117
        digest = hashlib.sha256(os.fsencode(self.directory)).hexdigest()[:16]
        return cache / "agent-run-id" / digest / name

    def update(self) -> None:
        """Apply what the journals have beyond what was applied before.

        Raises:
            StoreError: the directory exists and cannot be read.
        """
        self._healed(self._apply_all)

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
            _Update(connection, self.directory / JOURNALS).apply()
        except BaseException:
            connection.rollback()
            raise
        connection.commit()


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


def _states(found: Iterable[tuple[str, str, Header]]) -> dict[str, State]:
    """Whether each process lives, by all its journals: it holds the lock of at least one as long as it does."""
    states: dict[str, State] = {}
    for _, path, header in found:
        state = state_of(path, header)
        if state == "alive" or states.get(header.process, "unknown") == "unknown":
            states[header.process] = state
    return states


def _is_count(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and 0 <= value < 2**63


class _Update:
    """One pass over the journals, inside one transaction."""

    def __init__(self, connection: sqlite3.Connection, folder: Path) -> None:
        self._db = connection
        self._folder = folder
        self._changed: set[int] = set()
        self._runs: dict[str, int] = {}

    def apply(self) -> None:
        known = {row["name"]: row for row in self._db.execute("SELECT * FROM journals WHERE NOT sealed")}
        sealed = {row["name"] for row in self._db.execute("SELECT name FROM journals WHERE sealed")}
        found: list[tuple[str, str, Header]] = []
        for name, path in self._entries():
            header = None if name in sealed else read_header(path)
            if header is not None:
                found.append((name, path, header))
        # Probe all first, then read to the end: what a dead process wrote is all there.
        states = _states(found)
        processes = {header.process: self._process(header, states[header.process]) for _, _, header in found}
        for name, path, header in found:
            self._journal(name, path, header, processes[header.process], known.get(name), states[header.process])
        for process, state in states.items():
            if state == "dead":
                self._changed.update(
                    row["pk"]
                    for row in self._db.execute(
                        "SELECT pk FROM runs WHERE owner = ? AND status = 'running'", [processes[process]]
                    )
                )
        self._fold()

    def _entries(self) -> list[tuple[str, str]]:
        try:
            with os.scandir(self._folder) as entries:
                return sorted(
                    (entry.name, entry.path)
                    for entry in entries
                    if entry.name.endswith(SUFFIX) and not entry.name.startswith(".")
                )
        except FileNotFoundError:
            return []
        except OSError as error:
            raise StoreError(f"the journals in {self._folder} cannot be read: {error.strerror}") from error

    def _journal(
        self, name: str, path: str, header: Header, process: int, row: sqlite3.Row | None, state: State
    ) -> None:
        offset, unreadable = (0, 0) if row is None else (row["offset"], row["unreadable"])
        try:
            if os.path.getsize(path) < offset:  # noqa: PTH202 - another file under the same name
                offset = unreadable = 0
            for line, offset in lines_from(path, offset):  # noqa: B007, B020 - the offset behind the last line is kept
                events, bad = parse_line(line)
                unreadable += bad
                unreadable += sum(not self._event(process, event) for event in events)
            if state == "dead" and os.path.getsize(path) > offset:  # noqa: PTH202
                unreadable += 1  # death tore the last line
        except FileNotFoundError:
            return  # removed meanwhile, by the retention of another process
        self._db.execute(
            "INSERT OR REPLACE INTO journals VALUES (?, ?, ?, ?, ?, ?)",
            [name, process, header.segment, offset, unreadable, state == "dead"],
        )

    def _process(self, header: Header, state: str) -> int:
        row = self._db.execute(
            "INSERT INTO processes (id, state, header) VALUES (?, ?, ?)"
            " ON CONFLICT (id) DO UPDATE SET state = excluded.state RETURNING pk",
            [header.process, state, json.dumps(header.fields)],
        ).fetchone()
        return int(row["pk"])

    def _event(self, process: int, event: dict[str, Any]) -> bool:
        """Apply one event, unless it was before; False when it is none."""
        seq, time, kind = event.get("seq"), event.get("time"), event.get("type")
        if kind == PROCESS_STARTED:
            return True
        try:
            run_id = RunId.from_token(event.get("run", ""))
        except InvalidTokenError:
            return False
        if not (_is_count(seq) and _is_count(time) and isinstance(kind, str)):
            return False
        time = min(time, _LAST_MOMENT)
        run = self._run(run_id, starts=kind == RUN_STARTED)
        data = {name: value for name, value in event.items() if name not in _ENVELOPE}
        cursor = self._db.execute(
            "INSERT OR IGNORE INTO events VALUES (?, ?, ?, ?, ?, ?)",
            [process, seq, run, kind, time, json.dumps(data, ensure_ascii=False, separators=(",", ":"))],
        )
        if cursor.rowcount:
            self._changed.add(run)
        return True

    def _run(self, run_id: RunId, *, starts: bool) -> int:
        """The row of a run; those of its parent and root too, which may never be recorded themselves.

        A run's place in the tree is what its start says. Until that is seen, any token with lineage tells.
        """
        known = self._runs.get(run_id.token)
        if known is not None and not starts:
            return known
        pk = self._row(run_id.value)
        if run_id.parent_id is not None:
            root = self._row(run_id.root_id)
            parent = self._row(run_id.parent_id)
            if parent != root:
                self._db.execute(
                    "UPDATE runs SET root = ?, depth = ? WHERE pk = ? AND parent IS NULL AND root IS NULL",
                    [root, run_id.depth - 1, parent],
                )
            self._db.execute(
                "UPDATE runs SET parent = ?, root = ?, depth = ? WHERE pk = ? AND (? OR parent IS NULL)",
                [parent, root, run_id.depth, pk, starts],
            )
        self._runs[run_id.token] = pk
        return pk

    def _row(self, value: str) -> int:
        key = bytes.fromhex(value.replace("-", ""))
        row = self._db.execute("SELECT pk FROM runs WHERE id = ?", [key]).fetchone()
        if row is not None:
            return int(row["pk"])
        return int(self._db.execute("INSERT INTO runs (id) VALUES (?) RETURNING pk", [key]).fetchone()["pk"])

    def _fold(self) -> None:
        processes = {row["id"]: row for row in self._db.execute("SELECT id, pk, state FROM processes")}
        for run in self._changed:
            rows = self._db.execute(
                "SELECT p.id AS process, seq, time, type, data FROM events e JOIN processes p ON p.pk = e.process"
                " WHERE run = ?",
                [run],
            )
            folded = fold(
                StoredEvent(r["process"], r["seq"], r["time"], r["type"], json.loads(r["data"])) for r in rows
            )
            owner = processes.get(folded.owner or "")
            status = folded.status
            if folded.is_open and owner is not None and owner["state"] == "dead":
                status = "lost"
            self._db.execute(
                "UPDATE runs SET name = ?, kind = ?, key = ?, status = ?, started_at = ?, ended_at = ?,"
                " last_event_at = ?, elapsed = ?, user_id = ?, session_id = ?, summary = ?, owner = ?, seq = ?,"
                " details = ? WHERE pk = ?",
                [
                    folded.name,
                    folded.kind,
                    folded.key,
                    status,
                    folded.started_at,
                    folded.ended_at,
                    folded.last_event_at,
                    folded.elapsed,
                    folded.user_id,
                    folded.session_id,
                    folded.summary,
                    None if owner is None else owner["pk"],
                    folded.seq,
                    json.dumps(folded.details, ensure_ascii=False, separators=(",", ":")),
                    run,
                ],
            )


_indexes: weakref.WeakSet[Index] = weakref.WeakSet()
_parents: list[sqlite3.Connection] = []  # kept, so that they are not closed


def _in_forked_child() -> None:
    for index in list(_indexes):
        index.leave_to_parent()


os.register_at_fork(after_in_child=_in_forked_child)
