"""Tenures: who had a run that changed hands, one after the other, and what became of it with each.

A pure function of what was recorded, like all folding. Whether a change of hands was right was decided by whoever took
the run, who could see whether the owner lived; what they saw is in the event. An event without it, from a machine that
could not see, counts for what it says where that is possible.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from agent_run_id.events import RUN_ACCEPTED, RUN_ENDED, RUN_PAUSED, RUN_QUEUED, RUN_RESUMED, RUN_STARTED
from agent_run_id.outcomes import ENDINGS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from agent_run_id.folding import StoredEvent

__all__ = ["HANDING", "Tenure", "ending_of", "segments_of", "tenures_of"]

HANDING: Final = frozenset({RUN_QUEUED, RUN_ACCEPTED, RUN_PAUSED, RUN_RESUMED})
"""The types of events of runs that change hands, or wait."""

_TAKING: Final = frozenset({RUN_ACCEPTED, RUN_RESUMED})
_BEFORE: Final = frozenset({"lost", "unknown"})


class Tenure:
    """The time a run is with one process.

    Attributes:
        begin: The event it begins with; None where nothing is known of that.
        attempt: The how manieth attempt at the run it belongs to.
        pause: Since when it waits, if it does.
        end: What ended it there.
        after: What became of the owner before, as whoever took it from them saw it.
    """

    __slots__ = ("after", "attempt", "begin", "end", "pause")

    begin: StoredEvent | None
    attempt: int
    after: str | None
    pause: StoredEvent | None
    end: StoredEvent | None

    def __init__(self, begin: StoredEvent | None, attempt: int, after: str | None = None) -> None:
        self.begin = begin
        self.attempt = attempt
        self.after = after
        self.pause = None
        self.end = None

    @property
    def is_queued(self) -> bool:
        """Whether it is that of a sender, who has handed the run to whoever takes it."""
        return self.begin is not None and self.begin.type == RUN_QUEUED

    @property
    def status(self) -> str:
        """What became of the run there."""
        if self.end is not None:
            return ending_of(self.end.data)
        return "paused" if self.pause is not None else "queued" if self.is_queued else "running"


def tenures_of(start: StoredEvent | None, events: Sequence[StoredEvent]) -> tuple[list[Tenure], int]:
    """The tenures of a run, and how many ends are refused, by events in their order."""
    tenures = [Tenure(start, _number(start.data.get("attempt")) or 1)] if start is not None else []
    for event in _takings(events):
        last = tenures[-1] if tenures else None
        if last is not None and not _may_take(event, last, events):
            continue
        said = _number(event.data.get("attempt")) or 1
        if last is not None:
            same = last.is_queued or event.type == RUN_RESUMED
            said = max(said, last.attempt if same else last.attempt + 1)
        after = event.data.get("after")
        tenures.append(Tenure(event, said, after if isinstance(after, str) and after in _BEFORE else None))
    if not tenures:
        tenures.append(Tenure(None, 1))
    return tenures, _settle(tenures, events)


def _takings(events: Sequence[StoredEvent]) -> list[StoredEvent]:
    """The events with which somebody takes the run, in their order: by time, but those that are numbered by that."""
    takings = [event for event in events if event.type in _TAKING]
    places = [place for place, event in enumerate(takings) if _number(event.data.get("hand"))]
    numbered = sorted((takings[place] for place in places), key=lambda event: _number(event.data.get("hand")) or 0)
    for place, event in zip(places, numbered, strict=True):
        takings[place] = event
    return takings


def _may_take(event: StoredEvent, last: Tenure, events: Sequence[StoredEvent]) -> bool:
    """Whether a run goes to whoever says that they take it: not while it goes on where it was started.

    A message that came to two machines which know nothing of each other is believed to have come because the first
    is gone: the broker that delivered it again must have thought so.
    """
    begin = last.begin
    if begin is None or last.is_queued:
        return True
    # What was seen counts if it was seen of the owner, and not of somebody who had said that they take the run.
    if event.data.get("after") is not None and event.data.get("owner") == begin.process:
        return True
    if event.type == RUN_ACCEPTED and begin.type != RUN_STARTED:
        return True
    hand = _number(event.data.get("hand"))
    before = [other for other in events[: events.index(event)] if other.type == RUN_PAUSED]
    return any(other.process == begin.process and _is_before(other, hand) for other in before)


def _is_before(pause: StoredEvent, hand: int | None) -> bool:
    """Whether a run waited already when it changed hands this time, as far as that was counted."""
    waits = _number(pause.data.get("hand"))
    return hand is None or waits is None or waits < hand


def _settle(tenures: Sequence[Tenure], events: Iterable[StoredEvent]) -> int:
    """Put the pauses and ends to the tenures they belong to; how many ends belong to none."""
    refused = 0
    for event in events:
        if event.type not in (RUN_PAUSED, RUN_ENDED):
            continue
        tenure = _tenure_at(tenures, event)
        if tenure is None:
            refused += event.type == RUN_ENDED
        elif event.type == RUN_PAUSED:
            if tenure.end is None and not tenure.is_queued:
                tenure.pause = tenure.pause or event
        elif any(later.attempt == tenure.attempt for later in _after(tenures, tenure)):
            refused += 1
        else:
            tenure.end = tenure.end or event
    return refused


def _tenure_at(tenures: Sequence[Tenure], event: StoredEvent) -> Tenure | None:
    """The tenure in which a process recorded something: its last one that had begun by then.

    Who has paused a run, and sees it resumed by somebody else in the same process, says of which tenure they speak.
    """
    said = event.data.get("hand")
    hand = 0 if type(said) is int and said == 0 else _number(said)
    found: Tenure | None = None
    for tenure in tenures:
        begin = tenure.begin
        if begin is None:
            return tenure
        if begin.process == event.process and (found is None or begin.seq <= event.seq):
            is_later = hand is not None and (_number(begin.data.get("hand")) or 0) > hand
            found = found if is_later and found is not None else tenure
    return found


def _after(tenures: Sequence[Tenure], tenure: Tenure) -> Sequence[Tenure]:
    return tenures[next(place for place, each in enumerate(tenures) if each is tenure) + 1 :]


def segments_of(tenures: Sequence[Tenure]) -> list[dict[str, Any]]:
    """What a run was, from when to when and with whom; times in microseconds, what is not known left out."""
    found: list[dict[str, Any]] = []
    for tenure, following in zip(tenures, [*tenures[1:], None], strict=True):
        begin = tenure.begin
        if begin is None:
            continue
        segment: dict[str, Any] = {"status": "queued" if tenure.is_queued else "running", "attempt": tenure.attempt}
        segment |= {"process": begin.process, "began": begin.time}
        taken = "accepted" if tenure.is_queued else None
        if tenure.pause is not None:
            found.append(segment | {"until": tenure.pause.time, "outcome": "paused"})
            segment |= {
                "status": "paused",
                "began": tenure.pause.time,
                "reason": _text(tenure.pause.data.get("reason")),
            }
            taken = "resumed"
        if tenure.end is not None:
            segment |= {"until": tenure.end.time, "outcome": ending_of(tenure.end.data)}
        elif following is not None and following.begin is not None:
            segment |= {"until": following.begin.time, "outcome": taken or following.after or "unknown"}
        found.append(segment)
    return found


def ending_of(data: dict[str, Any]) -> str:
    """How the end of a run says that it ended."""
    status = data.get("status")
    # What a later version may call an end is none that this one could promise to be a success.
    return status if status in ENDINGS else "failed"


def _number(value: Any) -> int | None:
    is_number = isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**63
    return value if is_number else None


def _text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else str(value)
