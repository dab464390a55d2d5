"""Forgetting: what journals that are gone held, and nobody else holds, leaves the index too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agent_run_id.index.applied import Ranges
from agent_run_id.index.layout import in_groups, look_up

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection, Sequence

    from agent_run_id.index.applied import Applied
    from agent_run_id.index.processes import Processes
    from agent_run_id.index.runs import Runs

__all__ = ["forget"]


def forget(
    connection: sqlite3.Connection, names: Sequence[str], *, runs: Runs, applied: Applied, processes: Processes
) -> None:
    """Forget the events of journals that are gone, unless others have them too.

    Args:
        connection: To the database, in a transaction.
        names: The journals.
        runs: The runs of the index.
        applied: What was applied of each process.
        processes: The processes of the index.
    """
    parts: list[list[Any]] = []
    for group in in_groups(names):
        marks = ",".join("?" * len(group))
        parts += look_up(connection, "process, first_seq, last_seq", f"FROM parts WHERE journal IN ({marks})", group)
        connection.execute(f"DELETE FROM parts WHERE journal IN ({marks})", group)
        connection.execute(f"DELETE FROM journals WHERE name IN ({marks})", group)
    owners = sorted({process for process, _, _ in parts})
    gone = _gone(connection, parts, owners)
    processes.load_ids(gone)
    touched = _removed(connection, gone, applied)
    runs.refold(touched, {processes.ids[process]: ranges for process, ranges in gone.items()})
    _prune(connection, touched)
    for group in in_groups(owners):
        where = f"WHERE pk IN ({','.join('?' * len(group))}) AND NOT EXISTS (SELECT 1 FROM parts WHERE process = pk)"
        connection.execute(f"DELETE FROM processes {where}", group)
    runs.forget()
    processes.forget()


def _gone(connection: sqlite3.Connection, parts: list[list[Any]], owners: list[int]) -> dict[int, Ranges]:
    """The numbers of the events that no other journal holds, by the row of their process."""
    # Which file an event was in is not kept, but those of a process are numbered, from one file to the next.
    gone: dict[int, Ranges] = {}
    for process, first, last in parts:
        if first is not None:
            gone.setdefault(process, Ranges()).add(first, last)
    for group in in_groups(owners):
        marks = ",".join("?" * len(group))
        left = f"FROM parts WHERE process IN ({marks}) AND first_seq IS NOT NULL"
        for process, first, last in look_up(connection, "process, first_seq, last_seq", left, group):
            if process in gone:
                gone[process].remove(first, last)
    return gone


def _removed(connection: sqlite3.Connection, gone: dict[int, Ranges], applied: Applied) -> set[int]:
    """Remove the events that are rows of their own, and say which runs lose any."""
    touched: set[int] = set()
    for process, ranges in gone.items():
        known = applied.of(process)
        for first, last in ranges:
            known.remove(first, last)
            where = "WHERE process = ? AND seq BETWEEN ? AND ?"
            touched.update(run for (run,) in look_up(connection, "run", f"FROM events {where}", [process, first, last]))
            connection.execute(f"DELETE FROM events {where}", [process, first, last])
            inside = (
                "FROM runs WHERE owner = ? AND (seq BETWEEN ? AND ? OR end_seq BETWEEN ? AND ?"
                " OR (details LIKE '[%' AND seq < ? AND (end_seq IS NULL OR end_seq > ?)))"
            )
            numbers = [first, last, first, last, last, first]
            touched.update(pk for (pk,) in look_up(connection, "pk", inside, [process, *numbers]))
    applied.write()
    for group in in_groups(sorted(touched)):
        for table in ("tags", "aliases", "links"):
            connection.execute(f"DELETE FROM {table} WHERE run IN ({','.join('?' * len(group))})", group)
    return touched


def _prune(connection: sqlite3.Connection, touched: Collection[int]) -> None:
    """Remove runs of which nothing is known any more, not even that others name them."""
    silent = "started IS NULL AND NOT EXISTS (SELECT 1 FROM events WHERE run = runs.pk)"
    unnamed = (
        "NOT EXISTS (SELECT 1 FROM runs other WHERE other.parent = runs.pk)"
        " AND NOT EXISTS (SELECT 1 FROM runs other WHERE other.root = runs.pk)"
    )
    empty = set(touched)
    while empty:
        above: set[int] = set()
        for group in in_groups(sorted(empty)):
            where = f"FROM runs WHERE pk IN ({','.join('?' * len(group))}) AND {silent}"
            # Where it is in the tree was said in its own events alone; those below it only say that it is above them.
            above.update(row for (row,) in look_up(connection, "parent", f"{where} AND parent IS NOT NULL", group))
            connection.execute(f"UPDATE runs SET parent = NULL WHERE pk IN (SELECT pk {where})", group)
            removed = connection.execute(f"DELETE {where} AND {unnamed} RETURNING root, id", group).fetchall()
            above.update(root for root, _ in removed if root is not None)
            for table in ("ids", "new_ids"):
                connection.executemany(f"DELETE FROM {table} WHERE id = ?", [(key,) for _, key in removed])
        empty = above
