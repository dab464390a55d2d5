"""Drawing: a tree as lines, each with the branches it hangs on.

Ten thousand items of a batch are one line, and what is odd about them is drawn below it.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Final, NamedTuple

from agent_run_id.rendering import SYMBOLS, Line, describe, duration, title, tokens

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from agent_run_id.schema import Status
    from agent_run_id.tree import Tree

__all__ = ["Row", "draw"]

_LEVELS: Final = 50
_EXAMPLES: Final = 3
_NUMBER: Final = re.compile("[0-9]+")
_GOOD: Final[frozenset[Status | None]] = frozenset({"succeeded"})
_WORST_FIRST: Final[tuple[Status | None, ...]] = (
    "failed", "lost", "running", "paused", "queued", "cancelled", None, "succeeded",
)  # fmt: skip


class Row(NamedTuple):
    """A line of a drawn tree: the branches before it, those before what does not fit on it, and what it says."""

    head: str
    rest: str
    line: Line


class _Alike(NamedTuple):
    """Runs directly below one other that are alike: of one kind, with names that differ in numbers only."""

    members: Sequence[Tree]

    def told(self) -> Line:
        """How many there are, and what became of them."""
        counts = Counter(member.record.status for member in self.members)
        found: list[tuple[Status | None, int]] = [(each, counts[each]) for each in _WORST_FIRST if counts[each]]
        first, worst = self.members[0].record, found[0][0]
        names = {member.record.name for member in self.members}
        name = first.name if len(names) == 1 else _NUMBER.sub("#", first.name or "")
        told = Line(
            (f"{SYMBOLS[worst]} ", worst or "quiet"),
            f"{len(self.members):,} × ",
            ("(not recorded)", "quiet") if name is None else (name, "name"),
            f" {first.kind}: " if first.kind not in (None, "task") else ": ",
        )
        for place, (status, count) in enumerate(reversed(found)):
            count_told = f"{count:,} {status or 'never started here'}"
            told += Line(", " if place else "", (count_told, status or "quiet"))
        return told + Line((" ▸", "quiet"))

    def below(self) -> list[Tree | Line | _Alike]:
        """The first that did not go well, and how many more there are of these."""
        odd = [member for member in self.members if not _GOOD.issuperset(member.subtree.runs)]
        odd.sort(key=lambda member: min(map(_WORST_FIRST.index, member.subtree.runs)))
        shown: list[Tree | Line | _Alike] = [*odd[:_EXAMPLES]]
        left = len(odd) - len(shown)
        return [*shown, Line((f"… {left:,} more that did not simply succeed", "quiet"))] if left else shown


def draw(
    tree: Tree,
    *,
    max_depth: int | None = None,
    max_children: int | None = None,
    fold: int | None = None,
    figures: bool = False,
) -> Iterator[Row]:
    """The lines of a tree, parents before children.

    Every fifty levels the branches begin anew on the left, behind the number of the level. Else the lines of ten
    thousand runs that call each other would be thirty thousand characters long.

    Args:
        tree: The tree.
        max_depth: How many levels below the first are drawn; None for all.
        max_children: How many of the runs directly below each are drawn; None for all.
        fold: Runs directly below one other that are alike, and more than so many, become one line, with the first
            that did not go well below it; None draws each.
        figures: Whether to tell what each comes to by itself beside what it comes to with all below.
    """
    pending: list[tuple[Tree | Line | _Alike, str, str, int]] = [(tree, "", "", 0)]
    while pending:
        node, head, rest, depth = pending.pop()
        if isinstance(node, Line):
            yield Row(head, rest, node)
            continue
        below: list[Tree | Line | _Alike]
        if isinstance(node, _Alike):
            below = node.below()
            yield Row(head, f"{rest}│ " if below else f"{rest}  ", node.told())
        else:
            below = _below(node, 0 if max_depth is not None and depth >= max_depth else max_children, fold)
            bar = f"{rest}│ " if below else f"{rest}  "
            yield Row(head, bar, _told(node, figures=figures))
            for line in describe(node.record):
                yield Row(bar, f"{bar}  ", line)
        depth += 1
        if depth % _LEVELS == 0:
            rest = f"⋯{depth} "
        last = len(below) - 1
        for place in range(last, -1, -1):
            child, ends = below[place], place == last
            line_to = "╌" if isinstance(child, Line) or (not isinstance(child, _Alike) and child.detached) else "─"
            fork = f"{rest}{'└' if ends else '├'}{line_to} "
            pending.append((child, fork, f"{rest}{'   ' if ends else '│  '}", depth))


def _told(node: Tree, *, figures: bool) -> Line:
    line = title(node.record, node.usage())
    told = [other[:8] for other in (node.record.duplicate_of, node.record.retry_of) if other is not None]
    links = [link for link in node.record.links if link[:8] not in told]
    for link in links[:1]:
        line += Line((f" · ⇢ {link[:8]}{f' and {len(links) - 1} more' if len(links) > 1 else ''}", "quiet"))
    if node.skew is not None:
        line += Line((f" · ⇤ {duration(node.skew)}", "quiet"))
    return line + Line((_figures(node), "quiet")) if figures else line


def _figures(node: Tree) -> str:
    """What a run comes to by itself, and how many are below it."""
    runs = sum(node.subtree.runs.values()) - 1
    if not runs:
        return ""
    told = [f"{runs:,} below"]
    time, usage = node.self_time, tokens(node.own.usage)
    if time is not None:
        told.append(f"itself {duration(time)}")
    if usage:
        told.append(f"itself {usage}")
    return f" · {', '.join(told)}"


def _below(node: Tree, most: int | None, fold: int | None) -> list[Tree | Line | _Alike]:
    """What is drawn below a node: its children, or the first of them, and how many other runs there are."""
    children = node.children if most is None else node.children[:most]
    below: list[Tree | Line | _Alike] = [*children] if fold is None else _folded(children, fold)
    if node.hidden or len(children) < len(node.children):
        runs = node.subtree.runs.copy()
        for shown in (node.own, *(child.subtree for child in children)):
            for status, count in shown.runs.items():
                runs[status] -= count
        below.append(_more(sum(runs.values()), runs.get("failed", 0), children=bool(children)))
    return below


def _folded(children: Sequence[Tree], most: int) -> list[Tree | Line | _Alike]:
    """The children, those that are alike together where the first of them was, if there are more than so many."""
    if len(children) <= most:
        return [*children]
    alike: defaultdict[tuple[str | None, str | None], list[Tree]] = defaultdict(list)
    for child in children:
        alike[_like(child)].append(child)
    told: list[Tree | Line | _Alike] = []
    for child in children:
        group = alike[_like(child)]
        if len(group) <= most:
            told.append(child)
        elif child is group[0]:
            told.append(_Alike(group))
    return told


def _like(node: Tree) -> tuple[str | None, str | None]:
    """What runs have in common that are alike."""
    record = node.record
    return record.kind, None if record.name is None else _NUMBER.sub("#", record.name)


def _more(runs: int, failed: int, *, children: bool) -> Line:
    text = f"… {runs:,} {'more ' if children else ''}{'run' if runs == 1 else 'runs'}"
    if not failed:
        return Line((text, "quiet"))
    return Line((f"{text}, ", "quiet"), (f"{failed:,} failed" if runs > 1 else "failed", "failed"))
