"""Rendering: records as lines of text for a person. Nothing recorded can control the terminal that shows it.

A `Line` is text in parts that have roles. Without a terminal it is its text, as in ``str(tree)``; the command paints
the roles. There is no other way for a recorded text to a person, and it is cleaned on this one.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, Literal
from unicodedata import category

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import tzinfo

    from pydantic import JsonValue

    from agent_run_id.schema import ErrorRecord, RunRecord, Status, UsageTotal

__all__ = [
    "SYMBOLS",
    "Line",
    "Role",
    "block",
    "brief",
    "clean",
    "clock",
    "costed",
    "counted",
    "describe",
    "duration",
    "headline",
    "label",
    "state",
    "title",
    "tokens",
]

Role = Literal[
    "running", "paused", "queued", "succeeded", "failed", "cancelled", "lost", "plain", "name", "id", "heading", "quiet"
]
"""What a part of a line is; the status of a run is the role of what says so."""

SYMBOLS: Final[dict[Status | None, str]] = {
    "succeeded": "✓",
    "failed": "✗",
    "cancelled": "⊘",
    "lost": "☠",
    "running": "▶",
    "paused": "⏸",
    "queued": "…",
    None: "?",
}

_HEADLINE: Final = 120


# Text ----------------------------------------------------------------------------------------------------------------


class _Written(dict[int, str]):
    """How each character that is not printable is written; filled when one is met.

    Controls move the cursor and change colours, format characters turn the direction of a line or hide in it, the
    separators end it, and half a character cannot be encoded.
    """

    def __missing__(self, code: int) -> str:
        char = chr(code)
        if category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp"):
            char = f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
        self[code] = char
        return char


_written: Final = _Written()


def clean(text: str) -> str:
    """The text with every character written out that could do something to a terminal or to the reader's eye."""
    return text if text.isprintable() else text.translate(_written)


class Line:
    """A line for a person, in parts that have roles; `str` gives the text alone. What is put in it is cleaned.

    Args:
        parts: Texts, each alone or with its role.

    Attributes:
        parts: The cleaned texts with their roles.
    """

    __slots__ = ("parts",)

    def __init__(self, *parts: str | tuple[str, Role]) -> None:
        self.parts: tuple[tuple[str, Role], ...] = tuple(
            (clean(part), "plain") if isinstance(part, str) else (clean(part[0]), part[1]) for part in parts
        )

    def __str__(self) -> str:
        return "".join(text for text, _ in self.parts)

    def __add__(self, other: Line) -> Line:
        return Line(*self.parts, *other.parts)


def block(value: JsonValue) -> Iterator[Line]:
    """The lines of a recorded value: those of a text, or JSON, on one line when it is short."""
    if isinstance(value, str):
        text = value
    else:
        text = brief(value)
        if len(text) > _HEADLINE:
            text = json.dumps(value, ensure_ascii=False, indent=2)
    for line in text.replace("\r\n", "\n").removesuffix("\n").split("\n"):
        yield Line(line.expandtabs(4))


