"""A model of runs that change hands: who has a run, worked out from what was said of it, as plainly as can be."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.journal_programs.model import Said

HANDING = ("run.queued", "run.accepted", "run.paused", "run.resumed")
TAKING = ("run.accepted", "run.resumed")


def in_hands(said: list[Said]) -> dict[str, Any]:
    """What a record must hold of a run that changes hands, by events in order; its process as `owner`."""
    hands = _hands(said)
    refused = 0
    for event in said:
        if event.type in ("run.paused", "run.ended"):
            hand = _hand_of(hands, event)
            attempt = None if hand is None else hand["attempt"]
            later = [] if hand is None else hands[hands.index(hand) + 1 :]
            if hand is None or (event.type == "run.ended" and attempt in [other["attempt"] for other in later]):
                refused += event.type == "run.ended"
            elif event.type == "run.ended":
                hand.setdefault("end", event)
            elif "end" not in hand and not hand["queued"]:
                hand.setdefault("pause", event)
    last = hands[-1]
    found: dict[str, Any] = {
        "owner": None if last["event"] is None else last["event"].process,
        "status": _status(last),
        "attempt": last["attempt"],
        "refused_ends": refused,
        "segments": _segments(hands),
    }
    if "end" in last:
        found["end"] = last["end"]
        parts = [hand.get("pause", hand.get("end")) for hand in hands if hand["attempt"] == last["attempt"]]
        parts = [part for part, hand in zip(parts, _of(hands, last["attempt"]), strict=True) if not hand["queued"]]
        times: list[Any] = [None if part is None else part.data.get("elapsed") for part in parts]
        found["elapsed"] = None if None in times or not times else timedelta(microseconds=sum(times))
    if hands[0]["event"] is not None and hands[0]["event"].type in TAKING:
        first = hands[0]["event"]
        found |= {"started_at": _moment(first.time), "seq": first.seq}
        found |= {name: first.data.get(name) for name in ("name", "kind", "retry_of")}
    return found


def _of(hands: list[dict[str, Any]], attempt: int) -> list[dict[str, Any]]:
    return [hand for hand in hands if hand["attempt"] == attempt]


def _hands(said: list[Said]) -> list[dict[str, Any]]:
    """Who had it, one after the other."""
    start = next((event for event in said if event.type in ("run.started", "run.queued")), None)
    hands: list[dict[str, Any]] = []
    if start is not None:
        hands.append(_hand(start, start.data.get("attempt", 1)))
    taking = [event for event in said if event.type in TAKING]
    numbered = iter(sorted((event for event in taking if "hand" in event.data), key=lambda event: event.data["hand"]))
    for event in [next(numbered) if "hand" in event.data else event for event in taking]:
        if not hands:
            hands.append(_hand(event, event.data.get("attempt", 1)))
            continue
        last = hands[-1]
        earlier = [e for e in said[: said.index(event)] if e.type == "run.paused"]
        pauses = [e.process for e in earlier if not e.data.get("hand", 0) >= event.data.get("hand", 2**63)]
        waits = last["queued"] or last["event"].process in pauses
        goes_on = event.type == "run.resumed" or last["event"].type == "run.started"
        seen = "after" in event.data and event.data.get("owner") == last["event"].process
        if goes_on and not seen and not waits:
            continue
        least = last["attempt"] if last["queued"] or event.type == "run.resumed" else last["attempt"] + 1
        hands.append(_hand(event, max(least, event.data.get("attempt", 1))))
    return hands or [{"event": None, "attempt": 1, "queued": False}]


def _hand(event: Said, attempt: int) -> dict[str, Any]:
    return {"event": event, "attempt": attempt, "queued": event.type == "run.queued"}


def _hand_of(hands: list[dict[str, Any]], event: Said) -> dict[str, Any] | None:
    """Whose it is, by process and number."""
    if hands[0]["event"] is None:
        return hands[0]
    theirs = [hand for hand in hands if hand["event"].process == event.process]
    begun = [hand for hand in theirs[1:] if hand["event"].seq <= event.seq]
    if "hand" in event.data:
        begun = [hand for hand in begun if hand["event"].data.get("hand", 0) <= event.data["hand"]]
    return begun[-1] if begun else theirs[0] if theirs else None


def _status(hand: dict[str, Any]) -> str | None:
    if "end" in hand:
        return str(hand["end"].data["status"])
    if "pause" in hand:
        return "paused"
    if hand["event"] is None:
        return None
    return "queued" if hand["queued"] else "running"


def _segments(hands: list[dict[str, Any]]) -> tuple[dict[str, Any], ...]:
    segments: list[dict[str, Any]] = []
    for hand, following in zip(hands, [*hands[1:], None], strict=True):
        event = hand["event"]
        if event is None:
            continue
        status = "queued" if hand["queued"] else "running"
        begun = [(status, event.time, None)]
        if "pause" in hand:
            begun.append(("paused", hand["pause"].time, hand["pause"].data.get("reason")))
        until, outcome = None, None
        if "end" in hand:
            until, outcome = hand["end"].time, hand["end"].data["status"]
        elif following is not None:
            until = following["event"].time
            after = following["event"].data.get("after")
            unseen = after if after in ("lost", "unknown") else "unknown"
            outcome = {"queued": "accepted", "paused": "resumed", "running": unseen}[begun[-1][0]]
        ends = [(hand["pause"].time, "paused"), (until, outcome)] if "pause" in hand else [(until, outcome)]
        for (status, began, reason), (ended, became) in zip(begun, ends, strict=True):
            segments.append(
                {
                    "status": status,
                    "attempt": hand["attempt"],
                    "started_at": _moment(began),
                    "ended_at": None if ended is None else _moment(ended),
                    "process_id": event.process,
                    "reason": reason,
                    "outcome": became,
                }
            )
    return tuple(segments)


def _moment(microseconds: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds)
