"""Asserting: recorded runs beside a text that a person has written, or that was kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent_run_id.registry import RunRegistry
from agent_run_id.testing.differences import INDENT, difference
from agent_run_id.testing.lines import line_of
from agent_run_id.testing.outline import decision_line, read_outline
from agent_run_id.tree import Tree

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["assert_tree", "tree_text", "trees_in"]


def assert_tree(recorded: RunRegistry | Tree, expected: str, *, any_order: bool = False) -> None:
    """Compare recorded runs with a text that says what they should be.

    The text has a line for each run; what stands further to the right is below. A line begins with the name of a run,
    and says of the rest what matters: ``[kind]``; a status, where it is not ``succeeded``; fields of the record, as in
    ``key=oslo``, ``output={"n": 1}`` and ``error="TimeoutError: no answer"``; ``error~"no answer"`` for a part of a
    text. ``×3`` at the end stands for three such runs. ``...`` on a line of its own is whatever else there is in its
    place. Lines that begin with ``◆`` are the decisions of the run above, and the first part of each will do.

    What `tree_text` gives and what `Tree.render` draws are such texts; of what is drawn, ids and times are not
    compared.

    Args:
        recorded: A tree; or a registry, for all trees there are in it.
        expected: The text.
        any_order: Whether siblings may have started in any order, as runs do that are concurrent.

    Raises:
        AssertionError: the runs are not these; the message shows both, and marks where they differ.
        InvalidTreeTextError: (a `ValueError`) the text is not understood.
    """
    __tracebackhide__ = True
    lines = read_outline(expected)
    differs = difference(lines, _trees(recorded), any_order=any_order)
    if differs is not None:
        raise AssertionError(differs)


def tree_text(recorded: RunRegistry | Tree, *, decisions: bool = False) -> str:
    """What `assert_tree` accepts for these runs: their names, and what of kind, status, key and error is not usual.

    There are no ids and no times in it, so it is the same every time the same happens: a text to keep, and to compare
    with later.

    Args:
        recorded: A tree; or a registry, for all trees there are in it.
        decisions: Whether to tell the decisions, too.
    """
    return "\n".join(line for tree in _trees(recorded) for line in _told(tree, decisions=decisions))


def _told(tree: Tree, *, decisions: bool) -> Iterator[str]:
    pending = [(tree, 0)]
    while pending:
        node, depth = pending.pop()
        yield f"{INDENT * depth}{line_of(node.record)}"
        if decisions:
            yield from (f"{INDENT * (depth + 1)}{decision_line(decision)}" for decision in node.record.decisions)
        pending += [(child, depth + 1) for child in reversed(node.children)]


def _trees(recorded: RunRegistry | Tree) -> Sequence[Tree]:
    if isinstance(recorded, Tree):
        return [recorded]
    if isinstance(recorded, RunRegistry):
        return trees_in(recorded)
    raise TypeError(
        f"runs are compared that a RunRegistry or a Tree holds, not a {type(recorded).__name__}; capture_runs() gives "
        'a registry, and its tree("@last") a tree'
    )


def trees_in(registry: RunRegistry) -> list[Tree]:
    """All trees in a registry, in the order they started."""
    tops = [root.record for root in reversed(registry.roots(limit=None))]
    trees = [registry.tree(top.run_id) for top in tops]
    # A run whose parent was not recorded is a root to the registry, and yet hangs in the tree of its own root.
    below = {node.record.id for tree in trees for node in tree if node is not tree}
    return [tree for tree in trees if tree.record.id not in below]