def brief(value: JsonValue) -> str:
    """A recorded value in one line: a text as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def duration(elapsed: timedelta) -> str:
    """A length of time in the unit that suits it: "340 µs", "12 ms", "3.2 s", "4 m 05 s", "2 h 10 m", "3 d 04 h"."""
    microseconds = max(elapsed // timedelta(microseconds=1), 0)  # two clocks may disagree about which was first
    if microseconds < 1000:
        return f"{microseconds} µs"
    if microseconds < 999_500:
        return f"{microseconds / 1e3:.0f} ms"
    if microseconds < 59_950_000:
        return f"{microseconds / 1e6:.1f} s"
    minutes, seconds = divmod(round(microseconds / 1e6), 60)
    if minutes < 60:
        return f"{minutes} m {seconds:02d} s"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes:02d} m"
    return f"{hours // 24} d {hours % 24:02d} h"


def clock(when: datetime, now: datetime, zone: tzinfo | None = None) -> str:
    """A time as short as it can be told from `now`: "06:14:02" today, "Nov 22 06:14" on another day.

    Args:
        when: The time.
        now: The moment at which it is told.
        zone: Where it is told; None is here.
    """
    local, today = when.astimezone(zone), now.astimezone(zone)
    if local.year != today.year:
        return f"{local:%Y-%m-%d}"
    return f"{local:%H:%M:%S}" if local.date() == today.date() else f"{local:%b} {local.day:2d} {local:%H:%M}"


# Runs ----------------------------------------------------------------------------------------------------------------


def label(status: Status | None) -> tuple[str, Role]:
    """The symbol and the word of a status."""
    return f"{SYMBOLS[status]} {status or 'unknown'}", status or "quiet"


def state(record: RunRecord, now: datetime | None = None, zone: tzinfo | None = None) -> str:
    """The status in words, with what belongs to it: how long it took, how old it is, when it was last heard of.

    Args:
        record: The run.
        now: The moment at which it is told; None is this one.
        zone: Where it is told; None is here.
    """
    now = now or datetime.now(UTC)
    if record.status is None:
        return "never started here"
    if record.status == "running" and record.started_at is not None:
        silent = record.process is not None and record.process.state == "unknown"
        heard = f", last heard of {_ago(record, now, zone)}" if silent else ""
        return f"running for {duration(now - record.started_at)}{heard}"
    if record.status in ("queued", "paused") and record.segments:
        waiting = record.segments[-1]
        reason = f": {waiting.reason}" if waiting.reason else ""
        return f"{record.status} for {duration(now - waiting.started_at)}{reason}"
    if record.status == "lost":
        return f"lost, last heard of {_ago(record, now, zone)}"
    return record.status if record.elapsed is None else f"{record.status} in {duration(record.elapsed)}"


def _ago(record: RunRecord, now: datetime, zone: tzinfo | None) -> str:
    heard = record.last_event_at
    return "never" if heard is None else f"{clock(heard, now, zone)}, {duration(now - heard)} ago"


def tokens(usage: UsageTotal) -> str:
    """Token counts and cost, as far as they are known: "1,204 → 310 tokens, 0.0042 USD"; empty for no report.

    A sum to which not every call is known to have added is the least it can be, and is marked: "310+".
    """
    if not usage.calls:
        return ""
    sent, received = counted(usage, "input_tokens"), counted(usage, "output_tokens")
    costs = [f"{costed(usage, currency)} {currency}" for currency in usage.cost]
    return ", ".join([f"{sent} → {received} tokens", *costs])


def counted(usage: UsageTotal, name: Literal["input_tokens", "output_tokens"]) -> str:
    """How many tokens, as far as it is known: "1,204", "310+", "?"."""
    count: int | None = getattr(usage, name)
    return "?" if count is None else f"{count:,}{'+' if name in usage.unknown else ''}"


def costed(usage: UsageTotal, currency: str) -> str:
    """What was paid in a currency, as far as it is known: "0.0042", "0.0042+", "?", and "-" for nothing."""
    unknown = "cost" in usage.unknown
    if currency not in usage.cost:
        return "?" if unknown else "-"
    return f"{usage.cost[currency]:.4f}{'+' if unknown else ''}"


def title(record: RunRecord, usage: UsageTotal, *, now: datetime | None = None, zone: tzinfo | None = None) -> Line:
    """One line for one run.

    Args:
        record: The run.
        usage: What it used.
        now: The moment at which it is told; None is this one.
        zone: Where it is told; None is here.
    """
    role: Role = record.status or "quiet"
    parts: list[str | tuple[str, Role]] = [
        (f"{SYMBOLS[record.status]} ", role),
        ("(not recorded)", "quiet") if record.name is None else (record.name, "name"),
        (f" [{record.id[:8]}]", "id"),
    ]
    if record.kind is not None and record.kind != "task":
        parts.append(f" {record.kind}")
    parts.append((f" {state(record, now, zone)}", role))
    again = _again(record)
    if again:
        parts.append((f" ({again})", "quiet"))
    if record.key is not None:
        parts.append(f" key={record.key}")
    used = tokens(usage)
    if used:
        parts.append((f" · {used}", "quiet"))
    if record.error is not None and record.status == "failed":
        parts.append((f" · {headline(record.error)}", "failed"))
    return Line(*parts)


def _again(record: RunRecord) -> str:
    """What makes it another attempt at something; empty where nothing does."""
    if record.duplicate_of is not None:
        return f"duplicate of {record.duplicate_of[:8]}"
    attempt = "" if record.attempt == 1 else f"attempt {record.attempt}"
    return attempt if record.retry_of is None else f"{attempt or 'again'}, after {record.retry_of[:8]}"


def headline(error: ErrorRecord) -> str:
    """The type of an error, and the first line of what it says."""
    first = error.message.split("\n", 1)[0]
    message = first if len(first) <= _HEADLINE else f"{first[:_HEADLINE]}…"
    return ": ".join(part for part in (error.type, message) if part)


def describe(record: RunRecord) -> list[Line]:
    """The decisions of one run, a line each."""
    return [
        Line(
            ("◆ ", "heading"),
            f"{decision.question} → ",
            (brief(decision.chosen), "name"),
            f": {decision.why}",
            f" ⇒ {decision.outcome}" if decision.outcome else "",
        )
        for decision in record.decisions
    ]
