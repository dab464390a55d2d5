"""``runid show``: everything recorded of one run."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple

from agent_run_id.cli.documents import array, encoded, object_of
from agent_run_id.cli.options import AsJson, Directory, Ref, flag, opened
from agent_run_id.cli.output import Output
from agent_run_id.events import RUN_STEP
from agent_run_id.folding import FOLDED
from agent_run_id.rendering import Line, block, brief, duration, label, state, title, tokens
from agent_run_id.usage import total

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import datetime

    from agent_run_id.registry import RunRegistry
    from agent_run_id.rendering import Role
    from agent_run_id.schema import (
        DecisionRecord,
        ErrorRecord,
        EventRecord,
        ProcessRecord,
        RunRecord,
        SegmentRecord,
        Status,
        UsageRecord,
        UsageTotal,
    )
    from agent_run_id.tree import Tree

__all__ = ["show"]

_INDENT: Final = "  "
_HEAD: Final = 8
_TAIL: Final = 4
_OF_TRACEBACK: Final = 12
_LARGE: Final = 20_000
_WRONG: Final = ("failed", "lost")

_All = Annotated[bool, flag("--all", "Everything, not only as much of each part as fits on a screen.")]


class _Section(NamedTuple):
    """What is told under one heading, if anything; what is verbatim is never wrapped.

    Where not everything is told, it is the first lines, and so many of the last.
    """

    name: str
    lines: Iterable[Line]
    verbatim: bool = False
    last: int = _TAIL


class _Below(NamedTuple):
    """What there is to tell of the runs below one: how many, what they used, which explains what went wrong."""

    runs: int
    counts: Counter[Status | None]
    children: Sequence[tuple[RunRecord, UsageTotal]]
    usage: UsageTotal | None
    failure: Sequence[RunRecord]
    is_whole: bool = True


class _Found(NamedTuple):
    """What there is to tell of one run."""

    record: RunRecord
    ancestors: Sequence[RunRecord]
    events: Sequence[EventRecord]
    below: _Below


def show(ref: Ref, /, *, everything: _All = False, json: AsJson = False, directory: Directory = None) -> None:
    """Tell what one run was, did and came to.

    What it is, whose it is, what it ran under, what went wrong below it, its input, steps, decisions with their reasons
    and outcomes, usage, error with traceback, output, and the runs directly below it, first those that went wrong. What
    was not recorded is left out; of what is long, the beginning and the end are told: --all tells everything.

    With --json: an object with "record" and, as arrays, "ancestors" (the parent first) and "children", all of them as
    in `agent_run_id.RunRecord`, and "events", everything recorded of the run in order.
    """
    with opened(directory) as registry:
        record = registry.get(ref)  # once: the next moment `@last` may be another
        ancestors, events = registry.ancestors(record.id), registry.events(record.id)
        runs = registry.counts(record.id).runs
        if json or everything or runs <= _LARGE:
            below = _below_in(registry.tree(record.id))
        else:
            below = _below_of_many(registry, record, runs)
    found = _Found(record, ancestors, events, below)
    output = Output()
    if json:
        output.write(f"{_document(found)}\n")
        return
    output.line(title(record, total(record.usage)), rest=_INDENT)
    for name, line in _facts(record):
        output.line(Line((f"{name:<11}", "heading")) + line, head=_INDENT, rest=" " * 13)
    shortened = [_tell(section, output, everything=everything) for section in _sections(found, everything=everything)]
    if any(shortened):
        output.line()
        output.line(Line(("not all of it: ", "quiet"), f"runid show {record.id[:8]} --all"))


def _below_in(tree: Tree) -> _Below:
    failed = tree.nearest_failure()
    usages = [(child.record, child.usage()) for child in tree.children]
    return _Below(
        runs=sum(tree.subtree.runs.values()) - 1,
        counts=Counter(record.status for record, _ in usages),
        children=usages,
        usage=tree.usage() if tree.children else None,
        failure=[] if failed is None else [node.record for node in tree.path(failed)[1:]],
    )


def _below_of_many(registry: RunRegistry, record: RunRecord, runs: int) -> _Below:
    """The same where there are so many runs that to make all their records would take seconds."""
    children = registry.find(under=record.id, status=_WRONG, limit=_HEAD, order="oldest")
    failure: list[RunRecord] = []
    if children:
        above = registry.ancestors(children[0].id)
        failure = [child for child in reversed(above) if child.depth > record.depth] + children[:1]
        if registry.counts(children[0].id).runs <= _LARGE:
            first = registry.tree(children[0].id)
            failure += [node.record for node in first.path(first.nearest_failure() or first)[1:]]
    counts: Counter[Status | None] = Counter(registry.counts(record.id).by_status)
    counts[record.status] -= 1
    return _Below(runs - 1, +counts, [(child, total(child.usage)) for child in children], None, failure, is_whole=False)


def _document(found: _Found) -> str:
    children = array(record for record, _ in found.below.children)
    members = {"record": encoded(found.record), "ancestors": array(found.ancestors)}
    return object_of({**members, "children": children, "events": array(found.events)})


def _tell(section: _Section, output: Output, *, everything: bool) -> bool:
    """Tell of one thing; whether some of it was left out."""
    lines = list(section.lines)
    if not lines:
        return False
    left = len(lines) - _HEAD - section.last
    shorten = not everything and left > 1
    if shorten:
        lines[_HEAD : len(lines) - section.last] = [Line((f"… {left:,} more lines", "quiet"))]
    output.line()
    output.line(Line((section.name, "heading")))
    for line in lines:
        output.line(line, head=_INDENT, rest=None if section.verbatim else _INDENT * 3)
    return shorten


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


def _sections(found: _Found, *, everything: bool) -> Iterator[_Section]:
    record, below = found.record, found.below
    yield _Section("under", _under(found.ancestors))
    yield _Section("went wrong below", _failure(below.failure))
    yield _Section("life", map(_segment, record.segments))
    yield _Section("attributes", (Line(f"{name}: {brief(value)}") for name, value in record.attributes.items()))
    yield _Section("input", () if record.input is None else block(record.input), verbatim=True)
    yield _Section("steps", map(_step, (event for event in found.events if event.type not in FOLDED)))
    yield _Section("decisions", (line for decision in record.decisions for line in _decision(decision)))
    yield _Section("usage", _usage(found))
    yield _Section("error", () if record.error is None else _error(record.error), verbatim=True, last=_OF_TRACEBACK)
    yield _Section("output", () if record.output is None else block(record.output), verbatim=True)
    direct = len(below.children)
    name = f"{direct:,} {'child' if direct == 1 else 'children'}" if below.is_whole else f"{below.runs:,} runs below"
    yield _Section(name, _children(found, everything=everything), last=1)


def _failure(path: Sequence[RunRecord]) -> Iterator[Line]:
    """The way down to the run whose error explains it."""
    for depth, record in enumerate(path):
        yield Line(_INDENT * depth) + title(record, total(record.usage))


def _under(ancestors: Sequence[RunRecord]) -> Iterator[Line]:
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


def _usage(found: _Found) -> Iterator[Line]:
    reports, below = found.record.usage, found.below.usage
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


def _error(error: ErrorRecord) -> Iterator[Line]:
    if error.expected:
        yield Line(("expected, and no failure", "quiet"))
    if error.traceback is None or error.message not in error.traceback:
        role: Role = "quiet" if error.expected else "failed"
        for line in block(": ".join(part for part in (error.type, error.message) if part)):
            yield Line((str(line), role))
    if error.traceback is not None:
        yield from block(error.traceback)


def _children(found: _Found, *, everything: bool) -> Iterator[Line]:
    """What became of the runs below, and a line for each directly below: the worst first, where not all are told."""
    below = found.below
    if not below.runs:
        return
    told = ", ".join(f"{count:,} {status or 'never started here'}" for status, count in below.counts.most_common())
    more = below.is_whole and below.runs != len(below.children)
    yield Line((f"{told}; {below.runs:,} runs below in all" if more else told, "quiet"))
    children = [*below.children]
    if not everything and len(children) > _HEAD:
        children.sort(key=lambda child: child[0].status not in _WRONG)
    for record, usage in children:
        yield title(record, usage)
