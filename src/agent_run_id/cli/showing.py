"""``runid show``: everything recorded of one run."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final, NamedTuple

from agent_run_id.cli.documents import array, encoded, object_of
from agent_run_id.cli.options import AsJson, Directory, Ref, opened
from agent_run_id.cli.output import Output
from agent_run_id.cli.sections import Section, facts, sections
from agent_run_id.rendering import Line, title
from agent_run_id.usage import total

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent_run_id.schema import EventRecord, RunRecord
    from agent_run_id.tree import Tree

__all__ = ["show"]

_INDENT: Final = "  "


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
    for name, line in facts(record):
        output.line(Line((f"{name:<11}", "heading")) + line, head=_INDENT, rest=" " * 13)
    for section in _sections(found):
        _tell(section, output)


def _document(found: _Found) -> str:
    children = array(child.record for child in found.tree.children)
    members = {"record": encoded(found.tree.record), "ancestors": array(found.ancestors)}
    return object_of({**members, "children": children, "events": array(found.events)})


def _tell(section: Section, output: Output) -> None:
    for number, line in enumerate(section.lines):
        if number == 0:
            output.line()
            output.line(Line((section.name, "heading")))
        output.line(line, head=_INDENT, rest=None if section.verbatim else _INDENT * 3)


def _sections(found: _Found) -> Iterator[Section]:
    below = len(found.tree.children)
    yield Section("under", _under(found.ancestors))
    yield from sections(found.tree, found.events)
    yield Section(f"{below} {'child' if below == 1 else 'children'}", _children(found.tree))


def _under(ancestors: list[RunRecord]) -> Iterator[Line]:
    for depth, record in enumerate(reversed(ancestors)):
        yield Line(_INDENT * depth) + title(record, total(record.usage))


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
