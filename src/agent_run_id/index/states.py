"""States: runs as they are in the index, with those of their events that count, to be folded anew."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from agent_run_id.events import RUN_ENDED, RUN_STARTED
from agent_run_id.folding import FOLDED, StoredEvent
from agent_run_id.index.layout import in_groups, look_up
from agent_run_id.index.rows import compact, stored_between, unwrapped

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from agent_run_id.index.processes import Processes
    from agent_run_id.index.rows import Place

__all__ = ["EventKey", "State", "load_states"]

EventKey = tuple[str, int]
"""What identifies an event: the id of its process, and its number there."""
_FOLDED: Final = ",".join(f"'{kind}'" for kind in sorted(FOLDED))
_STATE: Final = (
    "pk, hex(id), parent, root, depth, status, owner, seq, started_at, started, end_seq, ended_at, ended,"
    " last_event_at, CASE WHEN details LIKE '[%' THEN details END"
)


@dataclass(slots=True)
class State:
    """A run as the database has it.

    Attributes:
        pk: Its row.
        key: Its id.
        place: Where it is in the tree.
        status: As it is stored.
        heard: When it was last heard of.
        events: Those of its events that change what is known of it.
        raws: Their JSON.
        rows: Which of them are rows of their own.
        others: Events that change nothing and were kept in the row of the run.
    """

    pk: int
    key: bytes
    place: Place = (None, None, 0)
    status: int | None = None
    heard: int | None = None
    events: dict[EventKey, StoredEvent] = field(default_factory=dict[EventKey, StoredEvent])
    raws: dict[EventKey, str] = field(default_factory=dict[EventKey, str])
    rows: set[EventKey] = field(default_factory=set[EventKey])
    others: list[StoredEvent] = field(default_factory=list[StoredEvent])

    def add(self, event: StoredEvent, raw: str) -> EventKey:
        """Add an event."""
        key = (event.process, event.seq)
        self.events[key] = event
        self.raws[key] = raw
        return key


def load_states(connection: sqlite3.Connection, runs: Sequence[int], processes: Processes) -> list[State]:
    """The states of runs, by their rows."""
    found: list[State] = []
    for group in in_groups(runs):
        marks = ",".join("?" * len(group))
        rows = look_up(connection, _STATE, f"FROM runs WHERE pk IN ({marks})", group)
        events = look_up(
            connection,
            "run, process, seq, time, type, data",
            f"FROM events WHERE run IN ({marks}) AND type IN ({_FOLDED})",
            group,
        )
        processes.load_ids({row[6] for row in rows if row[6] is not None} | {event[1] for event in events})
        states: dict[int, State] = {}
        for pk, key, parent, root, depth, status, owner, seq, *times in rows:
            started_at, started, end_seq, ended_at, ended, heard, inside = times
            state = states[pk] = State(pk, bytes.fromhex(key), (parent, root, depth), status, heard)
            if started is not None:
                state.add(StoredEvent(processes.ids[owner], seq, started_at, RUN_STARTED, unwrapped(started)), started)
            if ended is not None:
                state.add(StoredEvent(processes.ids[owner], end_seq, ended_at, RUN_ENDED, unwrapped(ended)), ended)
            for event in () if inside is None else stored_between(inside, processes.ids[owner]):
                if event.type in FOLDED:
                    state.add(event, compact(event.data))
                else:
                    state.others.append(event)
        for run, process, seq, time, kind, raw in events:
            state = states[run]
            state.rows.add(state.add(StoredEvent(processes.ids[process], seq, time, kind, unwrapped(raw)), raw))
        found += states.values()
    return found
