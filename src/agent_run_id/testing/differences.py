"""Differences: what was expected and what was recorded in one text, marked where they differ."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from agent_run_id.testing.lines import line_of
from agent_run_id.testing.matching import Couple, Fits, is_same
from agent_run_id.testing.outline import decision_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from agent_run_id.testing.outline import Expected
    from agent_run_id.tree import Tree

__all__ = ["INDENT", "difference"]

INDENT: Final = "    "
_AROUND: Final = 2
_MOST_LINES: Final = 200


class _Line(NamedTuple):
    """A line of the difference: ``-`` for what was expected, ``+`` for what was recorded, a blank for both."""

    mark: str
    depth: int
    text: str
    note: str = ""

    def __str__(self) -> str:
        return f"{self.mark} {INDENT * self.depth}{self.text}{self.note and f'  ← {self.note}'}".rstrip()


def difference(expected: Sequence[Expected], nodes: Sequence[Tree], *, any_order: bool) -> str | None:
    """What is not as expected, for a person; None when everything is."""
    if is_same(expected, nodes):
        return None
    fits = Fits(expected, nodes, any_order=any_order)
    if fits.below(expected, nodes):
        return None
    lines = list(_lines(fits, expected, nodes))
    counts = _counted(lines)
    return "\n".join([f"the runs are not as expected ({counts}; - is expected, + is recorded):", *_shown(lines)])


def _lines(fits: Fits, expected: Sequence[Expected], nodes: Sequence[Tree]) -> Iterator[_Line]:
    pending = [(0, couple) for couple in reversed(fits.couples(expected, nodes))]
    while pending:
        depth, (line, node) = pending.pop()
        if line is None and node is not None:
            yield _Line("+", depth, line_of(node.record), "not expected")
            pending += [(depth + 1, Couple(None, child)) for child in reversed(node.children)]
        elif node is None and line is not None:
            yield _Line("-", depth, line.text, "missing")
            runs = [child for child in reversed(line.children) if child.run is not None]
            pending += [(depth + 1, Couple(child, None)) for child in runs]
        elif line is not None and node is not None:
            yield from _both(line, node, depth)
            pending += [(depth + 1, couple) for couple in reversed(fits.couples(line.children, node.children))]


def _both(line: Expected, node: Tree, depth: int) -> Iterator[_Line]:
    if line.meets(node) or line.run is None:
        yield _Line(" ", depth, line.text)
        return
    if not line.run.meets(node):
        yield _Line("-", depth, line.text)
        differing = ", ".join(line.run.differing(node))
        yield _Line("+", depth, line.run.told(node), f"different: {differing}" if differing else "different")
        return
    yield _Line(" ", depth, line.text)
    for text in line.decisions:
        yield _Line("-", depth + 1, text)
    for decision in node.record.decisions:
        yield _Line("+", depth + 1, decision_line(decision), "decided")


def _counted(lines: Sequence[_Line]) -> str:
    notes = [line.note.partition(":")[0] for line in lines if line.note]
    counts = {note: notes.count(note) for note in ("missing", "not expected", "different", "decided")}
    words = {"different": "different", "decided": "decided differently"}
    return ", ".join(f"{count} {words.get(note, note)}" for note, count in counts.items() if count)


def _shown(lines: Sequence[_Line]) -> Iterator[str]:
    """The lines that differ, with those around and above them; how many others there are between."""
    kept = _kept(lines)
    skipped = shown = 0
    for place, line in enumerate(lines):
        if not kept[place]:
            skipped += 1
            continue
        if skipped:
            yield f"  … {skipped:,} as expected"
            skipped = 0
        if shown == _MOST_LINES:
            yield f"… and {len(lines) - place:,} more lines"
            return
        shown += 1
        yield str(line)
    if skipped:
        yield f"  … {skipped:,} as expected"


def _kept(lines: Sequence[_Line]) -> list[bool]:
    kept = [False] * len(lines)
    for place, line in enumerate(lines):
        if line.mark != " ":
            first, last = max(0, place - _AROUND), place + _AROUND + 1
            kept[first:last] = [True] * len(kept[first:last])
    above = 0
    for place in range(len(lines) - 1, -1, -1):  # from below: what leads to something that is kept
        if kept[place] or lines[place].depth < above:
            kept[place] = True
            above = lines[place].depth
        # else: beside or below what is kept, and not on the way to it
    return kept
