"""Updating the index: one pass over the journals, inside one transaction.

What vanished meanwhile is looked for again, for it may have been folded into a bundle between the look and the reading;
and what vanished for good, by retention, vanishes from the index.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any, Final, TypeGuard

from agent_run_id.errors import InvalidTokenError, StoreError
from agent_run_id.events import BUNDLE_STARTED, PROCESS_STARTED, RUN_STARTED
from agent_run_id.folding import StoredEvent, fold
from agent_run_id.ids import RunId
from agent_run_id.layout import parse_name
from agent_run_id.reading import Header, header_of, lines_from, parse_line, read_header, state_of

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable
    from pathlib import Path

    from agent_run_id.liveness import State

__all__ = ["Update"]

_ENVELOPE: Final = frozenset({"v", "type", "run", "time", "seq"})
_LAST_MOMENT: Final = 253_402_300_799_999_999  # the end of the year 9999, where `datetime` ends
_LOOKS: Final = 5


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


class _Span:
    """The lowest and the highest number of the events of a process in a file; headers have 0."""

    __slots__ = ("first", "last")

    def __init__(self) -> None:
        self.first: int | None = None
        self.last: int | None = None

    def add(self, seq: int | None) -> None:
        if seq:
            self.first = seq if self.first is None else min(self.first, seq)
            self.last = seq if self.last is None else max(self.last, seq)


class Update:
    """One pass over the journals.

    Args:
        connection: To the database, in a transaction.
        folder: Where the journals are.
    """

    def __init__(self, connection: sqlite3.Connection, folder: Path) -> None:
        self._db = connection
        self._folder = folder
        self._changed: set[int] = set()
        self._runs: dict[str, int] = {}
        self._forgotten: set[int] = set()
        self._vanished = False

    def apply(self) -> None:
        """Apply what is new, forget what is gone, and fold the runs that it is about.

        Raises:
            StoreError: the folder cannot be read.
        """
        entries = self._entries()
        self._read(entries)
        for _ in range(_LOOKS):
            if not self._vanished:
                break
            self._vanished = False
            entries = self._entries()
            self._read(entries)
        self._forget({name for name, _ in entries})
        self._fold()

    def _read(self, entries: list[tuple[str, str]]) -> None:
        known = {row["name"]: row for row in self._db.execute("SELECT * FROM journals WHERE NOT sealed")}
        sealed = {row["name"] for row in self._db.execute("SELECT name FROM journals WHERE sealed")}
        found: list[tuple[str, str, Header]] = []
        bundles: list[tuple[str, str]] = []
        for name, path in entries:
            if name in sealed:
                continue
            parsed = parse_name(name)
            if parsed is not None and parsed.is_bundle:
                bundles.append((name, path))
            elif (header := read_header(path)) is not None:
                found.append((name, path, header))
            elif not os.path.exists(path):  # noqa: PTH110
                self._vanished = True
        # Probe all first, then read to the end: what a dead process wrote is all there.
        states = _states(found)
        processes = {header.process: self._process(header, states[header.process]) for _, _, header in found}
        for name, path, header in found:
            self._journal(name, path, processes[header.process], known.get(name), states[header.process])
        for name, path in bundles:
            self._bundle(name, path, states)

    def _entries(self) -> list[tuple[str, str]]:
        try:
            with os.scandir(self._folder) as entries:
                return sorted((entry.name, entry.path) for entry in entries if parse_name(entry.name) is not None)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise StoreError(f"the journals in {self._folder} cannot be read: {error.strerror}") from error

    def _journal(self, name: str, path: str, process: int, row: sqlite3.Row | None, state: State) -> None:
        offset, unreadable = (0, 0) if row is None else (row["offset"], row["unreadable"])
        span = _Span()
        try:
            if os.path.getsize(path) < offset:  # noqa: PTH202 - another file under the same name
                offset = unreadable = 0
            for line, behind in lines_from(path, offset):
                events, bad = parse_line(line)
                for event in events:
                    seq = self._event(process, event)
                    bad += seq is None
                    span.add(seq)
                unreadable += bad if behind > offset or state == "dead" else 0  # or it may be continued
                offset = behind
        except FileNotFoundError:
            self._vanished = True  # by the retention of another process, or into a bundle
            return
        self._part(process, name, span)
        self._finish(name, offset, unreadable, sealed=state == "dead")

    def _bundle(self, name: str, path: str, states: dict[str, State]) -> None:
        """Read the journals of many processes that are over, one behind the other."""
        spans: dict[int, _Span] = {}
        process: int | None = None
        offset = unreadable = 0
        try:
            for line, offset in lines_from(path, 0):  # noqa: B007 - as above
                events, bad = parse_line(line)
                unreadable += bad
                for event in events:
                    header = header_of(event)
                    if header is not None:
                        # One that has gone on in another file is alive, whatever became of its earlier ones.
                        state = states.get(header.process, "dead")
                        process = self._process(header, "dead" if state == "unknown" else state)
                        spans.setdefault(process, _Span())
                    elif process is not None:
                        seq = self._event(process, event)
                        unreadable += seq is None
                        spans[process].add(seq)
                    else:
                        unreadable += event.get("type") != BUNDLE_STARTED
        except FileNotFoundError:
            self._vanished = True
            return
        for each, span in spans.items():
            self._part(each, name, span)
        self._finish(name, offset, unreadable, sealed=True)

    def _part(self, process: int, journal: str, span: _Span) -> None:
        self._db.execute(
            "INSERT INTO parts VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE"
            " SET first_seq = coalesce(min(first_seq, excluded.first_seq), first_seq, excluded.first_seq),"
            " last_seq = coalesce(max(last_seq, excluded.last_seq), last_seq, excluded.last_seq)",
            [process, journal, span.first, span.last],
        )

    def _finish(self, name: str, offset: int, unreadable: int, *, sealed: bool) -> None:
        self._db.execute("INSERT OR REPLACE INTO journals VALUES (?, ?, ?, ?)", [name, offset, unreadable, sealed])

    def _process(self, header: Header, state: str) -> int:
        row = self._db.execute("SELECT pk, state FROM processes WHERE id = ?", [header.process]).fetchone()
        if row is None:
            row = self._db.execute(
                "INSERT INTO processes (id, state, header) VALUES (?, ?, ?) RETURNING pk",
                [header.process, state, json.dumps(header.fields)],
            ).fetchone()
        elif row["state"] != state and (row["state"], state) != ("dead", "unknown"):
            # Of its death, a copy of its journal knows nothing, whatever was seen elsewhere.
            self._db.execute("UPDATE processes SET state = ? WHERE pk = ?", [state, row["pk"]])
            self._changed.update(
                run["pk"]
                for run in self._db.execute(
                    "SELECT pk FROM runs WHERE owner = ? AND status IN ('running', 'lost')", [row["pk"]]
                )
            )
        return int(row["pk"])

    def _forget(self, names: set[str]) -> None:
        """Forget the events of journals that are gone, unless others have them too."""
        gone = [row["name"] for row in self._db.execute("SELECT name FROM journals") if row["name"] not in names]
        parts: list[sqlite3.Row] = []
        for name in gone:
            parts += self._db.execute("DELETE FROM parts WHERE journal = ? RETURNING *", [name]).fetchall()
            self._db.execute("DELETE FROM journals WHERE name = ?", [name])
        for part in parts:
            # Which file an event was in is not kept, but those of a process are numbered, from one file to the next.
            self._changed.update(
                row["run"]
                for row in self._db.execute(
                    "DELETE FROM events WHERE process = ? AND seq BETWEEN ? AND ? AND NOT EXISTS"
                    " (SELECT 1 FROM parts p WHERE p.process = events.process AND seq BETWEEN first_seq AND last_seq)"
                    " RETURNING run",
                    [part["process"], part["first_seq"], part["last_seq"]],
                )
            )
        self._forgotten = {part["process"] for part in parts}

    def _prune(self) -> None:
        """Remove runs of which nothing is known any more, not even that others name them."""
        above: set[int] = set()
        for run in self._changed:
            # Where it is in the tree was said in its own events alone; those below it only say that it is above them.
            row = self._db.execute(
                "SELECT parent FROM runs WHERE pk = ? AND parent IS NOT NULL"
                " AND NOT EXISTS (SELECT 1 FROM events WHERE run = ?)",
                [run] * 2,
            ).fetchone()
            if row is not None:
                above.add(row["parent"])
                self._db.execute("UPDATE runs SET parent = NULL WHERE pk = ?", [run])
        empty = self._changed | above
        while empty:
            above = set()
            for run in empty:
                row = self._db.execute(
                    "DELETE FROM runs WHERE pk = ? AND NOT EXISTS (SELECT 1 FROM events WHERE run = ?)"
                    " AND NOT EXISTS (SELECT 1 FROM runs WHERE parent = ?)"
                    " AND NOT EXISTS (SELECT 1 FROM runs WHERE root = ?) RETURNING parent, root",
                    [run] * 4,
                ).fetchone()
                if row is not None:
                    self._changed.discard(run)
                    above.update(pk for pk in row if pk is not None)
            empty = above

    def _event(self, process: int, event: dict[str, Any]) -> int | None:
        """Apply one event, unless it was before, and give its number; 0 for a header, None for what is no event."""
        seq, time, kind = event.get("seq"), event.get("time"), event.get("type")
        if kind == PROCESS_STARTED:
            return 0
        try:
            run_id = RunId.from_token(event.get("run", ""))
        except InvalidTokenError:
            return None
        if not (_is_count(seq) and _is_count(time) and isinstance(kind, str)):
            return None
        time = min(time, _LAST_MOMENT)
        run = self._run(run_id, starts=kind == RUN_STARTED)
        data = {name: value for name, value in event.items() if name not in _ENVELOPE}
        cursor = self._db.execute(
            "INSERT OR IGNORE INTO events VALUES (?, ?, ?, ?, ?, ?)",
            [process, seq, run, kind, time, json.dumps(data, ensure_ascii=False, separators=(",", ":"))],
        )
        if cursor.rowcount:
            self._changed.add(run)
        return seq

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
        if self._forgotten:
            self._prune()
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
        for process in self._forgotten:
            self._db.execute(
                "DELETE FROM processes WHERE pk = ? AND NOT EXISTS (SELECT 1 FROM parts WHERE process = ?)",
                [process] * 2,
            )
