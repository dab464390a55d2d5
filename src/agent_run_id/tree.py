"""The tree: a run with everything below it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from agent_run_id.rendering import Line, describe, title
from agent_run_id.schema import RunRecord, UsageRecord, UsageTotal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

__all__ = ["Row", "Tree", "grow", "total"]

_SUMMED: Final = ("input_tokens", "output_tokens")


class Row(NamedTuple):
    """A line of a drawn tree: the branches before it, those before what does not fit on it, and what it says."""

    head: str
    rest: str
    line: Line


class Tree:
    """A run and the runs below it. Iterating gives every node, parents before children, in the order they started.

    Attributes:
        record: The run.
        children: The trees of the runs directly below it, in the order they started.
        detached: Whether the run that should be between this one and its parent was never recorded.
    """

    __slots__ = ("children", "detached", "record")

    record: RunRecord
    children: list[Tree]
    detached: bool

    def __init__(self, record: RunRecord) -> None:
        self.record = record
        self.children = []
        self.detached = False

    def __iter__(self) -> Iterator[Tree]:
        return self.walk()

    def __len__(self) -> int:
        return sum(1 for _ in self.walk())

    def __repr__(self) -> str:
        return f"<Tree of {self.record.id[:8]} {self.record.name!r}: {len(self)} runs>"

    def __str__(self) -> str:
        return self.render()

    def walk(self) -> Iterator[Tree]:
        """Every node: this one first, each before its children, siblings in the order they started."""
        pending: list[Tree] = [self]
        while pending:
            node = pending.pop()
            yield node
            pending.extend(reversed(node.children))

    def usage(self) -> UsageTotal:
        """What this run and all below it used; the same call reported twice counts once.

        A report that says it includes the runs below counts only where these report nothing themselves.
        """
        reports = [report for node in self.walk() for report in node.record.usage]
        own = [report for report in reports if not report.inclusive]
        return total(own or self.record.usage)

    def render(self) -> str:
        """The tree as text, a line for each run, with its decisions below it."""
        return "\n".join(f"{row.head}{row.line}" for row in self.rows())

    def rows(self) -> Iterator[Row]:
        """The lines of `render`, with the branches they hang on apart from what they say."""
        pending: list[tuple[Tree, str, str]] = [(self, "", "")]
        while pending:
            node, head, rest = pending.pop()
            bar = f"{rest}│ " if node.children else f"{rest}  "
            yield Row(head, bar, title(node.record, node.usage() if node.children else total(node.record.usage)))
            for line in describe(node.record):
                yield Row(bar, f"{bar}  ", line)
            last = len(node.children) - 1
            for place in range(last, -1, -1):
                ends = place == last
                fork = f"{rest}{'└' if ends else '├'}{'╌' if node.children[place].detached else '─'} "
                pending.append((node.children[place], fork, f"{rest}{'   ' if ends else '│  '}"))


def total(reports: Iterable[UsageRecord]) -> UsageTotal:
    """Add up reports; the same call counts once, and what no report knows stays unknown."""
    calls: dict[str, UsageRecord] = {}
    for number, report in enumerate(reports):
        calls.setdefault(report.call_id or f" {number}", report)
    sums: dict[str, Any] = {"calls": len(calls), "cost": {}}
    for report in calls.values():
        for field in _SUMMED:
            value = getattr(report, field)
            if value is not None:
                sums[field] = sums.get(field, 0) + value
        if report.cost is not None and report.currency is not None:
            sums["cost"][report.currency] = sums["cost"].get(report.currency, 0) + report.cost
    return UsageTotal.model_validate(sums)


def grow(top: RunRecord, below: Sequence[RunRecord]) -> Tree:
    """Build the tree of `top` from the records below it, in any order.

    A record whose parent is not among them hangs from the top, marked as detached. User and session come from the
    nearest run above that says so.
    """
    root = Tree(top)
    nodes = {top.id: root}
    for record in sorted(below, key=_started):
        nodes.setdefault(record.id, Tree(record))
    for node in nodes.values():
        if node is not root:
            parent = nodes.get(node.record.parent_id or "")
            node.detached = parent is None
            (parent or root).children.append(node)
    for node in root.walk():
        for child in node.children:
            child.record = _under(child.record, node.record, detached=child.detached)
    return root


def _started(record: RunRecord) -> tuple[bool, Any, str, str]:
    process = record.process.id if record.process is not None else ""
    return (record.started_at is None, record.started_at and record.started_at.timestamp(), process, record.id)


def _under(record: RunRecord, parent: RunRecord, *, detached: bool) -> RunRecord:
    update: dict[str, Any] = {
        "user_id": parent.user_id if record.user_id is None else record.user_id,
        "session_id": parent.session_id if record.session_id is None else record.session_id,
        "root_id": parent.root_id,
    }
    if not detached:
        update["depth"] = parent.depth + 1
    return record.model_copy(update=update)
