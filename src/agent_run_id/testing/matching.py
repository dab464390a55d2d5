"""Matching: which recorded run is which of those that were expected.

Nothing here recurses, as nothing in a tree does: a chain of ten thousand runs can be compared like any other.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple

from agent_run_id.testing.outline import levels

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent_run_id.testing.outline import Expected
    from agent_run_id.tree import Tree


__all__ = ["Couple", "Fits", "is_same"]

# What it costs to take siblings for lines that they do not fit.
_MISSING: Final = 20
_ADDITIONAL: Final = 20
_OTHERS_BELOW: Final = 10
_SAME_NAME: Final = 15
_RENAMED: Final = 30
_NEVER: Final = 41


class Couple(NamedTuple):
    """A line and the run it was taken for; one of them None where it has no other."""

    expected: Expected | None
    node: Tree | None


class Fits:
    """Which runs fit which lines, with everything below them.

    Args:
        expected: The lines at the top.
        nodes: The recorded trees.
        any_order: Whether siblings may have started in any order.
    """

    def __init__(self, expected: Sequence[Expected], nodes: Sequence[Tree], *, any_order: bool) -> None:
        self._any_order = any_order
        self._fits: set[tuple[int, int]] = set()
        # From the deepest level up, so that what is below each has been decided.
        for lines, runs in reversed([*zip(levels(expected), levels(nodes), strict=False)]):
            self._decide(lines, runs)

    def _decide(self, lines: Sequence[Expected], runs: Sequence[Tree]) -> None:
        by_name: dict[str | None, list[Tree]] = {}
        for node in runs:
            by_name.setdefault(node.record.name, []).append(node)
        for line in lines:
            for node in runs if line.name is None else by_name.get(line.name, ()):
                if line.meets(node) and self.below(line.children, node.children):
                    self._fits.add((id(line), id(node)))

    def one(self, line: Expected, node: Tree) -> bool:
        """Whether a run fits a line."""
        return (id(line), id(node)) in self._fits

    def below(self, lines: Sequence[Expected], nodes: Sequence[Tree]) -> bool:
        """Whether siblings fit the lines beside each other."""
        if self._any_order:
            runs = [line for line in lines if line.run is not None]
            if len(runs) > len(nodes) or (len(runs) == len(lines) and len(runs) != len(nodes)):
                return False
            return len(self._coupled(runs, nodes)) == len(runs)
        places = {0}  # how many of the siblings the lines so far can have taken
        for line in lines:
            if line.run is None:
                places = set(range(min(places), len(nodes) + 1))
            else:
                places = {place + 1 for place in places if place < len(nodes) and self.one(line, nodes[place])}
            if not places:
                return False
        return len(nodes) in places

    # Where something does not fit -------------------------------------------------------------------------------------

    def couples(self, lines: Sequence[Expected], nodes: Sequence[Tree]) -> list[Couple]:
        """Siblings beside the lines that most likely mean them, without those that may be there whatever they are."""
        return self._in_any_order(lines, nodes) if self._any_order else self._in_order(lines, nodes)

    def _in_order(self, lines: Sequence[Expected], nodes: Sequence[Tree]) -> list[Couple]:
        first, last = self._same_ends(lines, nodes)
        between = self._aligned(lines[first : len(lines) - last], nodes[first : len(nodes) - last])
        before = zip(lines[:first], nodes[:first], strict=True)
        after = zip(lines[len(lines) - last :], nodes[len(nodes) - last :], strict=True)
        return [*(Couple(*pair) for pair in before), *between, *(Couple(*pair) for pair in after)]

    def _same_ends(self, lines: Sequence[Expected], nodes: Sequence[Tree]) -> tuple[int, int]:
        """How many fit at the beginning, and of the rest at the end."""
        most = min(len(lines), len(nodes))
        first = 0
        while first < most and self.one(lines[first], nodes[first]):
            first += 1
        last = 0
        while last < most - first and self.one(lines[-1 - last], nodes[-1 - last]):
            last += 1
        return first, last

    def _aligned(self, lines: Sequence[Expected], nodes: Sequence[Tree]) -> list[Couple]:
        """The alignment that costs least, from a table of what the rest costs from each place on."""
        rest = [[0] * (len(nodes) + 1) for _ in range(len(lines) + 1)]
        for place in range(len(nodes) - 1, -1, -1):
            rest[len(lines)][place] = rest[len(lines)][place + 1] + _ADDITIONAL
        for row in range(len(lines) - 1, -1, -1):
            line = lines[row]
            rest[row][len(nodes)] = rest[row + 1][len(nodes)] + _absent(line)
            for place in range(len(nodes) - 1, -1, -1):
                rest[row][place] = min(
                    rest[row + 1][place] + _absent(line),
                    rest[row][place + 1] + _beside(line),
                    rest[row + 1][place + 1] + self._distance(line, nodes[place]),
                )
        return self._walked(lines, nodes, rest)

    def _walked(self, lines: Sequence[Expected], nodes: Sequence[Tree], rest: list[list[int]]) -> list[Couple]:
        found: list[Couple] = []
        row = place = 0
        while row < len(lines) or place < len(nodes):
            left = rest[row][place]
            line = lines[row] if row < len(lines) else None
            node = nodes[place] if place < len(nodes) else None
            if line and node and left == rest[row + 1][place + 1] + self._distance(line, node):
                found.append(Couple(line, node))
                row, place = row + 1, place + 1
            elif line and left == rest[row + 1][place] + _absent(line):
                if line.run is not None:
                    found.append(Couple(line, None))
                row += 1
            else:
                if line is None or line.run is not None:
                    found.append(Couple(None, node))
                place += 1
        return found

    def _distance(self, line: Expected, node: Tree) -> int:
        """What it costs to take a run for that of a line."""
        if line.run is None:
            return _NEVER
        if self.one(line, node):
            return 0
        if line.meets(node):
            return _OTHERS_BELOW
        if line.name is not None and line.name == node.record.name:
            return _SAME_NAME
        # Another name: only where all below it is as it should be, it is the same run with another name.
        return _RENAMED if self.below(line.children, node.children) else _NEVER

    def _in_any_order(self, lines: Sequence[Expected], nodes: Sequence[Tree]) -> list[Couple]:
        runs = [line for line in lines if line.run is not None]
        taken = self._coupled(runs, nodes)
        left = [place for place in range(len(nodes)) if place not in taken.values()]
        for number, line in enumerate(runs):
            if number not in taken and left:
                nearest = min(left, key=lambda place: self._distance(line, nodes[place]))
                if self._distance(line, nodes[nearest]) < _NEVER:
                    taken[number] = nearest
                    left.remove(nearest)
        found = [Couple(line, nodes[taken[n]] if n in taken else None) for n, line in enumerate(runs)]
        return found if len(runs) < len(lines) else [*found, *(Couple(None, nodes[place]) for place in left)]

    def _coupled(self, lines: Sequence[Expected], nodes: Sequence[Tree]) -> dict[int, int]:
        """For as many lines as possible, each a run of its own that fits: places of lines to those of runs."""
        holder: dict[int, int] = {}  # of runs
        for start in range(len(lines)):
            came_from: dict[int, int] = {}  # for a run, the line that wants it
            queue = deque([start])
            free: int | None = None
            while queue and free is None:
                number = queue.popleft()
                for place in range(len(nodes)):
                    if place in came_from or not self.one(lines[number], nodes[place]):
                        continue
                    came_from[place] = number
                    if place not in holder:
                        free = place
                        break
                    queue.append(holder[place])
            while free is not None:  # each line on the way takes the run it wants, and gives up the one it had
                number = came_from[free]
                given_up = next((place for place, line in holder.items() if line == number), None)
                holder[free] = number
                free = given_up
        return {line: place for place, line in holder.items()}


def is_same(lines: Sequence[Expected], nodes: Sequence[Tree]) -> bool:
    """Whether each run is the one that is said in its very place; so it mostly is, and then that is quickly known."""
    pending = [(lines, nodes)]
    while pending:
        lines, nodes = pending.pop()
        if len(lines) != len(nodes):
            return False
        for line, node in zip(lines, nodes, strict=True):
            if not line.meets(node):
                return False
            pending.append((line.children, node.children))
    return True


def _absent(line: Expected) -> int:
    """What it costs that nothing stands in the place of a line."""
    return 0 if line.run is None else _MISSING


def _beside(line: Expected) -> int:
    """What it costs that a run stands before a line that is not that line's: nothing, where whatever else may."""
    return 0 if line.run is None else _ADDITIONAL
