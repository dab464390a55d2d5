"""Sections: what there is to tell of one run, as lines for a person, to `runid show` and to an exported page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from agent_run_id.events import RUN_STEP
from agent_run_id.folding import FOLDED
from agent_run_id.rendering import Line, block, brief, duration, label, state, tokens
from agent_run_id.usage import total

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import datetime, tzinfo

    from agent_run_id.rendering import Role
    from agent_run_id.schema import (
        DecisionRecord,
        ErrorRecord,
        EventRecord,
        ProcessRecord,
        RunRecord,
        SegmentRecord,
        UsageRecord,
        UsageTotal,
    )

__all__ = ["Section", "error_lines", "facts", "sections"]


_LAST: Final = 4
_OF_TRACEBACK: Final = 12


class Section(NamedTuple):
    """What is told under one heading, if anything; what is verbatim is never wrapped.

    Where not everything is told, it is the first lines, and so many of the last.
    """

    name: str
    lines: Iterable[Line]
    verbatim: bool = False
    last: int = _LAST


def facts(record: RunRecord, zone: tzinfo | None = None) -> Iterator[tuple[str, Line]]:
    """What is known of a run in a word or two, by name; what was not recorded is left out.

    Args:
        record: The run.
        zone: Where times are told; None is here.
    """
    yield "id", Line((record.id, "id"))
    if record.parent_id is not None:
        yield "root", Line((record.root_id, "id"))
    yield "status", Line((state(record, zone=zone), label(record.status)[1]))
    yield from _texts(
        kind=record.kind,
        user=record.user_id,
        session=record.session_id,
        key=record.key,
        summary=record.summary,
        tags=", ".join(record.tags),
        started=_moment(record.started_at, zone),
        ended=_moment(record.ended_at, zone),
        last_event=_moment(record.last_event_at, zone) if record.ended_at is None else None,
        process=_process(record.process),
        links=", ".join(record.links),
        aliases=", ".join(record.aliases),
        caller=record.refused_parent,
        duplicate_of=record.duplicate_of,
        retry_of=record.retry_of,
        refused=f"{record.refused_ends} ends by processes that do not own it" if record.refused_ends else None,
    )


def _texts(**facts: str | None) -> Iterator[tuple[str, Line]]:
    for name, text in facts.items():
        if text:
            yield name.replace("_", " "), Line(text)


def _moment(when: datetime | None, zone: tzinfo | None) -> str | None:
    return None if when is None else f"{when.astimezone(zone):%Y-%m-%d %H:%M:%S.%f %z}"


def _process(process: ProcessRecord | None) -> str | None:
    if process is None:
        return None
    return f"{process.program or '?'}, pid {process.pid or '?'} on {process.host or '?'}, {process.state}"


def sections(
    record: RunRecord, below: UsageTotal | None, events: Sequence[EventRecord], zone: tzinfo | None = None
) -> Iterator[Section]:
    """Everything recorded of a run that takes more than a word; a section without lines is one without content.

    Args:
        record: The run.
        below: What it used with everything below it; None where nothing is below, or too much to say.
        events: What was recorded of it, in order.
        zone: Where times are told; None is here.
    """
    yield Section("life", (_segment(segment, zone) for segment in record.segments))
    yield Section("attributes", (Line(f"{name}: {brief(value)}") for name, value in record.attributes.items()))
    yield Section("input", () if record.input is None else block(record.input), verbatim=True)
    yield Section("steps", (_step(event, zone) for event in events if event.type not in FOLDED))
    yield Section("decisions", (line for decision in record.decisions for line in _decision(decision)))
    yield Section("usage", _usage(record.usage, below))
    yield Section("error", () if record.error is None else error_lines(record.error), verbatim=True, last=_OF_TRACEBACK)
    yield Section("output", () if record.output is None else block(record.output), verbatim=True)


def _segment(segment: SegmentRecord, zone: tzinfo | None) -> Line:
    """When it waited, and when it ran in which process, as the first 8 digits of its id."""
    took = "" if segment.ended_at is None else f" for {duration(segment.ended_at - segment.started_at)}"
    where = f", attempt {segment.attempt}, process {(segment.process_id or '?')[:8]}"
    return Line(
        (f"{segment.started_at.astimezone(zone):%Y-%m-%d %H:%M:%S}", "quiet"),
        f"  {segment.status}{took}",
        f": {segment.reason}" if segment.reason else "",
        f" → {segment.outcome}" if segment.outcome else "",
        (where, "quiet"),
    )


def _step(event: EventRecord, zone: tzinfo | None) -> Line:
    """A step, or an event of a type that a later version added."""
    data: Any = event.data.get("data") if event.type == RUN_STEP else event.data
    name = event.data.get("name") if event.type == RUN_STEP else event.type
    told = f"  {brief(data)}" if data else ""
    return Line((f"{event.time.astimezone(zone):%H:%M:%S.%f}"[:-3], "quiet"), f"  {name}", (told, "quiet"))


def _decision(decision: DecisionRecord) -> Iterator[Line]:
    yield Line(("◆ ", "heading"), f"{decision.question} → ", (brief(decision.chosen), "name"))
    facts = {
        "why": decision.why,
        "options": ", ".join(map(brief, decision.options)),
        "confidence": None if decision.confidence is None else f"{decision.confidence:g}",
        "outcome": decision.outcome,
    }
    for name, text in facts.items():
        if text:
            yield Line((f"  {name + ':':<12}", "quiet"), text)


def _usage(reports: Sequence[UsageRecord], below: UsageTotal | None) -> Iterator[Line]:
    yield from map(_report, reports)
    if below is not None and below.calls:
        calls = "1 call" if below.calls == 1 else f"{below.calls:,} calls"
        yield Line(("with all runs below: ", "heading"), f"{tokens(below)} in {calls}")
    elif len(reports) > 1:
        yield Line(("all: ", "heading"), tokens(total(reports)))


def _report(report: UsageRecord) -> Line:
    parts = {
        "from the cache": report.cache_read_tokens,
        "to the cache": report.cache_write_tokens,
        "of reasoning": report.reasoning_tokens,
    }
    details = [f"{count:,} {name}" for name, count in parts.items() if count is not None]
    if report.inclusive:
        details.append("runs below included")
    if report.call_id is not None:
        details.append(report.call_id)
    return Line(f"{report.model}: {tokens(total([report]))}", (f" ({', '.join(details)})" if details else "", "quiet"))


def error_lines(error: ErrorRecord) -> Iterator[Line]:
    """What went wrong, with the traceback where there is one."""
    if error.expected:
        yield Line(("expected, and no failure", "quiet"))
    if error.traceback is None or error.message not in error.traceback:
        role: Role = "quiet" if error.expected else "failed"
        for line in block(": ".join(part for part in (error.type, error.message) if part)):
            yield Line((str(line), role))
    if error.traceback is not None:
        yield from block(error.traceback)
