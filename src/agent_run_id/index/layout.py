"""The layout of the index: its tables, and how rows get into them and out again.

Everything is written to serve two masters: a million runs, and a neighbour thread that computes. SQLite lets go of the
interpreter at every step, and beside such a thread each step may cost the caller 5 ms; so rows go in thousands at a
time into one statement, and what a whole batch has to look up comes out of one row of JSON.
"""

from __future__ import annotations

import json
import zlib
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Sequence

__all__ = [
    "LAYOUT",
    "LOST",
    "REPORTING",
    "RUNNING",
    "STATUSES",
    "create_indexes",
    "create_tables",
    "in_groups",
    "insert",
    "look_up",
    "status_code",
]

STATUSES: Final[tuple[str, ...]] = ("running", "succeeded", "failed", "cancelled", "lost", "paused", "queued")
"""What a status is stored as: its place here. Only add at the end."""
RUNNING: Final = 0
LOST: Final = 4
_CODES: Final = {status: code for code, status in enumerate(STATUSES)}

_GROUP: Final = 5_000
_VARIABLES: Final = 120_000  # in a statement; where SQLite allows no more than 32,766, so many
_LIMIT: Final = 9  # `sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER`, which is not to be loaded here

# What a run was told at its start and at its end is kept as it was recorded, in `started` and `ended`. Of a run that
# was whole when it was first seen `details` is an array of the events between the two: type, fields, number and time.
# Of all others these are rows of `events`, and where they change more than the two say, `details` has what all of them
# come to, an object.
_TABLES: Final = """
CREATE TABLE numbers (
    next INTEGER NOT NULL,
    sorted INTEGER NOT NULL,
    texted INTEGER NOT NULL,
    documents INTEGER NOT NULL
);
INSERT INTO numbers VALUES (1, 1, 0, 0);
CREATE TABLE ids (id BLOB PRIMARY KEY, run INTEGER NOT NULL REFERENCES runs) WITHOUT ROWID;
CREATE TABLE new_ids (id BLOB PRIMARY KEY, run INTEGER NOT NULL REFERENCES runs) WITHOUT ROWID;
CREATE VIEW every_id AS SELECT id, run FROM ids UNION ALL SELECT id, run FROM new_ids;
CREATE TABLE documents (
    pk INTEGER PRIMARY KEY,
    run INTEGER NOT NULL REFERENCES runs,
    whole INTEGER NOT NULL
);
CREATE INDEX documents_by_run ON documents (run);
CREATE TABLE untexted (
    process INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    run INTEGER NOT NULL REFERENCES runs,
    PRIMARY KEY (process, seq)
) WITHOUT ROWID;
CREATE TABLE retexted (run INTEGER PRIMARY KEY REFERENCES runs);
CREATE TABLE processes (
    pk INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    state TEXT NOT NULL,
    header TEXT NOT NULL
);
CREATE TABLE journals (
    name TEXT PRIMARY KEY,
    offset INTEGER NOT NULL,
    unreadable INTEGER NOT NULL DEFAULT 0,
    sealed INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE TABLE parts (
    process INTEGER NOT NULL REFERENCES processes,
    journal TEXT NOT NULL,
    first_seq INTEGER,
    last_seq INTEGER,
    PRIMARY KEY (process, journal)
) WITHOUT ROWID;
CREATE INDEX parts_by_journal ON parts (journal);
CREATE TABLE applied (
    process INTEGER NOT NULL REFERENCES processes,
    first_seq INTEGER NOT NULL,
    last_seq INTEGER NOT NULL,
    PRIMARY KEY (process, first_seq)
) WITHOUT ROWID;
CREATE TABLE runs (
    pk INTEGER PRIMARY KEY,
    id BLOB NOT NULL,
    parent INTEGER REFERENCES runs,
    root INTEGER REFERENCES runs,
    depth INTEGER NOT NULL DEFAULT 0,
    status INTEGER,
    name TEXT,
    kind TEXT,
    key TEXT,
    user_id TEXT,
    session_id TEXT,
    owner INTEGER REFERENCES processes,
    seq INTEGER,
    started_at INTEGER,
    started TEXT,
    end_seq INTEGER,
    ended_at INTEGER,
    ended TEXT,
    last_event_at INTEGER,
    details TEXT
);
CREATE TABLE events (
    process INTEGER NOT NULL REFERENCES processes,
    seq INTEGER NOT NULL,
    run INTEGER NOT NULL REFERENCES runs,
    type TEXT NOT NULL,
    time INTEGER NOT NULL,
    data TEXT NOT NULL,
    PRIMARY KEY (process, seq)
) WITHOUT ROWID;
CREATE INDEX events_by_run ON events (run);
CREATE VIEW recorded AS
    SELECT process, seq, run, type, time, data FROM events
    UNION ALL SELECT owner, seq, pk, 'run.started', started_at, started FROM runs WHERE started IS NOT NULL
    UNION ALL SELECT owner, end_seq, pk, 'run.ended', ended_at, ended FROM runs WHERE ended IS NOT NULL
    UNION ALL SELECT owner, value ->> '$[2]', pk, value ->> '$[0]', value ->> '$[3]',
        substr(value -> '$[1]', 2, length(value -> '$[1]') - 2)
        FROM runs, json_each(CASE WHEN details LIKE '[%' THEN details ELSE '[]' END);
CREATE TABLE trees (
    root INTEGER NOT NULL REFERENCES runs,
    status INTEGER NOT NULL,
    runs INTEGER NOT NULL,
    PRIMARY KEY (root, status)
) WITHOUT ROWID;
CREATE TABLE nested (run INTEGER PRIMARY KEY REFERENCES runs);
CREATE TABLE tags (tag TEXT NOT NULL, run INTEGER NOT NULL REFERENCES runs, PRIMARY KEY (tag, run)) WITHOUT ROWID;
CREATE TABLE aliases (alias TEXT NOT NULL, run INTEGER NOT NULL REFERENCES runs, PRIMARY KEY (alias, run))
    WITHOUT ROWID;
CREATE TABLE links (target BLOB NOT NULL, run INTEGER NOT NULL REFERENCES runs, PRIMARY KEY (target, run))
    WITHOUT ROWID;
"""

