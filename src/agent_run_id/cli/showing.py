"""``runid show``: everything recorded of one run."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from agent_run_id.cli.documents import array, encoded, object_of
from agent_run_id.cli.options import AsJson, Directory, Ref, opened
from agent_run_id.cli.output import Output
from agent_run_id.events import RUN_STEP
from agent_run_id.folding import FOLDED
from agent_run_id.rendering import Line, block, brief, duration, label, state, title, tokens
from agent_run_id.usage import total

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    from agent_run_id.rendering import Role
    from agent_run_id.schema import (
        DecisionRecord,
        ErrorRecord,
        EventRecord,
        ProcessRecord,
        RunRecord,
        SegmentRecord,
        UsageRecord,
    )
    from agent_run_id.tree import Tree

__all__ = ["show"]

_INDENT: Final = "  "


class _Section(NamedTuple):
    """What is told under one heading, if anything; what is verbatim is never wrapped."""

    name: str
    lines: Iterable[Line]
    verbatim: bool = False


class _Found(NamedTuple):
    """What there is to tell of one run."""

    tree: Tree
    ancestors: list[RunRecord]
    events: list[EventRecord]


def show(ref: Ref, /, *, json: AsJson = False, directory: Directory = None) -> None:
    """Tell everything about one run.

    What it is, whose it is, what it ran under, its input, steps, decisions with their reasons and outcomes, usage,
    error with traceback, output, and the runs directly below it. What was not recorded is left out.

    With --json: an object with "record" and, as arrays, "ancestors" (the parent first) and "children", all of them as
    in `agent_run_id.RunRecord`, and "events", everything recorded of the run in order.
    """
    with opened(directory) as registry:
        run_id = registry.get(ref).id  # once: the next moment `@last` may be another
        found = _Found(registry.tree(run_id), registry.ancestors(run_id), registry.events(run_id))
    output = Output()
    if json:
        output.write(f"{_document(found)}\n")
        return
    record = found.tree.record
    output.line(title(record, total(record.usage)), rest=_INDENT)
    for name, line in _facts(record):
        output.line(Line((f"{name:<11}", "heading")) + line, head=_INDENT, rest=" " * 13)
    for section in _sections(found):
        _tell(section, output)


def _document(found: _Found) -> str:
    children = array(child.record for child in found.tree.children)
    members = {"record": encoded(found.tree.record), "ancestors": array(found.ancestors)}
    return object_of({**members, "children": children, "events": array(found.events)})


def _tell(section: _Section, output: Output) -> None:
    for number, line in enumerate(section.lines):
        if number == 0:
            output.line()
            output.line(Line((section.name, "heading")))
        output.line(line, head=_INDENT, rest=None if section.verbatim else _INDENT * 3)


def _facts(record: RunRecord) -> Iterator[tuple[str, Line]]:
    yield "id", Line((record.id, "id"))
    if record.parent_id is not None:
        yield "root", Line((record.root_id, "id"))
    yield "status", Line((state(record), label(record.status)[1]))
    yield from _texts(
        kind=record.kind,
        user=record.user_id,
        session=record.session_id,
        key=record.key,
        summary=record.summary,
        tags=", ".join(record.tags),
        started=_moment(record.started_at),
        ended=_moment(record.ended_at),
        last_event=_moment(record.last_event_at) if record.ended_at is None else None,
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


def _moment(when: datetime | None) -> str | None:
    return None if when is None else f"{when.astimezone():%Y-%m-%d %H:%M:%S.%f %z}"


def _process(process: ProcessRecord | None) -> str | None:
    if process is None:
        return None
    return f"{process.program or '?'}, pid {process.pid or '?'} on {process.host or '?'}, {process.state}"


def _sections(found: _Found) -> Iterator[_Section]:
    record, below = found.tree.record, len(found.tree.children)
    yield _Section("under", _under(found.ancestors))
    yield _Section("life", map(_segment, record.segments))
    yield _Section("attributes", (Line(f"{name}: {brief(value)}") for name, value in record.attributes.items()))
    yield _Section("input", () if record.input is None else block(record.input), verbatim=True)
    yield _Section("steps", map(_step, (event for event in found.events if event.type not in FOLDED)))
    yield _Section("decisions", (line for decision in record.decisions for line in _decision(decision)))
    yield _Section("usage", _usage(found.tree))
    yield _Section("error", () if record.error is None else _error(record.error), verbatim=True)
    yield _Section("output", () if record.output is None else block(record.output), verbatim=True)
    yield _Section(f"{below} {'child' if below == 1 else 'children'}", _children(found.tree))


def _under(ancestors: list[RunRecord]) -> Iterator[Line]:
    for depth, record in enumerate(reversed(ancestors)):
        yield Line(_INDENT * depth) + title(record, total(record.usage))


def _segment(segment: SegmentRecord) -> Line:
    """When it waited, and when it ran in which process, as the first 8 digits of its id."""
    took = "" if segment.ended_at is None else f" for {duration(segment.ended_at - segment.started_at)}"
    where = f", attempt {segment.attempt}, process {(segment.process_id or '?')[:8]}"
    return Line(
        (f"{segment.started_at.astimezone():%Y-%m-%d %H:%M:%S}", "quiet"),
        f"  {segment.status}{took}",
        f": {segment.reason}" if segment.reason else "",
        f" → {segment.outcome}" if segment.outcome else "",
        (where, "quiet"),
    )


def _step(event: EventRecord) -> Line:
    """A step, or an event of a type that a later version added."""
    data: Any = event.data.get("data") if event.type == RUN_STEP else event.data
    name = event.data.get("name") if event.type == RUN_STEP else event.type
    told = f"  {brief(data)}" if data else ""
    return Line((f"{event.time.astimezone():%H:%M:%S.%f}"[:-3], "quiet"), f"  {name}", (told, "quiet"))


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


def _usage(tree: Tree) -> Iterator[Line]:
    reports = tree.record.usage
    yield from map(_report, reports)
    below = tree.usage()
    if tree.children and below.calls:
        calls = "1 call" if below.calls == 1 else f"{below.calls} calls"
        yield Line(("with all runs below: ", "heading"), f"{tokens(below)} in {calls}")
    elif len(reports) > 1:
        yield Line(("all: ", "heading"), tokens(below))


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


def _error(error: ErrorRecord) -> Iterator[Line]:
    if error.expected:
        yield Line(("expected, and no failure", "quiet"))
    if error.traceback is None or error.message not in error.traceback:
        role: Role = "quiet" if error.expected else "failed"
        for line in block(": ".join(part for part in (error.type, error.message) if part)):
            yield Line((str(line), role))
    if error.traceback is not None:
        yield from block(error.traceback)


def _children(tree: Tree) -> Iterator[Line]:
    if not tree.children:
        return
    counts = Counter(child.record.status for child in tree.children)
    told = ", ".join(f"{count} {status or 'never started here'}" for status, count in counts.most_common())
    below = len(tree) - 1
    yield Line((told if below == len(tree.children) else f"{told}; {below} runs below in all", "quiet"))
    usages = tree.usages()
    for child in tree.children:
        yield title(child.record, usages[child.record.id])
