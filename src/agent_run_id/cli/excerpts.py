"""Excerpts: which runs of a large tree a page shows one by one, and which it only counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator

    from agent_run_id.tree import Tree

    Alike = Callable[[Tree], Hashable]

__all__ = ["LARGE", "More", "Shown", "excerpt"]

LARGE: Final = 2_000
"""So many runs are shown whatever they are."""
_FIRST: Final = 20
_TOO_LARGE: Final = 10_000


class Shown(NamedTuple):
    """A run that is shown, and how many are above it in this tree."""

    node: Tree
    depth: int


class More(NamedTuple):
    """Runs with the same parent that all succeeded, and everything below them, and are like others that are shown.

    Attributes:
        name: Their name; None where there is none, or where they have different ones.
        children: How many.
        runs: With those below them.
        depth: How many runs are above each.
    """

    name: str | None
    children: int
    runs: int
    depth: int


def excerpt(tree: Tree) -> list[Shown | More]:
    """The runs of a tree in the order of `Tree.walk`; of a large one the first that are alike, and how many more.

    Alike are children of one run with the same name and kind, of which nothing but success is told. Where that leaves
    too many, as when every name has a number in it, names do not matter.
    """
    if len(tree) <= LARGE:
        return list(_walked(tree, None))
    found = list(_walked(tree, lambda node: (node.record.name, node.record.kind, node.detached)))
    return found if len(found) <= _TOO_LARGE else list(_walked(tree, lambda node: (None, None, node.detached)))


def _walked(tree: Tree, alike: Alike | None) -> Iterator[Shown | More]:
    pending: list[Shown | More] = [Shown(tree, 0)]
    while pending:
        one = pending.pop()
        yield one
        if isinstance(one, Shown):
            below = [Shown(child, one.depth + 1) for child in one.node.children]
            pending += reversed(below if alike is None else _first_of(below, alike))


def _first_of(children: list[Shown], alike: Alike) -> list[Shown | More]:
    found: list[Shown | More] = []
    groups: dict[Hashable, list[Shown]] = {}
    for child in children:
        if set(child.node.subtree.runs) == {"succeeded"}:
            group = groups.setdefault(alike(child.node), [])
            group.append(child)
            if len(group) > _FIRST:
                continue
        found.append(child)
    return [*found, *(_more(group[_FIRST:]) for group in groups.values() if len(group) > _FIRST)]


def _more(left_out: list[Shown]) -> More:
    names = {child.node.record.name for child in left_out}
    runs = sum(child.node.subtree.runs["succeeded"] for child in left_out)
    return More(names.pop() if len(names) == 1 else None, len(left_out), runs, left_out[0].depth)
