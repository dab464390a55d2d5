"""``runid show``: everything recorded of one run."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Annotated, Final, NamedTuple

from agent_run_id.cli.documents import array, encoded, object_of
from agent_run_id.cli.options import AsJson, Directory, Ref, flag, opened
from agent_run_id.cli.output import Output
from agent_run_id.cli.sections import Section, facts, sections
from agent_run_id.rendering import Line, title
from agent_run_id.usage import total

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from agent_run_id.registry import RunRegistry
    from agent_run_id.schema import EventRecord, RunRecord, Status, UsageTotal
    from agent_run_id.tree import Tree

__all__ = ["show"]

_INDENT: Final = "  "
_HEAD: Final = 8
_MANY: Final = 1_000
_LARGE: Final = 50_000
_WRONG: Final = ("failed", "lost")

_All = Annotated[bool, flag("--all", "Everything, not only as much of each part as fits on a screen.")]


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
        if json or everything or runs <= _MANY:
            below = _below_in(registry.tree(record.id))
        else:
            below = _below_of_many(registry, record, runs)
    found = _Found(record, ancestors, events, below)
    output = Output()
    if json:
        output.write(f"{_document(found)}\n")
        return
    output.line(title(record, total(record.usage)), rest=_INDENT)
    for name, line in facts(record):
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
    """The same where there are so many runs that to make all their records would take a while."""
    children = registry.find(under=record.id, status=_WRONG, limit=_HEAD, order="oldest")
    failure: list[RunRecord] = []
    if children:
        above = registry.ancestors(children[0].id)
        failure = [child for child in reversed(above) if child.depth > record.depth] + children[:1]
        if registry.counts(children[0].id).runs <= _MANY:
            first = registry.tree(children[0].id)
            failure += [node.record for node in first.path(first.nearest_failure() or first)[1:]]
    counts: Counter[Status | None] = Counter({record.status: -1})
    counts.update(registry.counts(record.id).by_status)
    usage = registry.usage(record.id).subtree if runs <= _LARGE else None
    told = [(child, total(child.usage)) for child in children]
    return _Below(runs - 1, +counts, told, usage, failure, is_whole=False)


def _document(found: _Found) -> str:
    children = array(record for record, _ in found.below.children)
    members = {"record": encoded(found.record), "ancestors": array(found.ancestors)}
    return object_of({**members, "children": children, "events": array(found.events)})


def _tell(section: Section, output: Output, *, everything: bool) -> bool:
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


def _sections(found: _Found, *, everything: bool) -> Iterator[Section]:
    record, below = found.record, found.below
    yield Section("under", _under(found.ancestors))
    yield Section("went wrong below", _failure(below.failure))
    yield from sections(record, below.usage, found.events)
    direct = len(below.children)
    name = f"{direct:,} {'child' if direct == 1 else 'children'}" if below.is_whole else f"{below.runs:,} runs below"
    yield Section(name, _children(found, everything=everything), last=1)


def _failure(path: Sequence[RunRecord]) -> Iterator[Line]:
    """The way down to the run whose error explains it."""
    for depth, record in enumerate(path):
        yield Line(_INDENT * depth) + title(record, total(record.usage))


def _under(ancestors: Sequence[RunRecord]) -> Iterator[Line]:
    for depth, record in enumerate(reversed(ancestors)):
        yield Line(_INDENT * depth) + title(record, total(record.usage))


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
