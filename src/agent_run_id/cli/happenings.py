"""Happenings: an event as a line for a person, or for a program with where to go on behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from agent_run_id.cli.documents import encoded
from agent_run_id.events import (
    RUN_ACCEPTED,
    RUN_DECISION,
    RUN_ENDED,
    RUN_PAUSED,
    RUN_QUEUED,
    RUN_RESUMED,
    RUN_STARTED,
    RUN_STEP,
    RUN_USAGE,
)
from agent_run_id.rendering import SYMBOLS, Line, brief

if TYPE_CHECKING:
    from agent_run_id.rendering import Role
    from agent_run_id.schema import EventRecord, Status

__all__ = ["document", "happened"]

_MOST: Final = 200
_MARKS: Final[dict[str, Status]] = {RUN_STARTED: "running", RUN_QUEUED: "queued", RUN_PAUSED: "paused"}
_GOES_ON: Final = {RUN_ACCEPTED: "accepted", RUN_RESUMED: "resumed"}


def document(event: EventRecord, cursor: str | None = None) -> str:
    """An event as a line of JSON: as in `EventRecord`, with the cursor behind it where there is one."""
    return encoded(event.model_dump() if cursor is None else {**event.model_dump(), "cursor": cursor})


def happened(event: EventRecord, *, of_whom: bool = True) -> Line:
    """An event in a line: when, of which run, and what, as short as it can be told.

    Args:
        event: The event.
        of_whom: Whether to tell of which run it is.
    """
    when: tuple[str, Role] = (f"{event.time.astimezone():%H:%M:%S.%f}"[:-3], "quiet")
    run: tuple[str, Role] = (f" [{event.run_id[:8]}]" if of_whom else "", "id")
    return Line(when, run, " ") + _told(event)


def _told(event: EventRecord) -> Line:
    data: Any = event.data
    name = str(data.get("name") or "")
    if event.type in _MARKS:
        status = _MARKS[event.type]
        what = f"{event.type.rpartition('.')[2]} {name}".rstrip()
        return Line((f"{SYMBOLS[status]} ", status), (what, "name"), _short(data, "kind", "input", "reason"))
    if event.type == RUN_ENDED:
        return _ended(data)
    if event.type == RUN_STEP:
        told = f" {_cut(brief(data['data']))}" if data.get("data") else ""
        return Line("· ", (name, "name"), (told, "quiet"))
    if event.type == RUN_DECISION:
        chosen = brief(data.get("chosen"))
        return Line(("◆ ", "heading"), f"{data.get('question')} → ", (_cut(chosen), "name"), _short(data, "why"))
    if event.type == RUN_USAGE:
        sent, received = (data.get(f"{name}_tokens", "?") for name in ("input", "output"))
        return Line(f"$ {data.get('model')}: {sent} → {received} tokens")
    word = _GOES_ON.get(event.type, event.type)
    return Line("· ", (word, "name"), _short(data, *data))


def _ended(data: Any) -> Line:
    status: Status = data.get("status")
    role: Role = status if status in SYMBOLS else "quiet"
    error = data.get("error")
    message = ""
    if isinstance(error, dict):
        said = str(error.get("message") or "").split("\n", 1)[0]  # pyright: ignore[reportUnknownMemberType,reportUnknownArgumentType]
        message = f" · {': '.join(part for part in (str(error.get('type') or ''), said) if part)}"  # pyright: ignore[reportUnknownMemberType,reportUnknownArgumentType]
    return Line((f"{SYMBOLS.get(status, '?')} {status}", role), (_cut(message), role), _short(data, "output"))


def _short(data: Any, *names: str) -> str:
    """What some fields say, if anything."""
    told = [f"{name}={_cut(brief(data[name]))}" for name in names if data.get(name) is not None]
    return f" {' '.join(told)}" if told else ""


def _cut(text: str) -> str:
    text = text.replace("\n", " ")
    return text if len(text) <= _MOST else f"{text[:_MOST]}…"
