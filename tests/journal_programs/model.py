"""A model of the index: what journals say, worked out anew for every question, as plainly as it can be done.

It shares nothing with the library but `RunId`. So it is slow, and what it says can be checked by reading it.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from agent_run_id import RunId
from tests.journal_programs.hands import HANDING, in_hands

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.journal_programs.worlds import Part

ENVELOPE = {"v", "type", "run", "time", "seq"}
CHANGING = {"run.started", "run.updated", "run.ended", "run.decision", "run.decision.outcome", "run.usage", *HANDING}
"""The types of events that change what is known of a run."""
STARTS = ("run.started", "run.queued")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Said(NamedTuple):
    """An event."""

    process: str
    seq: int
    time: int
    type: str
    run: RunId
    data: dict[str, Any]


class Model:
    """What all journals that there are say of all runs.

    Attributes:
        alive: The processes that hold the lock of a journal.
        said: The events of every run, in order; none where it is only named.
    """

    def __init__(self, parts: Iterable[Part]) -> None:
        parts = list(parts)
        self.alive = {part.process for part in parts if part.alive and part.segment == 1}
        events = {event[:2]: event for part in parts for event in _events(part)}
        self.said: dict[str, list[Said]] = {}
        for event in events.values():
            for value in (event.run.value, event.run.parent_id, event.run.root_id):
                if value is not None:
                    self.said.setdefault(value, [])
            self.said[event.run.value].append(event)
        self.said = {run: _in_order(said) for run, said in self.said.items()}

    @property
    def runs(self) -> list[str]:
        """All that are named anywhere."""
        return sorted(self.said)

    def record(self, run: str) -> dict[str, Any]:
        """What a `RunRecord` of the run must hold; of its process the id and the state."""
        record = _folded(_in_order(event for event in self.said[run] if event.type in CHANGING))
        owner = record.pop("owner")
        if owner is not None:
            record["process"] = {"id": owner, "state": "alive" if owner in self.alive else "dead"}
            if record["status"] == "running" and owner not in self.alive:
                record["status"] = "lost"
        lineage = [run, *self.lineage(run)]
        for name in ("user_id", "session_id"):
            told = (_start(self.said[above], name) for above in lineage)
            record[name] = next((value for value in told if value is not None), None)
        return record | {
            "id": run,
            "parent_id": self.parent(run),
            "root_id": lineage[-1],
            "depth": self.depth(run),
            "last_event_at": max((_moment(event.time) for event in self.said[run]), default=None),
        }

    # The tree ---------------------------------------------------------------------------------------------------------

    def parent(self, run: str) -> str | None:
        """What the start says that is above the run; or else anyone who says something."""
        start = _first_start(self.said[run])
        if start is not None and start.run.parent_id is not None:
            return start.run.parent_id
        return min((event.run.parent_id for event in self.said[run] if event.run.parent_id is not None), default=None)

    def above(self, run: str) -> str | None:
        """The next run above it that is known: its parent, or the root that its children name."""
        parent = self.parent(run)
        return parent if parent is not None else self._as_children_say(run)[0]

    def lineage(self, run: str) -> list[str]:
        """All that is known to be above a run, the nearest first."""
        above = self.above(run)
        return [] if above is None else [above, *self.lineage(above)]

    def depth(self, run: str) -> int:
        parent, (root, depth) = self.parent(run), self._as_children_say(run)
        if parent is not None:
            return self.depth(parent) + 1
        return 0 if root is None else self.depth(root) + depth

    def below(self, run: str) -> set[str]:
        """The run, and all below it."""
        return {other for other in self.said if run in (other, *self.lineage(other))}

    def children(self, run: str) -> list[str]:
        """In the order they started: by time, process and number."""
        return sorted((other for other in self.said if self.parent(other) == run), key=self._began)

    def _as_children_say(self, run: str) -> tuple[str | None, int]:
        tokens = [event.run for said in self.said.values() for event in said]
        places = [(t.root_id, t.depth - 1) for t in tokens if t.parent_id == run and t.root_id != run]
        return min(places, default=(None, 0))

    def _began(self, run: str) -> tuple[Any, ...]:
        record = self.record(run)
        if record["started_at"] is None:
            return (1, run)
        return (0, record["started_at"], record["process"]["id"], record["seq"], run)

    # All runs ---------------------------------------------------------------------------------------------------------

    def started(self, *, newest_first: bool = True) -> list[str]:
        """Those that were seen to begin, by when that was."""
        found = [run for run in self.said if self.record(run)["started_at"] is not None]
        return sorted(found, key=lambda run: (self.record(run)["started_at"], run), reverse=newest_first)

    def roots(self) -> list[str]:
        """Those whose parent was not recorded."""
        started = set(self.started())
        return [run for run in self.started() if self.parent(run) not in started]

    def counts(self, run: str) -> dict[str, int]:
        """How many there are of every status, of the run and all below it."""
        found: dict[str, int] = {}
        for other in self.below(run):
            status = self.record(other)["status"]
            if status is not None:
                found[status] = found.get(status, 0) + 1
        return found

    def links(self, run: str) -> set[str]:
        """The runs that it links to."""
        named = {link.partition(".")[0] for link in self.record(run)["links"]}
        return named & set(self.said)


def _events(part: Part) -> Iterable[Said]:
    for line in part.lines:
        event: dict[str, Any] = json.loads(line)
        data = {name: value for name, value in event.items() if name not in ENVELOPE}
        yield Said(part.process, event["seq"], event["time"], event["type"], RunId.from_token(event["run"]), data)


def _in_order(events: Iterable[Said]) -> list[Said]:
    """By time; but no event of a process comes before one that the process recorded earlier."""
    said = list(events)

    def key(event: Said) -> tuple[int, str, int]:
        before = [other.time for other in said if other.process == event.process and other.seq <= event.seq]
        return max(before), event.process, event.seq

    return sorted(said, key=key)


def _first_start(said: Iterable[Said]) -> Said | None:
    ordered = _in_order(event for event in said if event.type in CHANGING)
    return next((event for event in ordered if event.type in STARTS), None)


def _start(said: Iterable[Said], name: str) -> Any:
    start = _first_start(said)
    return None if start is None else start.data.get(name)


def _moment(microseconds: int) -> datetime:
    return EPOCH + timedelta(microseconds=microseconds)


def _nothing_known() -> dict[str, Any]:
    return {
        **dict.fromkeys(("name", "kind", "status", "started_at", "ended_at", "elapsed", "summary", "key", "input")),
        **dict.fromkeys(("output", "refused_parent", "error", "process", "seq", "owner")),
        **dict.fromkeys(("tags", "links", "aliases", "decisions", "usage"), ()),
        **dict.fromkeys(("duplicate_of", "retry_of")),
        "attributes": {},
        "refused_ends": 0,
        "attempt": 1,
        "segments": (),
    }


def _folded(said: list[Said]) -> dict[str, Any]:
    record = _nothing_known()
    start = next((event for event in said if event.type in STARTS), None)
    if start is not None:
        record |= {name: start.data[name] for name in record if name in start.data}
        record |= {name: tuple(record[name]) for name in ("tags", "links", "aliases")}
        record |= {"status": "running", "started_at": _moment(start.time), "owner": start.process, "seq": start.seq}
    if any(event.type in HANDING for event in said):
        hands = in_hands(said)
        end = hands.pop("end", None)
        if end is not None:
            _over(record, end)
        record |= hands
    for event in said:
        if event.type != "run.ended" or not record["segments"]:
            _CHANGES.get(event.type, _nothing)(record, event)
    if record["elapsed"] is None and record["started_at"] is not None and record["ended_at"] is not None:
        record["elapsed"] = max(timedelta(0), record["ended_at"] - record["started_at"])
    return record


def _nothing(record: dict[str, Any], event: Said) -> None:
    pass


def _updated(record: dict[str, Any], event: Said) -> None:
    record |= {name: event.data[name] for name in ("output", "summary") if name in event.data}
    for name in {"tags", "links", "aliases"} & set(event.data):
        record[name] = tuple(dict.fromkeys([*record[name], *event.data[name]]))
    record["attributes"] = {**record["attributes"], **event.data.get("attributes", {})}


def _ended(record: dict[str, Any], event: Said) -> None:
    if record["owner"] not in (None, event.process):
        record["refused_ends"] += 1
    elif record["ended_at"] is None:
        _over(record, event)


def _over(record: dict[str, Any], event: Said) -> None:
    elapsed = event.data.get("elapsed")
    record |= {
        "status": event.data["status"],
        "ended_at": _moment(event.time),
        "elapsed": None if elapsed is None else timedelta(microseconds=elapsed),
    }
    if "output" in event.data:
        record["output"] = event.data["output"]
    if "error" in event.data:
        record["error"] = {"traceback": None, "leaves": (), "expected": False, **event.data["error"]}


def _decided(record: dict[str, Any], event: Said) -> None:
    decision = {"options": (), "chosen": None, "why": "", "confidence": None, "outcome": None}
    decision |= {"id": event.data["decision"], "question": event.data["question"]}
    record["decisions"] += (decision,)


def _turned_out(record: dict[str, Any], event: Said) -> None:
    for decision in record["decisions"]:
        if decision["id"] == event.data["decision"]:
            decision["outcome"] = event.data["outcome"]


def _used(record: dict[str, Any], event: Said) -> None:
    call = event.data.get("call_id")
    for report in record["usage"]:
        if call is not None and report["call_id"] == call:  # told once more, it may be known better
            report |= {name: value for name, value in event.data.items() if report[name] is None}
            return
    unknown = ("output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens", "cost", "currency")
    report = {**dict.fromkeys((*unknown, "input_tokens", "call_id")), "inclusive": False, **event.data}
    record["usage"] += (report,)


_CHANGES = {
    "run.updated": _updated,
    "run.ended": _ended,
    "run.decision": _decided,
    "run.decision.outcome": _turned_out,
    "run.usage": _used,
}
