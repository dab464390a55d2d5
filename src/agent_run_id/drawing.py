"""Drawing: a tree as lines, each with the branches it hangs on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from agent_run_id.rendering import Line, describe, duration, title

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent_run_id.tree import Tree

__all__ = ["Row", "draw"]

_LEVELS: Final = 50


class Row(NamedTuple):
    """A line of a drawn tree: the branches before it, those before what does not fit on it, and what it says."""

    head: str
    rest: str
    line: Line


def draw(tree: Tree, *, max_depth: int | None = None, max_children: int | None = None) -> Iterator[Row]:
    """The lines of a tree, parents before children.

    Every fifty levels the branches begin anew on the left, behind the number of the level. Else the lines of ten
    thousand runs that call each other would be thirty thousand characters long.

    Args:
        tree: The tree.
        max_depth: How many levels below the first are drawn; None for all.
        max_children: How many of the runs directly below each are drawn; None for all.
    """
    pending: list[tuple[Tree | Line, str, str, int]] = [(tree, "", "", 0)]
    while pending:
        node, head, rest, depth = pending.pop()
        if isinstance(node, Line):
            yield Row(head, rest, node)
            continue
        below = _below(node, 0 if max_depth is not None and depth >= max_depth else max_children)
        bar = f"{rest}│ " if below else f"{rest}  "
        yield Row(head, bar, _told(node))
        for line in describe(node.record):
            yield Row(bar, f"{bar}  ", line)
        depth += 1
        if depth % _LEVELS == 0:
            rest = f"⋯{depth} "
        last = len(below) - 1
        for place in range(last, -1, -1):
            child, ends = below[place], place == last
            line_to = "╌" if isinstance(child, Line) or child.detached else "─"
            fork = f"{rest}{'└' if ends else '├'}{line_to} "
            pending.append((child, fork, f"{rest}{'   ' if ends else '│  '}", depth))


def _told(node: Tree) -> Line:
    line = title(node.record, node.usage())
    return line if node.skew is None else line + Line((f" · ⇤ {duration(node.skew)}", "quiet"))


def _below(node: Tree, most: int | None) -> list[Tree | Line]:
    """What is drawn below a node: its children, or the first of them, and how many other runs there are."""
    children = node.children if most is None else node.children[:most]
    below: list[Tree | Line] = [*children]
    if node.hidden or len(children) < len(node.children):
        runs = node.subtree.runs.copy()
        for shown in (node.own, *(child.subtree for child in children)):
            for status, count in shown.runs.items():
                runs[status] -= count
        below.append(_more(sum(runs.values()), runs.get("failed", 0), children=bool(children)))
    return below


def _more(runs: int, failed: int, *, children: bool) -> Line:
    text = f"… {runs:,} {'more ' if children else ''}{'run' if runs == 1 else 'runs'}"
    if not failed:
        return Line((text, "quiet"))
    return Line((f"{text}, ", "quiet"), (f"{failed:,} failed" if runs > 1 else "failed", "failed"))
