"""Records: rows of the index as what a reader gets, each in its place in the whole tree."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

from agent_run_id.events import RUN_ENDED, RUN_STARTED
from agent_run_id.folding import FoldedRun, StoredEvent, came_out, elapsed_of, happened, text_of, told
from agent_run_id.growing import Lineage, Sketch
from agent_run_id.index.ids import id_text
from agent_run_id.index.layout import STATUSES
from agent_run_id.index.rows import COLUMNS, between, decoded, stored_between, unwrapped
from agent_run_id.reading import decode
from agent_run_id.schema import EventRecord, ProcessRecord, RunRecord

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator, Sequence

    from agent_run_id.index import Index

__all__ = ["RUN", "Records", "event_record", "event_records", "moment"]

RUN: Final = (
    f"SELECT {', '.join(f'r.{column.strip()}' for column in COLUMNS.split(','))},"
    " parent.id AS parent_id, root.id AS root_id FROM runs r"
    " LEFT JOIN runs parent ON parent.pk = r.parent LEFT JOIN runs root ON root.pk = r.root"
)
"""What `Records` needs of a run; goes on with a WHERE about `r`, `parent` or `root`."""
_LINEAGE: Final = "SELECT pk, id, parent, root, depth, user_id, session_id FROM runs WHERE pk = ?"
_PROCESS: Final = "SELECT pk, id, state, header FROM processes"
_EVENTS: Final = (
    "SELECT e.run, p.id AS process, e.seq, e.time, e.type, e.data FROM events e JOIN processes p ON p.pk = e.process"
    " WHERE e.run IN (SELECT value FROM json_each(?))"
)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class _Maker:
    """Makes records of rows alone: a tree keeps this, and must not keep the database open by it.

    Attributes:
        processes: The owners of the runs, by their rows; None has none.
    """

    def __init__(self) -> None:
        self.processes: dict[int | None, ProcessRecord | None] = {None: None}
        self._texts: dict[bytes, str] = {}

    def record(self, row: sqlite3.Row, place: Lineage) -> RunRecord:
        """The record of a run in this place."""
        # By their place: by name it would take a quarter of the time, and a tree has ten thousand.
        (
            _, key, _, _, _, status, name, kind, name_within, _, _, owner, seq, started_at, started,
            _, ended_at, ended, heard, known, parent, _,
        ) = row  # fmt: skip
        details = _details(started, ended, known)
        elapsed = details.get("elapsed")
        if elapsed is None and ended_at is not None and started_at is not None:
            elapsed = max(0, ended_at - started_at)
        details["elapsed"] = None if elapsed is None else timedelta(microseconds=elapsed)
        if "segments" in details:
            details["segments"] = [_segment(segment) for segment in details["segments"]]
        details["id"] = id_text(key)
        details["parent_id"] = None if parent is None else self.text(parent)
        details["root_id"], details["depth"], details["user_id"], details["session_id"] = place
        details["name"], details["kind"], details["key"], details["seq"] = name, kind, name_within, seq
        details["status"] = None if status is None else STATUSES[status]
        details["started_at"], details["ended_at"] = _time(started_at), _time(ended_at)
        details["last_event_at"] = details["ended_at"] if heard == ended_at else _time(heard)
        details["process"] = self.processes.get(owner)
        return RunRecord.model_validate(details)

    def text(self, key: bytes) -> str:
        """The id of a run that others name."""
        text = self._texts.get(key)
        if text is None:
            text = self._texts[key] = id_text(key)
        return text


class Records:
    """Makes the records of one answer; what several runs have above them is looked up once.

    Args:
        index: Where the rows are.
    """

    def __init__(self, index: Index) -> None:
        self._index = index
        self._places: dict[int, Lineage] = {}
        self._maker = _Maker()

    def placed(self, row: sqlite3.Row) -> RunRecord:
        """The record of a run as it stands in the whole tree.

        A bare id made elsewhere says of itself that it is a root, and so do the runs below it. The record of its start
        knows better.
        """
        self.load_processes({row["owner"]})
        return self._maker.record(row, self._place(row))

    def sketches(self, rows: Sequence[sqlite3.Row]) -> Iterator[Sketch]:
        """What a tree must know of runs to put them in their places. Nothing is read for their records later."""
        self.load_processes({row["owner"] for row in rows})
        maker = self._maker
        owners = {pk: "" if process is None else process.id for pk, process in maker.processes.items()}
        for row in rows:
            (
                _, key, _, _, depth, _, _, _, _, user, session, owner, seq, started_at, _, _, _, _, _, _, parent, root,
            ) = row  # fmt: skip
            text = id_text(key)
            own = Lineage(text if root is None else maker.text(root), depth, user, session)
            above = None if parent is None else maker.text(parent)
            yield Sketch(text, above, own, started_at, owners[owner], seq or 0, partial(maker.record, row))

    def above(self, row: sqlite3.Row) -> list[RunRecord]:
        """The records of the runs above one: its parent first."""
        found: list[RunRecord] = []
        seen = {row["pk"]}
        while (above := _above(row)) is not None and above not in seen:
            seen.add(above)
            # Between two looks another reader may have forgotten what its journals have no more.
            rows = self._index.read(f"{RUN} WHERE r.pk = ?", [above])
            if not rows:
                break
            row = rows[0]
            found.append(self.placed(row))
        return found

    def _place(self, top: sqlite3.Row) -> Lineage:
        pk: int = top["pk"]
        if pk in self._places:
            return self._places[pk]
        chain, seen = [top], {pk}
        above = _above(top)
        while above is not None and above not in self._places and above not in seen:
            seen.add(above)
            rows = self._index.read(_LINEAGE, [above])
            if not rows:
                above = None
                break
            chain += rows
            above = _above(rows[0])
        # That roots do not go round in a ring, nobody promised.
        base = None if above is None else self._places.get(above)
        for row in reversed(chain):
            base = self._places[row["pk"]] = _below(row, base)
        return self._places[pk]

    def load_processes(self, owners: set[int | None]) -> None:
        """Have the processes of owners at hand."""
        known = self._maker.processes
        new = owners - known.keys()
        if not new:
            return
        known.update(dict.fromkeys(new))  # one that another reader forgets meanwhile is not known
        wanted = json.dumps(list(new))
        for row in self._index.read(f"{_PROCESS} WHERE pk IN (SELECT value FROM json_each(?))", [wanted]):
            known[row["pk"]] = _process_record(row)

    def events(self, row: sqlite3.Row) -> list[StoredEvent]:
        """All that was recorded of a run, in no order; `row` must be of `RUN`."""
        return self.events_of([row])[row["pk"]]

    def events_of(self, rows: Sequence[sqlite3.Row]) -> dict[int, list[StoredEvent]]:
        """All that was recorded of some runs, by their rows, in no order; `rows` must be of `RUN`."""
        elsewhere: dict[int, list[StoredEvent]] = {row["pk"]: [] for row in rows}
        for other in self._index.read(_EVENTS, [json.dumps(list(elsewhere))]):
            event = StoredEvent(other["process"], other["seq"], other["time"], other["type"], unwrapped(other["data"]))
            elsewhere[other["run"]].append(event)
        self.load_processes({row["owner"] for row in rows})
        return {row["pk"]: [*self.inside(row), *elsewhere[row["pk"]]] for row in rows}

    def inside(self, row: sqlite3.Row) -> list[StoredEvent]:
        """What was recorded of a run and is kept in its row, in no order; `row` must be of `RUN`."""
        self.load_processes({row["owner"]})
        owner = self._maker.processes[row["owner"]]
        if owner is None:
            return []
        between = [] if row["details"] is None else stored_between(row["details"], owner.id)
        return [*_kept(row, owner.id), *between]


def _above(row: sqlite3.Row) -> int | None:
    # Runs between it and its root were never recorded, where it has no parent and yet a root.
    above: int | None = row["root"] if row["parent"] is None else row["parent"]
    return above


def _below(row: sqlite3.Row, base: Lineage | None) -> Lineage:
    if base is None:
        return Lineage(
            id_text(row["id"]), 0 if row["parent"] is None else row["depth"], row["user_id"], row["session_id"]
        )
    return Lineage(
        base.root_id,
        base.depth + (row["depth"] if row["parent"] is None else 1),
        base.user_id if row["user_id"] is None else row["user_id"],
        base.session_id if row["session_id"] is None else row["session_id"],
    )


def _process_record(row: sqlite3.Row) -> ProcessRecord:
    header: dict[str, Any] = json.loads(row["header"])
    pid, host, program = (header.get(name) for name in ("pid", "host", "program"))
    return ProcessRecord(
        id=row["id"],
        pid=pid if isinstance(pid, int) else None,
        host=None if host is None else str(host),
        program=None if program is None else str(program),
        state=row["state"],
    )


def _kept(row: sqlite3.Row, process: str) -> list[StoredEvent]:
    """The events that are kept in the row of a run."""
    kept: list[StoredEvent] = []
    if row["started"] is not None:
        kept.append(StoredEvent(process, row["seq"], row["started_at"], RUN_STARTED, unwrapped(row["started"])))
        if row["ended"] is not None:
            kept.append(StoredEvent(process, row["end_seq"], row["ended_at"], RUN_ENDED, unwrapped(row["ended"])))
    return kept


def _details(started: str | None, ended: str | None, details: str | None) -> dict[str, Any]:
    """What is known of a run beside its columns: a dict of the caller's own."""
    inside = None if details is None else between(details)
    if details is not None and inside is None:
        return cast("dict[str, Any]", decode(details))
    if started is None:
        return {}
    start, *ends = decoded(started) if ended is None else decoded(started, ended)
    found = told(start)
    found["summary"] = text_of(start.get("summary"))
    if inside is not None:
        run = FoldedRun()
        run.details, run.summary = found, found["summary"]
        happened(run, inside)
        found["summary"] = run.summary
    for end in ends:
        found |= came_out(end)
        found["elapsed"] = elapsed_of(end)
    return found


def _segment(segment: dict[str, Any]) -> dict[str, Any]:
    return {
        **segment,
        "process_id": segment["process"],
        "started_at": _time(segment["began"]),
        "ended_at": _time(segment.get("until")),
    }


def moment(microseconds: int) -> datetime:
    """A recorded time, in UTC."""
    return _EPOCH + timedelta(microseconds=microseconds)


def _time(microseconds: int | None) -> datetime | None:
    return None if microseconds is None else moment(microseconds)


def event_records(run_id: str, events: Iterable[StoredEvent]) -> list[EventRecord]:
    """The records of the events of a run, in their order."""
    return [event_record(run_id, event) for event in events]


def event_record(run_id: str, event: StoredEvent) -> EventRecord:
    """The record of an event."""
    return EventRecord(
        type=event.type,
        run_id=run_id,
        time=moment(event.time),
        process_id=event.process,
        seq=event.seq,
        data=event.data,
    )
