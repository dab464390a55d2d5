"""Records: rows of the index as what a reader gets, each in its place in the whole tree."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from agent_run_id.events import RUN_ENDED, RUN_STARTED
from agent_run_id.folding import StoredEvent, came_out, elapsed_of, text_of, told
from agent_run_id.index.ids import id_text
from agent_run_id.index.layout import STATUSES
from agent_run_id.index.rows import unwrapped
from agent_run_id.reading import decode
from agent_run_id.schema import EventRecord, ProcessRecord, RunRecord

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable

    from agent_run_id.index import Index

__all__ = ["RUN", "Records", "event_records", "moment"]

RUN: Final = (
    "SELECT r.*, parent.id AS parent_id, root.id AS root_id, p.id AS process_id, p.state AS process_state,"
    " p.header AS process_header FROM runs r LEFT JOIN runs parent ON parent.pk = r.parent"
    " LEFT JOIN runs root ON root.pk = r.root LEFT JOIN processes p ON p.pk = r.owner"
)
"""What `Records` needs of a run; goes on with a WHERE about `r`, `parent` or `root`."""
_AS_THEY_ARE: Final = ("seq", "name", "kind", "key")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class _Place(NamedTuple):
    """Where a run is in the whole tree, and what it has from the runs above it."""

    root_id: str
    depth: int
    user_id: str | None
    session_id: str | None


class Records:
    """Makes the records of one answer; what several runs have above them is looked up once.

    Args:
        index: Where the rows are.
    """

    def __init__(self, index: Index) -> None:
        self._index = index
        self._places: dict[int, _Place] = {}
        self._processes: dict[int, ProcessRecord] = {}
        self._texts: dict[bytes, str] = {}

    def placed(self, row: sqlite3.Row) -> RunRecord:
        """The record of a run as it stands in the whole tree.

        A bare id made elsewhere says of itself that it is a root, and so do the runs below it. The record of its start
        knows better.
        """
        place = self._place(row["pk"])
        return self._record(row, place)

    def own(self, row: sqlite3.Row) -> RunRecord:
        """The record of a run with what it says of itself alone: the tree puts it in its place."""
        root = row["id"] if row["root_id"] is None else row["root_id"]
        return self._record(row, _Place(self._text(root), row["depth"], row["user_id"], row["session_id"]))

    def above(self, row: sqlite3.Row) -> list[RunRecord]:
        """The records of the runs above one: its parent first."""
        found: list[RunRecord] = []
        seen = {row["pk"]}
        while (above := _above(row)) is not None and above not in seen:
            seen.add(above)
            [row] = self._index.read(f"{RUN} WHERE r.pk = ?", [above])
            found.append(self.placed(row))
        return found

    def _place(self, pk: int) -> _Place:
        chain: list[sqlite3.Row] = []
        seen: set[int] = set()
        above: int | None = pk
        while above is not None and above not in self._places and above not in seen:
            seen.add(above)
            [row] = self._index.read(
                "SELECT pk, id, parent, root, depth, user_id, session_id FROM runs WHERE pk = ?", [above]
            )
            chain.append(row)
            above = _above(row)
        base = (
            None if above is None else self._places.get(above)
        )  # that roots do not go round in a ring, nobody promised
        for row in reversed(chain):
            base = self._places[row["pk"]] = _below(row, base)
        return self._places[pk]

    def _record(self, row: sqlite3.Row, place: _Place) -> RunRecord:
        details = _details(row)
        elapsed = details.pop("elapsed", None)
        if elapsed is None and row["ended_at"] is not None and row["started_at"] is not None:
            elapsed = max(0, row["ended_at"] - row["started_at"])
        return RunRecord.model_validate(
            {
                **details,
                "id": id_text(row["id"]),
                "parent_id": row["parent_id"] and self._text(row["parent_id"]),
                "started_at": _time(row["started_at"]),
                "ended_at": _time(row["ended_at"]),
                "last_event_at": _time(row["last_event_at"]),
                "elapsed": None if elapsed is None else timedelta(microseconds=elapsed),
                "status": None if row["status"] is None else STATUSES[row["status"]],
                "process": self._process(row),
                **place._asdict(),
                **{name: row[name] for name in _AS_THEY_ARE},
            }
        )

    def _text(self, key: bytes) -> str:
        """The id of a run that others name."""
        text = self._texts.get(key)
        if text is None:
            text = self._texts[key] = id_text(key)
        return text

    def _process(self, row: sqlite3.Row) -> ProcessRecord | None:
        owner: int | None = row["owner"]
        if owner is None:
            return None
        if owner not in self._processes:
            header: dict[str, Any] = json.loads(row["process_header"])
            pid, host, program = (header.get(name) for name in ("pid", "host", "program"))
            self._processes[owner] = ProcessRecord(
                id=row["process_id"],
                pid=pid if isinstance(pid, int) else None,
                host=None if host is None else str(host),
                program=None if program is None else str(program),
                state=row["process_state"],
            )
        return self._processes[owner]

    def events(self, row: sqlite3.Row) -> list[StoredEvent]:
        """All that was recorded of a run, in no order; `row` must be of `RUN`."""
        rows = self._index.read(
            "SELECT p.id AS process, e.seq, e.time, e.type, e.data FROM events e JOIN processes p ON p.pk = e.process"
            " WHERE e.run = ?",
            [row["pk"]],
        )
        found = [
            StoredEvent(other["process"], other["seq"], other["time"], other["type"], unwrapped(other["data"]))
            for other in rows
        ]
        return [*_kept(row), *found]


def _above(row: sqlite3.Row) -> int | None:
    # Runs between it and its root were never recorded, where it has no parent and yet a root.
    above: int | None = row["root"] if row["parent"] is None else row["parent"]
    return above


def _below(row: sqlite3.Row, base: _Place | None) -> _Place:
    if base is None:
        return _Place(
            id_text(row["id"]), 0 if row["parent"] is None else row["depth"], row["user_id"], row["session_id"]
        )
    return _Place(
        base.root_id,
        base.depth + (row["depth"] if row["parent"] is None else 1),
        base.user_id if row["user_id"] is None else row["user_id"],
        base.session_id if row["session_id"] is None else row["session_id"],
    )


def _kept(row: sqlite3.Row) -> list[StoredEvent]:
    """The events that are kept in the row of a run."""
    kept: list[StoredEvent] = []
    if row["started"] is not None:
        process = row["process_id"]
        kept.append(StoredEvent(process, row["seq"], row["started_at"], RUN_STARTED, unwrapped(row["started"])))
        if row["ended"] is not None:
            kept.append(StoredEvent(process, row["end_seq"], row["ended_at"], RUN_ENDED, unwrapped(row["ended"])))
    return kept


def _details(row: sqlite3.Row) -> dict[str, Any]:
    """What is known of a run beside its columns."""
    if row["details"] is not None:
        return cast("dict[str, Any]", decode(row["details"]))
    if row["started"] is None:
        return {}
    start = unwrapped(row["started"])
    details = {**told(start), "summary": text_of(start.get("summary"))}
    if row["ended"] is not None:
        end = unwrapped(row["ended"])
        details |= {**came_out(end), "elapsed": elapsed_of(end)}
    return details


def moment(microseconds: int) -> datetime:
    """A recorded time, in UTC."""
    return _EPOCH + timedelta(microseconds=microseconds)


def _time(microseconds: int | None) -> datetime | None:
    return None if microseconds is None else moment(microseconds)


def event_records(run_id: str, events: Iterable[StoredEvent]) -> list[EventRecord]:
    """The records of events, in their order."""
    return [
        EventRecord(
            type=event.type,
            run_id=run_id,
            time=moment(event.time),
            process_id=event.process,
            seq=event.seq,
            data=event.data,
        )
        for event in events
    ]
