"""Processes: their rows in the index, and which of them have died."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from agent_run_id.index.layout import LOST, RUNNING, in_groups, insert, look_up

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Mapping

    from agent_run_id.liveness import State
    from agent_run_id.reading import Header

__all__ = ["Processes"]

_REMEMBERED: Final = 100_000


class Processes:
    """The processes of the index.

    Args:
        connection: To the database, in a transaction.

    Attributes:
        ids: Their ids by row, of those that were asked for.
        rows: Their rows by id.
        dead: The rows of those among them that have died.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection
        self.ids: dict[int, str] = {}
        self.rows: dict[str, int] = {}
        self.dead: set[int] = set()
        self._states: dict[str, str] = {}

    def load_ids(self, rows: Iterable[int]) -> None:
        """Learn the ids of these rows."""
        self._learn("pk", [row for row in rows if row not in self.ids])

    def forget(self) -> None:
        """Look everything up again: some were removed."""
        self.ids.clear()
        self.rows.clear()
        self._states.clear()
        self.dead.clear()

    def settle(self, headers: Mapping[str, tuple[Header, State]]) -> dict[int, str]:
        """Give each process a row, and write what is new of it.

        Args:
            headers: What is known of each, by id.

        Returns:
            Those that have died, or come alive again, since the last time: their rows, and what they are now.
        """
        if len(self.ids) > _REMEMBERED:
            self.forget()
        self._learn("id", [name for name in headers if name not in self._states])
        states = {name: self._states[name] for name in headers if name in self._states}
        fresh = [(header, state) for name, (header, state) in headers.items() if name not in states]
        rows = [(header.process, state, json.dumps(header.fields)) for header, state in fresh]
        insert(self._db, "INSERT INTO processes (id, state, header)", rows)
        self._learn("id", [header.process for header, _ in fresh])
        changed: dict[int, str] = {}
        for name, before in states.items():
            now = headers[name][1]
            # Of its death, a copy of its journal knows nothing, whatever was seen elsewhere.
            if now != before and (before, now) != ("dead", "unknown"):
                changed[self.rows[name]] = now
                self._states[name] = now
                self._db.execute("UPDATE processes SET state = ? WHERE pk = ?", [now, self.rows[name]])
                (self.dead.add if now == "dead" else self.dead.discard)(self.rows[name])
        return changed

    def _learn(self, column: str, values: list[int] | list[str]) -> None:
        for group in in_groups(values):
            where = f"FROM processes WHERE {column} IN ({','.join('?' * len(group))})"
            for pk, name, state in look_up(self._db, "pk, id, state", where, group):
                self.ids[pk] = name
                self.rows[name] = pk
                self._states[name] = state
                if state == "dead":
                    self.dead.add(pk)

    def mark_lost(self, changed: Mapping[int, str]) -> list[tuple[int, int, int]]:
        """Let the running runs of processes that have died be lost, and run again those of a process that lives.

        Args:
            changed: Rows of processes, and what they are now.

        Returns:
            What changes of the trees: the row of a root, a status, and how many runs more have it.
        """
        moved: list[tuple[int, int, int]] = []
        for now in (RUNNING, LOST):
            before = LOST if now == RUNNING else RUNNING
            rows = [row for row, state in changed.items() if (state == "dead") == (now == LOST)]
            for group in in_groups(rows):
                where = f"WHERE owner IN ({','.join('?' * len(group))}) AND status IN (0, 4) AND status = {before}"
                trees = f"FROM (SELECT coalesce(root, pk) AS tree, count(*) AS n FROM runs {where} GROUP BY 1)"
                for tree, count in look_up(self._db, "tree, n", trees, group):
                    moved += [(tree, before, -count), (tree, now, count)]
                self._db.execute(f"UPDATE runs SET status = {now} {where}", group)
        return moved
