"""Histories: everything recorded of a run and all below it, in order, and never all of it at once.

The order is settled first, of places alone; what was recorded there is read a piece at a time. So a tree of a million
runs takes some queries for each piece, and not one for each run, nor room for all that was recorded in it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from agent_run_id.finding import BELOW
from agent_run_id.folding import StoredEvent
from agent_run_id.index.ids import id_text
from agent_run_id.index.rows import unwrapped
from agent_run_id.records import RUN, Records, event_record

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator, Sequence

    from agent_run_id.index import Index
    from agent_run_id.schema import EventRecord

    Place = tuple[int, int]

__all__ = ["history"]

_PIECE: Final = 2_000  # events
_INSIDE: Final = "json_each(CASE WHEN r.details LIKE '[%' THEN r.details ELSE '[]' END)"
# By time, but never against the sequence of one process, whose clock may be set back: as `folding.in_order`.
_ORDER: Final = (
    f"{BELOW}, said (run, process, seq, type, time) AS ("
    "SELECT e.run, e.process, e.seq, e.type, e.time FROM below CROSS JOIN events e ON e.run = below.pk"
    " UNION ALL SELECT r.pk, r.owner, r.seq, 'run.started', r.started_at"
    " FROM below CROSS JOIN runs r ON r.pk = below.pk WHERE r.started IS NOT NULL"
    " UNION ALL SELECT r.pk, r.owner, r.end_seq, 'run.ended', r.ended_at"
    " FROM below CROSS JOIN runs r ON r.pk = below.pk WHERE r.ended IS NOT NULL"
    " UNION ALL SELECT r.pk, r.owner, value ->> '$[2]', value ->> '$[0]', value ->> '$[3]'"
    f" FROM below CROSS JOIN runs r ON r.pk = below.pk CROSS JOIN {_INSIDE})"
    " SELECT run, process, seq FROM (SELECT run, process, seq, type,"
    " max(time) OVER (PARTITION BY process ORDER BY seq) AS heard FROM said) s JOIN processes p ON p.pk = s.process"
    " WHERE (? OR type IN (SELECT value FROM json_each(?))) ORDER BY heard, p.id, seq"
)
_ROWS: Final = (
    "SELECT e.process, e.seq, p.id AS name, e.time, e.type, e.data, r.id FROM json_each(?) place"
    " CROSS JOIN events e ON e.process = place.value ->> '$[1]' AND e.seq = place.value ->> '$[2]'"
    " JOIN processes p ON p.pk = e.process JOIN runs r ON r.pk = e.run"
)
_RUNS: Final = f"{RUN} WHERE r.pk IN (SELECT value ->> '$[0]' FROM json_each(?))"


def history(index: Index, pk: int, types: Iterable[str] = ()) -> Iterator[EventRecord]:
    """Everything recorded of a run and all runs below it, in order.

    Args:
        index: Where it is.
        pk: The row of the run.
        types: Only events of these types; none gives all.
    """
    wanted = list(types)
    places = [tuple(row) for row in index.read(_ORDER, [pk, not wanted, json.dumps(wanted)])]
    for start in range(0, len(places), _PIECE):
        yield from _piece(index, places[start : start + _PIECE])


def _piece(index: Index, places: Sequence[tuple[int, ...]]) -> Iterator[EventRecord]:
    found = _of_rows(index.read(_ROWS, [json.dumps(places)]))
    # The others are kept in the rows of their runs. One that another reader has forgotten meanwhile is nowhere.
    missing = [place for place in places if place[1:] not in found]
    if missing:
        found |= _of_runs(index, index.read(_RUNS, [json.dumps(missing)]))
    yield from (found[place[1:]] for place in places if place[1:] in found)


def _of_rows(rows: Iterable[sqlite3.Row]) -> dict[tuple[Any, ...], EventRecord]:
    found: dict[tuple[Any, ...], EventRecord] = {}
    for row in rows:
        event = StoredEvent(row["name"], row["seq"], row["time"], row["type"], unwrapped(row["data"]))
        found[row["process"], row["seq"]] = event_record(id_text(row["id"]), event)
    return found


def _of_runs(index: Index, rows: Sequence[sqlite3.Row]) -> dict[tuple[Any, ...], EventRecord]:
    records = Records(index)
    records.load_processes({row["owner"] for row in rows})
    return {
        (row["owner"], event.seq): event_record(id_text(row["id"]), event)
        for row in rows
        for event in records.inside(row)
    }
