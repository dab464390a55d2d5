"""Texts: which runs hold some words, in anything they were told or said.

The words of a run are indexed when somebody first searches, and from then on what is new before each search: who never
searches does not pay. Most runs are one document, under the number of their row. What a run says after it was indexed
makes further documents, with negative numbers, so a search for several words puts the documents of such runs together.

Where all older runs are indexed, the words of those just read are taken from what was read, not from the database.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, cast

from pydantic_core import from_json

from agent_run_id.errors import StoreError
from agent_run_id.events import RUN_ENDED, RUN_STARTED, RUN_USAGE
from agent_run_id.index.layout import in_groups, insert, look_up

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from agent_run_id.index.rows import Entry

__all__ = ["Texts"]

_AT_ONCE: Final = 10_000
_FEW: Final = 4_000  # documents
_LATEST: Final = 2_000  # runs
_MOST: Final = 0.15  # of these
_LEFT_OUT: Final = frozenset(
    {"v", "type", "run", "time", "seq", "kind", "links", "refused_parent", "status", "elapsed"}
    | {"duplicate_of", "retry_of", "attempt", "hand", "after", "owner"}
)
_ALL: Final = (
    "SELECT u.run, e.type, e.data FROM untexted u JOIN events e ON e.process = u.process AND e.seq = u.seq"
    f" UNION ALL SELECT u.run, '{RUN_STARTED}', r.started FROM untexted u JOIN runs r ON r.pk = u.run"
    " WHERE r.owner = u.process AND r.seq = u.seq"
    f" UNION ALL SELECT u.run, '{RUN_ENDED}', r.ended FROM untexted u JOIN runs r ON r.pk = u.run"
    " WHERE r.owner = u.process AND r.end_seq = u.seq AND r.ended IS NOT NULL"
)
_TO_DO: Final = (
    "SELECT texted, next - 1, EXISTS (SELECT 1 FROM untexted), EXISTS (SELECT 1 FROM retexted),"
    " EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'texts') FROM numbers"
)
"""Up to which run texts are indexed, and up to which they should be; whether there is more; whether it can be done."""


class Texts:
    """The words of the runs of the index.

    Args:
        connection: To the database.
        pause: Is called between two groups of runs, and may let others write.
    """

    def __init__(self, connection: sqlite3.Connection, pause: Callable[[], None]) -> None:
        self._db = connection
        self._pause = pause
        self._texted: int | None = None
        self._has_late = True

    def forget(self) -> None:
        """Look anew how far the database is: somebody else wrote there."""
        self._texted = None

    def note_late(self) -> None:
        """Runs that are indexed said more, or lost a part of what they said."""
        self._has_late = True

    def begin(self) -> None:
        """Learn how far the database is.

        Raises:
            StoreError: this SQLite cannot search texts.
        """
        if self._texted is None:
            self._texted, _, late, redone, can = self._db.execute(_TO_DO).fetchone()
            self._has_late = bool(late or redone)
            if not can:
                self._texted = None
                raise StoreError(
                    "runs cannot be found by text here: the SQLite of this Python was built without FTS5;"
                    " a Python from python.org or of most systems has it"
                )

    def catch_up(self, last: int) -> None:
        """Index what was not indexed before, in a transaction that is open.

        Args:
            last: The last row of all.
        """
        if self._texted == last and not self._has_late:
            return
        while True:
            texted, last, late, redone, _ = self._db.execute(_TO_DO).fetchone()
            until = min(texted + _AT_ONCE, last)
            if redone:
                self._renew()
            if until > texted:
                self._add_new(texted, until)
            if until == last:
                break
            self._pause()
        if late:
            self._add_late()
        self._texted = last
        self._has_late = False

    def add_read(self, before: int, last: int, said: Mapping[int, Iterable[list[Entry]]]) -> None:
        """Index the words of runs that were just read, if those of all other runs are.

        Args:
            before: The last row before theirs.
            last: The last of theirs.
            said: All that was read of each, by its row.
        """
        if self._texted != before:
            return
        texts: list[tuple[int, str]] = []
        for pk, entries in said.items():
            found: list[str] = []
            for some in entries:
                for _, line in some:
                    if line.type != RUN_USAGE:
                        _collect(line.data, found)
            if found:
                texts.append((pk, " ".join(found)))
        insert(self._db, "INSERT INTO texts (rowid, text)", texts)
        self._db.execute("UPDATE numbers SET texted = ?", [last])
        self._texted = last

    def matching(self, text: str) -> tuple[str, list[Any]]:
        """The condition that `r.pk` is a run that holds all words of `text`, and its parameters."""
        words = [_quoted(word) for word in text.split() if any(map(str.isalnum, word))]
        if not words:
            return "0", []
        query = " AND ".join(words)
        late = json.dumps(sorted(self._together(words)))
        several = "SELECT value FROM json_each(?)"  # runs with several documents, which may hold the words together
        sound = "NOT EXISTS (SELECT 1 FROM documents WHERE whole AND run = {run})"
        share = self._share(query)
        if share > _MOST:
            # One by one, beginning with the runs that are wanted first: most are found at once.
            main = "EXISTS (SELECT 1 FROM texts WHERE texts MATCH ? AND rowid = r.pk)"
            return f"({main} AND {sound.format(run='r.pk')} OR r.pk IN ({several}))", [query, late]
        main = f"SELECT rowid FROM texts WHERE texts MATCH ? AND rowid > 0 AND {sound.format(run='texts.rowid')}"
        # In one list, or all runs would be gone through to find the few that are in either of two. Of a long one the
        # runs are not looked up, but looked for in it, in the order in which they are wanted.
        return f"{'+' if share else ''}r.pk IN ({main} UNION ALL {several})", [query, late]

    # Indexing ---------------------------------------------------------------------------------------------------------

    def _renew(self) -> None:
        """Index anew the runs that lost a part of what they said: in a document instead of all they had."""
        for group in in_groups([run for (run,) in look_up(self._db, "run", "FROM retexted")]):
            marks = ",".join("?" * len(group))
            self._db.execute(f"DELETE FROM documents WHERE run IN ({marks})", group)
            rows = look_up(self._db, "run, type, data", f"FROM recorded WHERE run IN ({marks})", group)
            self._document(rows, whole=True)
            self._db.execute(f"DELETE FROM untexted WHERE run IN ({marks})", group)
        self._db.execute("DELETE FROM retexted")

    def _add_new(self, texted: int, until: int) -> None:
        span = [texted, until]
        texts: dict[int, list[str]] = {}
        runs = "FROM runs WHERE pk > ? AND pk <= ? AND started IS NOT NULL"
        inside = "CASE WHEN details LIKE '[%' THEN details ELSE '[]' END"
        told = f"pk || ',{{' || started || '}},{{' || ifnull(ended, '') || '}},' || {inside}"
        for pk, started, ended, between in self._values(told, runs, span):
            found = texts[pk] = []
            _collect(started, found)
            for kind, fields, *_ in between:
                if kind != RUN_USAGE:
                    _collect(fields, found)
            _collect(ended, found)
        events = f"FROM events WHERE run > ? AND run <= ? AND type <> '{RUN_USAGE}'"
        for run, fields in self._values("run || ',{' || data || '}'", events, span):
            _collect(fields, texts.setdefault(run, []))
        insert(self._db, "INSERT INTO texts (rowid, text)", [(pk, " ".join(found)) for pk, found in texts.items()])
        self._db.execute("UPDATE numbers SET texted = ?", [until])

    def _values(self, row: str, rest: str, parameters: Sequence[Any]) -> list[list[Any]]:
        """Rows of recorded JSON, put together as an array: as texts they would be written and read once more."""
        sql = f"SELECT ifnull(group_concat('[' || {row} || ']'), '') {rest}"
        rows: list[list[Any]] = from_json(f"[{self._db.execute(sql, parameters).fetchone()[0]}]")
        return rows

    def _add_late(self) -> None:
        self._document(look_up(self._db, "run, type, data", f"FROM ({_ALL})"), whole=False)
        self._db.execute("DELETE FROM untexted")

    def _document(self, rows: Iterable[Sequence[Any]], *, whole: bool) -> None:
        texts: dict[int, list[str]] = {}
        _collect_events(rows, texts)
        if not texts:
            return
        first = self._db.execute("SELECT documents FROM numbers").fetchone()[0]
        numbered = [(number - 2**62, run, found) for number, (run, found) in enumerate(texts.items(), first)]
        insert(self._db, "INSERT INTO documents (pk, run, whole)", [(pk, run, whole) for pk, run, _ in numbered])
        insert(self._db, "INSERT INTO texts (rowid, text)", [(pk, " ".join(found)) for pk, _, found in numbered])
        self._db.execute("UPDATE numbers SET documents = documents + ?", [len(numbered)])

    # Searching --------------------------------------------------------------------------------------------------------

    def _share(self, query: str) -> float:
        """About which share of all runs match; 0 where they are few."""
        some = f"SELECT 1 FROM texts WHERE texts MATCH ? AND rowid > 0 LIMIT {_FEW}"
        if self._db.execute(f"SELECT count(*) FROM ({some})", [query]).fetchone()[0] < _FEW:
            return 0
        last = "SELECT max(0, texted - ?) FROM numbers"
        latest = f"SELECT count(*) FROM texts WHERE texts MATCH ? AND rowid > ({last})"
        found: int = self._db.execute(latest, [query, _LATEST]).fetchone()[0]
        return max(1, found) / _LATEST

    def _together(self, words: Sequence[str]) -> set[int]:
        """The runs with several documents, or another than at first, that hold all words in all of them together."""
        late = "FROM texts JOIN documents d ON d.pk = texts.rowid WHERE texts MATCH ? AND texts.rowid < 0"
        holding: list[set[int]] = [{run for (run,) in look_up(self._db, "d.run", late, [word])} for word in words]
        found: set[int] = set()
        for run in set[int]().union(*holding):
            missing = [word for word, runs in zip(words, holding, strict=True) if run not in runs]
            if not missing or self._holds(run, missing):
                found.add(run)
        return found

    def _holds(self, run: int, words: Sequence[str]) -> bool:
        """Whether the first document of a run, which must be good still, holds all words."""
        sql = (
            "SELECT 1 FROM texts WHERE texts MATCH ? AND rowid = ?"
            " AND NOT EXISTS (SELECT 1 FROM documents WHERE whole AND run = ?)"
        )
        return self._db.execute(sql, [" AND ".join(words), run, run]).fetchone() is not None


def _quoted(word: str) -> str:
    """A word as the search takes it literally; one that ends with a star also finds what begins with it."""
    text = word.rstrip("*").encode(errors="replace").decode()  # half a character would be refused
    quoted = '"{}"'.format(text.replace('"', '""').replace("\0", " "))
    return f"{quoted} *" if word.endswith("*") else quoted


def _collect_events(rows: Iterable[Sequence[Any]], texts: dict[int, list[str]]) -> None:
    """Add the texts in events, each with its run and its type, to those of their runs."""
    raws = [f"[{run},{{{raw}}}]" for run, kind, raw in rows if kind != RUN_USAGE]
    for run, fields in from_json(f"[{','.join(raws)}]"):
        _collect(fields, texts.setdefault(run, []))


def _collect(fields: dict[str, Any], texts: list[str]) -> None:
    """Add the texts and numbers in the fields of an event to `texts`, not the names of the fields."""
    for name, value in fields.items():
        if name not in _LEFT_OUT:
            if type(value) is str:
                texts.append(value)
            elif value is not None:
                _collect_inside(value, texts)


def _collect_inside(value: Any, texts: list[str]) -> None:
    pending: list[Any] = [value]
    while pending:
        value = pending.pop()
        if type(value) is str:
            texts.append(value)
        elif isinstance(value, dict):
            pending.extend(cast("dict[str, Any]", value).values())
        elif isinstance(value, list):
            pending.extend(cast("Iterable[Any]", value))
        elif value is not None and not isinstance(value, bool):
            texts.append(str(value))
