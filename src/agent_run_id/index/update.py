"""Updating the index: one pass over the journals.

What vanished meanwhile is looked for again, for it may have been folded into a bundle between the look and the reading;
and what vanished for good, by retention, vanishes from the index. A pass that has much to do lets go of the database
every second, for others may wait for it; when somebody else wrote meanwhile, it begins anew with what is left.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from agent_run_id.collector import collector_off
from agent_run_id.events import BUNDLE_STARTED
from agent_run_id.index.applied import Applied
from agent_run_id.index.folder import Folder
from agent_run_id.index.forget import forget
from agent_run_id.index.layout import insert, look_up
from agent_run_id.index.lines import Tokens, parse_piece, read_pieces
from agent_run_id.index.processes import Processes
from agent_run_id.index.runs import Runs
from agent_run_id.index.texts import Texts
from agent_run_id.reading import header_of

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable
    from pathlib import Path

    from agent_run_id.index.folder import Found, Look
    from agent_run_id.index.lines import Line
    from agent_run_id.index.rows import Entry
    from agent_run_id.liveness import State
    from agent_run_id.reading import Header

__all__ = ["Progress", "Update"]

_LOOKS: Final = 5
_BATCH: Final = 20_000  # events
_HOLD_S: Final = 1.0


class Progress(NamedTuple):
    """How far an update is, in bytes of journals."""

    done: int
    total: int


@dataclass(slots=True)
class _Journal:
    """How far a journal was read, and how many pieces of it could not be."""

    offset: int = 0
    unreadable: int = 0
    sealed: bool = False


class _Overtaken(Exception):  # noqa: N818 - no error: there is less to do
    """Somebody else wrote into the index meanwhile."""


class Update:
    """What brings an index up to date, and remembers between two times how far it was.

    Args:
        connection: To the database; no transaction is open.
        folder: Where the journals are.
        progress: Is told how far an update is, about every second; None for nobody.
    """

    def __init__(
        self, connection: sqlite3.Connection, folder: Path, progress: Callable[[Progress], None] | None = None
    ) -> None:
        self.connection = self._db = connection
        self._folder = Folder(folder)
        self._progress = progress
        self._version: int | None = None
        self._vanished = False
        self._journals: dict[str, _Journal] = {}
        self._changed: set[str] = set()
        self._spans: dict[tuple[int, str], tuple[int, int]] = {}
        self._bare: set[tuple[int, str]] = set()
        self._groups: dict[str, list[Entry]] = {}
        self._texts = Texts(connection, self._pause)
        self._with_texts = False
        self._tokens = Tokens()
        self._count = 0
        self._until = 0.0
        self._done = self._total = 0

    def apply(self, *, texts: bool = False) -> None:
        """Apply what is new, and forget what is gone.

        Args:
            texts: Whether to index the words of what is new, too.

        Raises:
            StoreError: the folder cannot be read, or this SQLite cannot search texts.
        """
        with collector_off():
            while True:
                self._done = self._total = 0
                try:
                    self._begin()
                    self._with_texts = texts
                    if texts:
                        self._texts.begin()
                    self._pass()
                    self._flush()
                    if texts:
                        self._texts.catch_up(self._runs.last)
                    self._db.commit()
                except _Overtaken:
                    continue
                except BaseException:
                    self._db.rollback()
                    self._version = None
                    self._clear()
                    raise
                # A journal that grew meanwhile, or whose last line is not whole, is read as far as it can be.
                self._tell(self._total)
                return

    def search(self, text: str) -> tuple[str, list[Any]]:
        """The condition that `r.pk` is a run that holds all words of a text, and its parameters."""
        return self._texts.matching(text)

    def _pass(self) -> None:
        look = self._look()
        for _ in range(_LOOKS):
            if not self._vanished:
                break
            look = self._look()
        gone = [name for name in self._journals if name not in look.names]
        if gone:
            self._flush()
            forget(self._db, gone, runs=self._runs, applied=self._applied, processes=self._processes)
            for name in gone:
                del self._journals[name]

    def _look(self) -> Look:
        """Look at the folder, and read what is new there."""
        look = self._folder.look(self._is_read)
        self._vanished = look.vanished
        self._read(look)
        return look

    def _is_read(self, name: str) -> bool:
        known = self._journals.get(name)
        return known is not None and known.sealed

    def _read(self, look: Look) -> None:
        headers = {journal.header.process: journal.header for journal in look.found}
        self._settle({process: (header, look.states[process]) for process, header in headers.items()})
        self._applied.load(self._processes.rows[process] for process in headers)
        if self._progress is not None:
            self._total = self._done + sum(max(0, each.size - self._at(each.name).offset) for each in look.found)
            self._total += sum(size for _, _, size in look.bundles)
        for journal in look.found:
            self._journal(journal, dead=look.states[journal.header.process] == "dead")
        for bundle in look.bundles:
            self._bundle(*bundle, look.states)

    def _settle(self, headers: dict[str, tuple[Header, State]]) -> None:
        changed = self._processes.settle(headers)
        if changed:
            self._runs.recount(self._processes.mark_lost(changed))

    # Files ------------------------------------------------------------------------------------------------------------

    def _journal(self, journal: Found, *, dead: bool) -> None:
        name, path, header, size = journal.name, journal.path, journal.header, journal.size
        at = self._at(name)
        row = self._processes.rows[header.process]
        if not at.offset:
            self._bare.add((row, name))
        try:
            if dead:  # it may have written since, before it died
                size = os.path.getsize(path)  # noqa: PTH202
            if size < at.offset:  # another file under the same name
                at.offset = at.unreadable = 0
            for piece, behind in read_pieces(path, at.offset, size):
                found, bad = parse_piece(piece, self._tokens)
                self._take(row, name, [line for line in found if line.run])
                at.unreadable += bad if behind > at.offset or dead else 0  # or it may be continued
                self._advance(name, at, behind)
        except FileNotFoundError:
            self._vanished = True  # by the retention of another process, or into a bundle
            return
        # What is left behind its last whole line is told of only when its process is dead.
        sealed = dead or (journal.is_past and at.offset >= size)
        if at.sealed != sealed:
            at.sealed = sealed
            self._changed.add(name)

    def _bundle(self, name: str, path: str, size: int, states: dict[str, State]) -> None:
        """Read the journals of many processes that are over, one behind the other."""
        at = self._at(name)
        at.offset = at.unreadable = 0
        row: int | None = None
        try:
            for piece, behind in read_pieces(path, 0, size):
                found, bad = parse_piece(piece, self._tokens)
                at.unreadable += bad
                row = self._bundled(name, at, found, row, states)
                self._advance(name, at, behind)
        except FileNotFoundError:
            self._vanished = True
            return
        at.sealed = True
        self._changed.add(name)

    def _bundled(
        self, name: str, at: _Journal, found: list[Line], row: int | None, states: dict[str, State]
    ) -> int | None:
        """Take the lines of a piece of a bundle, and say whose lines follow it: the row of that process."""
        headers = [None if line.run else header_of(line.data) for line in found]
        settled: dict[str, tuple[Header, State]] = {}
        for header in headers:
            if header is not None:
                # One that has gone on in another file is alive, whatever became of its earlier ones.
                state = states.get(header.process, "dead")
                settled[header.process] = (header, "dead" if state == "unknown" else state)
        self._settle(settled)
        mine: list[Line] = []
        for line, header in zip(found, headers, strict=True):
            if line.run and row is not None:
                mine.append(line)
            elif header is not None:
                if row is not None:
                    self._take(row, name, mine)
                mine = []
                row = self._processes.rows[header.process]
                self._bare.add((row, name))
            else:
                at.unreadable += line.type != BUNDLE_STARTED
        if row is not None:
            self._take(row, name, mine)
        return row

    def _at(self, name: str) -> _Journal:
        return self._journals.setdefault(name, _Journal())

    # What was read ----------------------------------------------------------------------------------------------------

    def _take(self, row: int, name: str, lines: list[Line]) -> None:
        """Keep the events that were not applied before, until there are enough of them."""
        if not lines:
            return
        numbers = [line.seq for line in lines]
        first, last = self._spans.get((row, name), (numbers[0], numbers[0]))
        self._spans[row, name] = (min(first, min(numbers)), max(last, max(numbers)))
        new = self._applied.of(row).take(numbers)
        groups = self._groups
        for place, line in enumerate(lines):
            if new is None or new[place]:
                group = groups.get(line.run)
                if group is None:
                    groups[line.run] = [(row, line)]
                else:
                    group.append((row, line))
        self._count += len(lines)

    def _advance(self, name: str, at: _Journal, offset: int) -> None:
        self._done += offset - at.offset
        at.offset = offset
        self._changed.add(name)
        if self._count >= _BATCH:
            self._flush()
            self._tell(self._done)
            if time.monotonic() > self._until:
                self._let_others()

    def _flush(self) -> None:
        """Write what was read so far."""
        if self._groups:
            before = self._runs.last
            added = self._runs.apply(self._groups, self._tokens)
            if self._with_texts:
                self._texts.add_read(before, self._runs.last, added)
        else:
            self._runs.write()
        if self._runs.changed_texts:
            self._runs.changed_texts = False
            self._texts.note_late()
        self._applied.write()
        spans = [(*key, *self._spans.get(key, (None, None))) for key in self._spans.keys() | self._bare]
        insert(
            self._db,
            "INSERT INTO parts",
            spans,
            "ON CONFLICT DO UPDATE"
            " SET first_seq = coalesce(min(first_seq, excluded.first_seq), first_seq, excluded.first_seq),"
            " last_seq = coalesce(max(last_seq, excluded.last_seq), last_seq, excluded.last_seq)",
        )
        places = [(name, self._journals[name]) for name in self._changed]
        rows = [(name, at.offset, at.unreadable, at.sealed) for name, at in places]
        insert(self._db, "INSERT OR REPLACE INTO journals", rows)
        self._clear()

    def _tell(self, done: int) -> None:
        if self._progress is not None and self._total:
            self._progress(Progress(min(done, self._total), self._total))

    def _clear(self) -> None:
        self._groups.clear()
        self._tokens.clear()
        self._spans.clear()
        self._bare.clear()
        self._changed.clear()
        self._count = 0

    # The database -----------------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        # IMMEDIATE: a transaction that reads and then writes fails at once when another writes meanwhile.
        self._db.execute("BEGIN IMMEDIATE")
        self._until = time.monotonic() + _HOLD_S
        version = int(self._db.execute("PRAGMA data_version").fetchone()[0])
        if version != self._version:
            self._version = version
            self._load()

    def _load(self) -> None:
        """Learn from the database how far it is."""
        self._clear()
        self._texts.forget()
        self._processes = Processes(self._db)
        self._applied = Applied(self._db)
        self._runs = Runs(self._db, self._processes)
        rows = look_up(self._db, "name, offset, unreadable, sealed", "FROM journals")
        self._journals = {name: _Journal(offset, bad, bool(sealed)) for name, offset, bad, sealed in rows}

    def _pause(self) -> None:
        if time.monotonic() > self._until:
            self._db.commit()
            self._begin()

    def _let_others(self) -> None:
        """Let others write who wait for it."""
        self._db.commit()
        version = self._version
        self._begin()
        if self._version != version:
            self._db.rollback()
            self._version = None
            raise _Overtaken