# Without the texts themselves, which are in the rows already.
_TEXTS: Final = """
CREATE VIRTUAL TABLE texts USING fts5 (text, content='', columnsize=0, tokenize='unicode61 remove_diacritics 2');
INSERT INTO texts (texts, rank) VALUES ('hashsize', 8388608);
INSERT INTO texts (texts, rank) VALUES ('automerge', 8);
"""

# Most runs report nothing, so those that do are not to be looked for among a million.
REPORTING: Final = """(instr(details, '"usage":[{') OR instr(details, '["run.usage",'))"""
"""Whether a row may hold usage; a query that says it so, word for word, reads only these rows."""

# Sorting all rows at the end costs a fifth of keeping these in order while a million runs come in.
_INDEXES: Final = f"""
CREATE INDEX runs_by_parent ON runs (parent) WHERE parent IS NOT NULL;
CREATE INDEX runs_by_root ON runs (root) WHERE root IS NOT NULL;
CREATE INDEX detached_runs ON runs (root) WHERE parent IS NULL AND root IS NOT NULL;
CREATE INDEX runs_by_start ON runs (started_at) WHERE started_at IS NOT NULL;
CREATE INDEX roots_by_start ON runs (started_at) WHERE parent IS NULL AND started_at IS NOT NULL;
CREATE INDEX unheard_runs ON runs (pk) WHERE started_at IS NULL;
CREATE INDEX runs_by_name ON runs (name, started_at);
CREATE INDEX runs_by_status ON runs (status, started_at) WHERE status <> 1;
CREATE INDEX runs_by_key ON runs (key) WHERE key IS NOT NULL;
CREATE INDEX runs_by_user ON runs (user_id) WHERE user_id IS NOT NULL;
CREATE INDEX runs_by_session ON runs (session_id) WHERE session_id IS NOT NULL;
CREATE INDEX runs_by_owner ON runs (owner, seq);
CREATE INDEX open_runs ON runs (owner) WHERE status IN (0, 4);
CREATE INDEX reporting_runs ON runs (started_at) WHERE {REPORTING};
"""

LAYOUT: Final = zlib.crc32((_TABLES + _TEXTS + _INDEXES).encode()) & 0x7FFF_FFFF
"""Kept in the database: one that was laid out otherwise is made anew, even where nobody counted the version up."""


def status_code(status: str | None) -> int | None:
    """What a status is stored as; None for none."""
    return None if status is None else _CODES[status]


def create_tables(connection: sqlite3.Connection) -> None:
    """Lay out an empty database, without the indexes that nothing but reading needs."""
    for statement in (*_TABLES.split(";\n"), f"PRAGMA user_version = {LAYOUT}"):
        connection.execute(statement)
    if connection.execute("SELECT sqlite_compileoption_used('ENABLE_FTS5')").fetchone()[0]:
        for statement in _TEXTS.split(";\n"):
            connection.execute(statement)


def create_indexes(connection: sqlite3.Connection) -> None:
    """Make those indexes, once the first rows are in."""
    for statement in _INDEXES.split(";\n"):
        connection.execute(statement)


def in_groups(items: Sequence[Any], size: int = _GROUP) -> Iterable[Sequence[Any]]:
    """The items, so many at a time."""
    return (items[place : place + size] for place in range(0, len(items), size))


def insert(connection: sqlite3.Connection, into: str, rows: Sequence[Sequence[Any]], then: str = "") -> None:
    """Insert rows, as many with one statement as there may be.

    Args:
        connection: To the database.
        into: The statement up to the word VALUES.
        rows: The rows; all of the same width.
        then: What follows the values, such as what to do about a conflict.
    """
    if not rows:
        return
    most = min(_VARIABLES, connection.getlimit(_LIMIT))
    for group in in_groups(rows, most // len(rows[0])):
        marks = f"({','.join('?' * len(group[0]))})"
        sql = f"{into} VALUES {','.join([marks] * len(group))} {then}"
        connection.execute(sql, list(chain.from_iterable(group)))


def look_up(connection: sqlite3.Connection, columns: str, rest: str, parameters: Sequence[Any] = ()) -> list[list[Any]]:
    """The rows of a query, fetched in one step: columns must be numbers or texts.

    Args:
        connection: To the database.
        columns: What to select.
        rest: The query from the word FROM on.
        parameters: For its question marks.
    """
    sql = f"SELECT json_group_array(json_array({columns})) {rest}"
    found: list[list[Any]] = json.loads(connection.execute(sql, parameters).fetchone()[0])
    return found
