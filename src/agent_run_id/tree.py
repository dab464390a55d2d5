"""The tree: a run with everything below it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from agent_run_id.rendering import Line, describe, title
from agent_run_id.usage import Ledger

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from agent_run_id.schema import RunRecord, UsageTotal

__all__ = ["Row", "Tree", "grow"]


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

    def __bool__(self) -> bool:
        return True  # it has its own run at least; counting them all to say so would cost a walk

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
        return self.usages()[self.record.id]

    def usages(self) -> dict[str, UsageTotal]:
        """What each node and all below it used, by id, in one pass from the leaves up."""
        ledgers: dict[str, Ledger] = {}
        totals: dict[str, UsageTotal] = {}
        for node in reversed(list(self.walk())):
            below = [ledgers.pop(child.record.id) for child in node.children]
            ledger = ledgers[node.record.id] = Ledger().close(node.record.id, node.record.usage, below)
            totals[node.record.id] = ledger.total()
        return totals

    def render(self) -> str:
        """The tree as text, a line for each run, with its decisions below it."""
        return "\n".join(f"{row.head}{row.line}" for row in self.rows())

    def rows(self) -> Iterator[Row]:
        """The lines of `render`, with the branches they hang on apart from what they say."""
        usages = self.usages()
        pending: list[tuple[Tree, str, str]] = [(self, "", "")]
        while pending:
            node, head, rest = pending.pop()
            bar = f"{rest}│ " if node.children else f"{rest}  "
            yield Row(head, bar, title(node.record, usages[node.record.id]))
            for line in describe(node.record):
                yield Row(bar, f"{bar}  ", line)
            last = len(node.children) - 1
            for place in range(last, -1, -1):
                ends = place == last
                fork = f"{rest}{'└' if ends else '├'}{'╌' if node.children[place].detached else '─'} "
                pending.append((node.children[place], fork, f"{rest}{'   ' if ends else '│  '}"))


def grow(top: RunRecord, below: Sequence[RunRecord]) -> Tree:
    """Build the tree of `top` from the records below it, in any order.

    A record whose parent is not among them hangs from its root, or from the top, marked as detached. User and session
    come from the nearest run above that says so.
    """
    root = Tree(top)
    nodes = {top.id: root}
    for record in sorted(below, key=_started):
        nodes.setdefault(record.id, Tree(record))
    for node in nodes.values():
        if node is not root:
            parent = nodes.get(node.record.parent_id or "")
            node.detached = parent is None
            (parent or nodes.get(node.record.root_id, root)).children.append(node)
    for node in root.walk():
        for child in node.children:
            child.record = _under(child.record, node.record, detached=child.detached)
    return root


def _started(record: RunRecord) -> tuple[bool, Any, str, int, str]:
    process = record.process.id if record.process is not None else ""
    return (record.started_at is None, record.started_at, process, record.seq or 0, record.id)


def _under(record: RunRecord, parent: RunRecord, *, detached: bool) -> RunRecord:
    update: dict[str, Any] = {
        "user_id": parent.user_id if record.user_id is None else record.user_id,
        "session_id": parent.session_id if record.session_id is None else record.session_id,
        "root_id": parent.root_id,
    }
    if not detached:
        update["depth"] = parent.depth + 1
    elif record.root_id == parent.id:
        update["depth"] = parent.depth + record.depth
    return record.model_copy(update=update)
