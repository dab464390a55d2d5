"""Outline: the text that says what runs there should be, as nodes. What stands further to the right is below."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

from agent_run_id.errors import InvalidTreeTextError
from agent_run_id.rendering import brief, clean
from agent_run_id.testing.lines import Written, is_printed, read_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Self

    from agent_run_id.schema import DecisionRecord
    from agent_run_id.testing.lines import Printed
    from agent_run_id.tree import Tree

__all__ = ["Expected", "decision_line", "levels", "read_outline"]

_BRANCHES: Final = re.compile(r"[\s│├└─╌]*")
_RESTART: Final = re.compile(r"[ │]*⋯\d+ ")
_TIMES: Final = re.compile(r"\s[×x]\d+(?!\S)")
_MOST_RUNS: Final = 1_000_000
_DECISION: Final = "◆ "


class _Node(Protocol):
    @property
    def children(self) -> Sequence[Self]: ...


N = TypeVar("N", bound=_Node)


class Expected:
    """A line of the text: a run, or whatever else is in its place.

    Attributes:
        text: The line as it was written, without what it is indented by.
        run: What it says; None for whatever else is here.
        children: The lines below it.
        decisions: What it says of the decisions of the run; empty when it says nothing.
    """

    __slots__ = ("children", "decisions", "run", "text")

    text: str
    run: Written | Printed | None
    children: list[Expected]
    decisions: list[str]

    def __init__(self, text: str, run: Written | Printed | None) -> None:
        self.text = text
        self.run = run
        self.children = []
        self.decisions = []

    @property
    def name(self) -> str | None:
        """The name of the run; None where it has none, or where it is not known or of no matter."""
        return self.run.name if isinstance(self.run, Written) else None

    def meets(self, node: Tree) -> bool:
        """Whether a recorded run is what the line says, without those below it."""
        return self.run is not None and self.run.meets(node) and self._decides_as(node.record.decisions)

    def _decides_as(self, decisions: tuple[DecisionRecord, ...]) -> bool:
        if not self.decisions:
            return True
        if len(self.decisions) != len(decisions):
            return False
        return all(
            line in [decision_line(decision, parts) for parts in range(1, 5)]
            for line, decision in zip(self.decisions, decisions, strict=True)
        )


def decision_line(decision: DecisionRecord, parts: int = 4) -> str:
    """A decision as a drawn tree shows it, or the first parts of that: question, choice, reason, outcome."""
    said = [
        f"{_DECISION}{decision.question}",
        f" → {brief(decision.chosen)}",
        f": {decision.why}",
        f" ⇒ {decision.outcome}" if decision.outcome else "",
    ]
    return clean("".join(said[:parts])).strip()


def read_outline(text: str) -> list[Expected]:
    """Read a text that says what runs there should be.

    Raises:
        InvalidTreeTextError: (a `ValueError`) a line is not understood, or is indented like no line above it.
    """
    found: list[Expected] = []
    columns: list[tuple[int, list[Expected]]] = []  # of the lines above that can have this one beside them
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            _add(line.rstrip().expandtabs(), found, columns)
        except InvalidTreeTextError as error:
            raise InvalidTreeTextError(f"line {number}, {line.strip()[:120]!r}: {error}") from None
    return _equals_shared(found)


def _equals_shared(top: list[Expected]) -> list[Expected]:
    """The same lines, one for all that say the same and have the same below: a thousand alike are compared once."""
    known: dict[tuple[object, ...], Expected] = {}
    shared: dict[int, Expected] = {}
    sizes: dict[int, int] = {}
    for line in (line for level in reversed(levels(top)) for line in level):
        line.children = [shared[id(child)] for child in line.children]
        shared[id(line)] = known.setdefault((line.text, *line.decisions, *map(id, line.children)), line)
        sizes[id(line)] = 1 + sum(sizes[id(child)] for child in line.children)
    if sum(sizes[id(line)] for line in top) > _MOST_RUNS:
        raise InvalidTreeTextError(f"these are more than {_MOST_RUNS:,} runs; '...' stands for any number of them")
    return [shared[id(line)] for line in top]


def levels(top: Sequence[N]) -> list[list[N]]:
    """What is at the top, what is directly below that, and so on; each once."""
    found: list[list[N]] = []
    level: Iterable[N] = top
    while once := list({id(node): node for node in level}.values()):
        found.append(once)
        level = (child for node in once for child in node.children)
    return found


def _add(line: str, found: list[Expected], columns: list[tuple[int, list[Expected]]]) -> None:
    if _RESTART.match(line):
        raise InvalidTreeTextError("a tree is drawn anew on the left at its fiftieth level; take tree_text instead")
    branches = _BRANCHES.match(line)
    column = branches.end() if branches else 0
    text = line[column:]
    if text.startswith(_DECISION):
        _last_of(columns, column).decisions.append(clean(text))
        return
    siblings = _beside(column, found, columns)
    if text.startswith(("…", "...")) and not is_printed(text):  # these dots are the symbol of a run, too
        siblings.append(Expected(text, None))
        return
    run, times = read_line(text)
    node = Expected(text if times == 1 else _TIMES.sub("", text, count=1), run)
    siblings += [node] * times


def _beside(column: int, found: list[Expected], columns: list[tuple[int, list[Expected]]]) -> list[Expected]:
    """The lines that one in this column belongs to."""
    while columns and columns[-1][0] > column:
        columns.pop()
    if columns and columns[-1][0] == column:
        return columns[-1][1]
    if not columns and found:
        raise InvalidTreeTextError("it stands further to the left than the first line")
    siblings = found
    if columns:
        above = columns[-1][1][-1]
        if above.run is None:
            raise InvalidTreeTextError("below '...' nothing can stand: that is whatever else there is")
        siblings = above.children
        if siblings:
            raise InvalidTreeTextError("it is indented like no line above it")
    columns.append((column, siblings))
    return siblings


def _last_of(columns: list[tuple[int, list[Expected]]], column: int) -> Expected:
    if not columns or column <= columns[-1][0] or columns[-1][1][-1].run is None:
        raise InvalidTreeTextError("a decision stands below the line of its run, further to the right")
    return columns[-1][1][-1]
