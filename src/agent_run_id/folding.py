"""Folding: the state of one run as a pure function of the events recorded about it.

The order in which journals are read cannot matter, so nothing here depends on it: events are put in an order of their
own - by time, but never against the sequence of one process, whose clock may be set back - and folded from the start.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeGuard, cast

from agent_run_id.events import (
    OUTCOME,
    RUN_DECISION,
    RUN_ENDED,
    RUN_QUEUED,
    RUN_STARTED,
    RUN_UPDATED,
    RUN_USAGE,
    STARTS,
)
from agent_run_id.tenures import HANDING, ending_of, segments_of, tenures_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from agent_run_id.tenures import Tenure

__all__ = [
    "FOLDED",
    "FoldedRun",
    "StoredEvent",
    "came_out",
    "elapsed_of",
    "fold",
    "fold_in_order",
    "happened",
    "in_order",
    "text_of",
    "told",
]

_LONGEST: Final = 2**62  # microseconds; no run takes 146,000 years
_LISTS: Final = ("tags", "links", "aliases")
_AGAIN: Final = ("duplicate_of", "retry_of")
_COUNTS: Final = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens")


class StoredEvent(NamedTuple):
    """An event as the index holds it: times in microseconds since the epoch, `process` the id of its process."""

    process: str
    seq: int
    time: int
    type: str
    data: dict[str, Any]


class FoldedRun:
    """What the events of one run come to. The owner's death is not in them; the index adds it.

    `events` are those it was folded from, in order; `start` and `end` the two of them that count.
    """

    __slots__ = (
        "details",
        "elapsed",
        "end",
        "ended_at",
        "events",
        "key",
        "kind",
        "last_event_at",
        "name",
        "owner",
        "seq",
        "session_id",
        "start",
        "started_at",
        "status",
        "summary",
        "user_id",
    )

    def __init__(self) -> None:
        self.events: list[StoredEvent] = []
        self.start: StoredEvent | None = None
        self.end: StoredEvent | None = None
        self.owner: str | None = None
        self.seq: int | None = None
        self.name: str | None = None
        self.kind: str | None = None
        self.key: str | None = None
        self.status: str | None = None
        self.started_at: int | None = None
        self.ended_at: int | None = None
        self.last_event_at: int | None = None
        self.elapsed: int | None = None
        self.user_id: str | None = None
        self.session_id: str | None = None
        self.summary: str | None = None
        self.details: dict[str, Any] = {}

    @property
    def is_open(self) -> bool:
        """Whether it is lost when its owner dies."""
        return self.status == "running"


def in_order(events: Iterable[StoredEvent]) -> list[StoredEvent]:
    """Sort events by time, keeping those of one process in their sequence whatever its clock did."""
    events = list(events)
    if len({event.process for event in events}) < 2:
        return sorted(events, key=lambda event: event.seq)
    latest: dict[str, int] = {}
    keyed: list[tuple[int, str, int, StoredEvent]] = []
    for event in sorted(events, key=lambda event: (event.process, event.seq)):
        time = max(event.time, latest.get(event.process, event.time))
        latest[event.process] = time
        keyed.append((time, event.process, event.seq, event))
    keyed.sort(key=lambda row: row[:3])
    return [row[3] for row in keyed]


def fold(events: Iterable[StoredEvent]) -> FoldedRun:
    """Fold the events of one run, in whatever order they come.

    Those that change nothing but when the run was last heard of take no part in the order of the others: so whoever
    keeps only these can fold them again.
    """
    heard: int | None = None
    folded: list[StoredEvent] = []
    for event in events:
        heard = event.time if heard is None else max(heard, event.time)
        if event.type in FOLDED:
            folded.append(event)
    run = fold_in_order(in_order(folded))
    run.last_event_at = heard
    return run


def fold_in_order(events: list[StoredEvent]) -> FoldedRun:
    """Fold events that change what is known of a run, in their order; when it was last heard of is left out."""
    run = FoldedRun()
    run.events = events
    # The start first, wherever it stands: who owns the run decides what the other events may do.
    run.start = next((event for event in run.events if event.type in STARTS), None)
    if run.start is not None:
        _started(run, run.start)
    changes_hands = any(event.type in HANDING for event in run.events)
    if changes_hands:
        _handed(run, run.events)
    for event in run.events:
        if event.type != RUN_ENDED:
            happened(run, [(event.type, event.data)])
        elif not changes_hands:
            _ended(run, event)
    return run


def happened(run: FoldedRun, events: Iterable[Sequence[Any]]) -> None:
    """Fold in events, each its type, its fields and maybe more; none is a start or an end, all are of one process."""
    for kind, data, *_ in events:
        change = _CHANGES.get(kind)
        if change is not None:
            change(run, data)


def _started(run: FoldedRun, event: StoredEvent) -> None:
    data = event.data
    run.owner = event.process
    run.seq = event.seq
    run.status = "queued" if event.type == RUN_QUEUED else "running"
    run.started_at = event.time
    run.name = text_of(data.get("name"))
    run.kind = text_of(data.get("kind"))
    run.key = text_of(data.get("key"))
    run.user_id = text_of(data.get("user_id"))
    run.session_id = text_of(data.get("session_id"))
    run.summary = text_of(data.get("summary"))
    run.details.update(told(data))


def told(data: dict[str, Any]) -> dict[str, Any]:
    """What the start of a run tells of it beside what has a place of its own."""
    details: dict[str, Any] = {}
    if "input" in data:
        details["input"] = data["input"]
    if "refused_parent" in data:
        details["refused_parent"] = text_of(data["refused_parent"])
    if isinstance(data.get("attributes"), dict):
        details["attributes"] = data["attributes"]
    for name in _LISTS:
        if name in data:
            details[name] = _texts(data[name])
    for name in _AGAIN:
        if name in data:
            details[name] = text_of(data[name])
    if _is_count(data.get("attempt")):
        details["attempt"] = data["attempt"]
    return details


def _handed(run: FoldedRun, events: Sequence[StoredEvent]) -> None:
    """Who has a run that changes hands or waits, and what became of it with each who had it."""
    tenures, refused = tenures_of(run.start, events)
    first, last = tenures[0], tenures[-1]
    if run.start is None and first.begin is not None:
        begin = first.begin
        run.started_at, run.seq = begin.time, begin.seq
        run.name, run.kind = text_of(begin.data.get("name")), text_of(begin.data.get("kind"))
        if "retry_of" in begin.data:
            run.details["retry_of"] = text_of(begin.data["retry_of"])
    if last.begin is not None:
        run.owner = last.begin.process
    run.status = last.status if last.begin is not None or last.end is not None or last.pause is not None else None
    if last.end is not None:
        _over(run, last.end)
        run.elapsed = _time_at_work([tenure for tenure in tenures if tenure.attempt == last.attempt])
    if refused:
        run.details["refused_ends"] = refused
    run.details |= {"attempt": last.attempt, "segments": segments_of(tenures)}


def _time_at_work(tenures: Iterable[Tenure]) -> int | None:
    """How long an attempt took without the waits, in microseconds, by the clocks of those who made it."""
    events = [tenure.pause or tenure.end for tenure in tenures if not tenure.is_queued]
    times = [None if event is None else elapsed_of(event.data) for event in events]
    known = [time for time in times if time is not None]
    return sum(known) if known and len(known) == len(times) else None


def _updated(run: FoldedRun, data: dict[str, Any]) -> None:
    details = run.details
    if "output" in data:
        details["output"] = data["output"]
    if "summary" in data:
        run.summary = text_of(data["summary"])
    for name in _LISTS:
        if name in data:
            known: list[str] = details.get(name, [])
            details[name] = list(dict.fromkeys([*known, *_texts(data[name])]))
    if isinstance(data.get("attributes"), dict):
        details["attributes"] = {**details.get("attributes", {}), **data["attributes"]}


def _ended(run: FoldedRun, event: StoredEvent) -> None:
    if run.owner is not None and event.process != run.owner:
        run.details["refused_ends"] = run.details.get("refused_ends", 0) + 1
        return
    if run.ended_at is None:  # only the first end counts
        _over(run, event)


def _over(run: FoldedRun, event: StoredEvent) -> None:
    run.end = event
    run.status = ending_of(event.data)
    run.ended_at = event.time
    run.elapsed = elapsed_of(event.data)
    run.details.update(came_out(event.data))


def elapsed_of(data: dict[str, Any]) -> int | None:
    """How long the end of a run says that it took, in microseconds."""
    elapsed = data.get("elapsed")
    return elapsed if _is_count(elapsed) and elapsed < _LONGEST else None


def came_out(data: dict[str, Any]) -> dict[str, Any]:
    """What the end of a run tells of what came out."""
    details: dict[str, Any] = {}
    if "output" in data:
        details["output"] = data["output"]
    if isinstance(data.get("error"), dict):
        details["error"] = _error(data["error"])
    return details


def _decided(run: FoldedRun, data: dict[str, Any]) -> None:
    confidence = data.get("confidence")
    decision: dict[str, Any] = {
        "id": text_of(data.get("decision")) or "",
        "question": text_of(data.get("question")) or "",
        "options": _list(data.get("options")),
        "chosen": data.get("chosen"),
        "why": text_of(data.get("why")) or "",
        "confidence": confidence if _is_number(confidence) else None,
    }
    run.details.setdefault("decisions", []).append(decision)


def _turned_out(run: FoldedRun, data: dict[str, Any]) -> None:
    for decision in run.details.get("decisions", ()):
        if decision["id"] == data.get("decision"):
            decision["outcome"] = text_of(data.get("outcome"))


def _used(run: FoldedRun, data: dict[str, Any]) -> None:
    reports: list[dict[str, Any]] = run.details.setdefault("usage", [])
    call = text_of(data.get("call_id"))
    report: dict[str, Any] = {name: value for name in _COUNTS if _is_count(value := data.get(name))}
    if _is_number(data.get("cost")):
        report |= {"cost": data["cost"], "currency": text_of(data.get("currency"))}
    known = None if call is None else next((other for other in reports if other["call_id"] == call), None)
    if known is not None:
        # Of the same call a stream may tell first what went in, and what came out when it is over.
        known |= {name: value for name, value in report.items() if name not in known}
        return
    report |= {"model": text_of(data.get("model")) or "", "call_id": call, "inclusive": data.get("inclusive") is True}
    reports.append(report)


def _error(data: dict[str, Any]) -> dict[str, Any]:
    leaves: list[Any] = _list(data.get("leaves"))
    return {
        "type": text_of(data.get("type")),
        "message": text_of(data.get("message")) or "",
        "traceback": text_of(data.get("traceback")),
        "leaves": [_error(cast("dict[str, Any]", leaf)) for leaf in leaves if isinstance(leaf, dict)],
        "expected": data.get("expected") is True,
    }


# Journals are read for ever, also those that another version or another program wrote: what has not the type it should
# have is made text where text is wanted, and is otherwise not known.


def text_of(value: Any) -> str | None:
    """A text, whatever was recorded where one should be; None stays."""
    return value if value is None or isinstance(value, str) else str(value)


def _texts(value: Any) -> list[str]:
    return [str(item) for item in (_list(value) if isinstance(value, list) else [value])]


def _list(value: Any) -> list[Any]:
    return list(cast("Iterable[Any]", value)) if isinstance(value, list) else []


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_count(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


_CHANGES: Final[dict[str, Callable[[FoldedRun, dict[str, Any]], None]]] = {
    RUN_UPDATED: _updated,
    RUN_DECISION: _decided,
    OUTCOME: _turned_out,
    RUN_USAGE: _used,
}

FOLDED: Final = frozenset({RUN_STARTED, RUN_ENDED, *_CHANGES, *HANDING})
"""The types of events that change what is known of a run; all others are only kept."""
