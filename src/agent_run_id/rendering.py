"""Rendering: records as lines of text for a person. Nothing recorded can control the terminal that shows it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from agent_run_id.schema import RunRecord, UsageTotal

__all__ = ["SYMBOLS", "clean", "describe", "duration", "state", "title", "tokens"]

SYMBOLS: Final = {
    "succeeded": "✓",
    "failed": "✗",
    "cancelled": "⊘",
    "lost": "☠",
    "running": "▶",
    "paused": "⏸",
    "queued": "…",
    None: "?",
}

# C0 and C1 controls, and the characters that turn the direction of a line or hide in it.
_CONTROLS: Final = {
    **{code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))},
    **{
        code: f"\\u{code:04x}"
        for code in (*range(0x200B, 0x2010), *range(0x2028, 0x202F), *range(0x2066, 0x206A), 0xFEFF)
    },
}
_CONTROLS_KEEPING_LINES: Final = {code: text for code, text in _CONTROLS.items() if code not in (0x09, 0x0A)}


def clean(text: str, *, lines: bool = False) -> str:
    """The text with control characters written out; with `lines`, line ends and tabs stay."""
    return text.translate(_CONTROLS_KEEPING_LINES if lines else _CONTROLS)


def duration(elapsed: timedelta) -> str:
    """A length of time in the unit that suits it: "340 µs", "12 ms", "3.2 s", "4 m 05 s", "2 h 10 m"."""
    seconds = elapsed.total_seconds()
    if seconds < 0.001:
        return f"{seconds * 1e6:.0f} µs"
    if seconds < 1:
        return f"{seconds * 1e3:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes} m {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} m"


def state(record: RunRecord, now: datetime | None = None) -> str:
    """The status in words, with what belongs to it: how long it took, how old it is, when it was last heard of."""
    now = now or datetime.now(UTC)
    if record.status is None:
        return "never started here"
    if record.status == "running" and record.started_at is not None:
        silent = record.process is not None and record.process.state == "unknown"
        heard = f", last heard of {_ago(record, now)}" if silent else ""
        return f"running for {duration(now - record.started_at)}{heard}"
    if record.status == "lost":
        return f"lost, last heard of {_ago(record, now)}"
    return record.status if record.elapsed is None else f"{record.status} in {duration(record.elapsed)}"


def _ago(record: RunRecord, now: datetime) -> str:
    heard = record.last_event_at
    if heard is None:
        return "never"
    return f"{heard.astimezone():%H:%M:%S}, {duration(max(now - heard, timedelta(0)))} ago"


def tokens(usage: UsageTotal) -> str:
    """Token counts and cost, as far as they are known: "1,204 → 310 tokens, 0.0042 USD"; empty for no report."""
    if not usage.calls:
        return ""
    sent = "?" if usage.input_tokens is None else f"{usage.input_tokens:,}"
    received = "?" if usage.output_tokens is None else f"{usage.output_tokens:,}"
    costs = [f"{amount:.4f} {clean(currency)}" for currency, amount in usage.cost.items()]
    return ", ".join([f"{sent} → {received} tokens", *costs])


def title(record: RunRecord, usage: UsageTotal) -> str:
    """One line for one run."""
    name = clean(record.name) if record.name is not None else "(not recorded)"
    parts = [f"{SYMBOLS[record.status]} {name}", f"[{record.id[:8]}]"]
    if record.kind is not None and record.kind != "task":
        parts.append(clean(record.kind))
    parts.append(state(record))
    if record.key is not None:
        parts.append(f"key={clean(record.key)}")
    used = tokens(usage)
    if used:
        parts.append(f"· {used}")
    if record.error is not None and record.status == "failed":
        parts.append(f"· {clean(_headline(record))}")
    return " ".join(parts)


def _headline(record: RunRecord) -> str:
    error = record.error
    if error is None:
        return ""
    message = error.message.split("\n", 1)[0][:120]
    return f"{error.type}: {message}" if error.type else message


def describe(record: RunRecord) -> list[str]:
    """The decisions of one run, a line each."""
    return [
        f"◆ {clean(decision.question)} → {clean(str(decision.chosen))}: {clean(decision.why)}"
        + (f" ⇒ {clean(decision.outcome)}" if decision.outcome else "")
        for decision in record.decisions
    ]
