"""The tree: a run with everything below it.

Nothing here recurses, so a chain of a hundred thousand runs is as good as a row of them.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from weakref import ref

from agent_run_id.collector import collector_off
from agent_run_id.drawing import Row, draw
from agent_run_id.errors import InvalidRunIdError, RunNotFound
from agent_run_id.figures import Figures, Sums, self_time, sum_up
from agent_run_id.frozen import Frozen, put
from agent_run_id.growing import Place, places, sketch
from agent_run_id.ids import RunId
from agent_run_id.usage import by_model

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from datetime import timedelta

    from agent_run_id.growing import Lineage, Sketch
    from agent_run_id.schema import RunRecord, Status, UsageTotal

__all__ = ["Tree", "grow", "grow_sketched"]


class Tree(Frozen):
    """A run and the runs below it. Iterating gives every node, parents before children, in the order they started.

    Attributes:
        children: The trees of the runs directly below it, in the order they started: by time, process and number.
        detached: Whether the run that should be between this one and its parent was never recorded.
        skew: How long before the run it hangs from it claims to have started, which only clocks that disagree can
            bring about; None when it does not.
    """

    __slots__ = (
        "__weakref__",
        "_lineage",
        "_record",
        "_sketch",
        "_sums",
        "_top",
        "_whole",
        "children",
        "detached",
        "skew",
    )

    children: tuple[Tree, ...]
    detached: bool
    skew: timedelta | None
    _sketch: Sketch
    _lineage: Lineage
    _record: RunRecord | None
    _sums: Sums | None
    _top: ref[Tree] | None  # weak, or a tree of a million runs would wait for the collector
    _whole: Tree | None

    def __init__(self, place: Place) -> None:
        put(self, "_sketch", place.sketch)
        put(self, "_lineage", place.lineage)
        put(self, "_record", None)
        put(self, "children", ())
        put(self, "detached", place.detached)
        put(self, "skew", place.skew)
        put(self, "_sums", None)
        put(self, "_top", None)
        put(self, "_whole", None)

    @property
    def record(self) -> RunRecord:
        """The run, with what it has from the runs above: root and depth, user and session."""
        if self._whole is not None:
            return self._whole.record
        record = self._record
        if record is None:  # two threads at once make the same
            record = self._sketch.make(self._lineage)
            put(self, "_record", record)
        return record

    def __iter__(self) -> Iterator[Tree]:
        return self.walk()

    def __len__(self) -> int:
        return len(_level_by_level(self)[0])

    def __bool__(self) -> bool:
        return True  # it has its own run at least; counting them all to say so would cost a walk

    def __repr__(self) -> str:
        return f"<Tree of {self._sketch.id[:8]} {self.record.name!r}: {len(self)} runs>"

    def __str__(self) -> str:
        return self.render()

    def __copy__(self) -> Tree:
        return self

    def __reduce__(self) -> tuple[Callable[..., Tree], tuple[Any, ...]]:
        # As a list: pickle follows what is nested by calling itself.
        nodes, parents = _level_by_level(self)
        if self._whole is not None:
            return _filtered, (self._whole, {node._sketch.id for node in nodes})
        return _rebuilt, ([(node.record, node.detached, node.skew) for node in nodes], parents)

    # Looking ----------------------------------------------------------------------------------------------------------

    def walk(self) -> Iterator[Tree]:
        """Every node: this one first, each before its children, siblings in the order they started."""
        pending: list[Tree] = [self]
        while pending:
            node = pending.pop()
            yield node
            pending.extend(reversed(node.children))

    def find(
        self,
        what: RunId | str | Callable[[Tree], object] | None = None,
        /,
        *,
        name: str | None = None,
        status: Status | None = None,
        kind: str | None = None,
        key: str | None = None,
    ) -> list[Tree]:
        """The nodes that meet every condition given, in the order of `walk`.

        Args:
            what: An id or its first characters; or a function that is given a node and says whether it is meant.
            name: Their exact name.
            status: Their status.
            kind: Their kind.
            key: Their key.
        """
        wanted = {"name": name, "status": status, "kind": kind, "key": key}
        pairs = [(field, value) for field, value in wanted.items() if value is not None]
        meant = None if what is None else _meant(what)
        return [
            node
            for node in self.walk()
            if all(getattr(node.record, field) == value for field, value in pairs) and (meant is None or meant(node))
        ]

    def path(self, what: RunId | str | Tree) -> list[Tree]:
        """The nodes from this one down to a run below it, both included.

        Args:
            what: A node, or the id of a run or its first characters.

        Raises:
            RunNotFound: (a `LookupError`) no run of this tree answers to `what`, or more than one does.
        """
        text = what._sketch.id if isinstance(what, Tree) else str(what)
        nodes, parents = _level_by_level(self)
        meant = _meant(text)
        found = [place for place, node in enumerate(nodes) if meant(node)]
        if len(found) != 1:
            raise RunNotFound(text, tuple(nodes[place]._sketch.id for place in found))
        (place,), path = found, list[Tree]()
        while place >= 0:
            path.append(nodes[place])
            place = parents[place]
        return path[::-1]

    def nearest_failure(self) -> Tree | None:
        """The run that explains why this one failed; where it did not fail, the nearest below that did; else None.

        From a run that failed it goes down to the one whose error is the same, or else to the last that failed, and
        on from there. A run that was lost counts as failed.
        """
        failed: Tree | None = next((node for node in _level_by_level(self)[0] if _has_failed(node)), None)
        while failed is not None and (cause := _cause_of(failed)) is not None:
            failed = cause
        return failed

    def filter(self, meant: Callable[[Tree], object], /) -> Tree:
        """A tree of the runs for which `meant` is true, of those above them that lead there, and of the first.

        Their figures are those of the tree it was made from; `hidden` says how many runs are left out.

        Args:
            meant: Is given each node.
        """
        nodes, parents = _level_by_level(self)
        kept = [bool(meant(node)) for node in nodes]
        kept[0] = True
        for place in range(len(nodes) - 1, 0, -1):
            if kept[place]:
                kept[parents[place]] = True
        numbers = {place: number for number, place in enumerate(place for place, keep in enumerate(kept) if keep)}
        shown = [nodes[place] for place in numbers]
        return _built(
            [Place(node._sketch, node._lineage, node.detached, node.skew) for node in shown],
            [-1, *(numbers[parents[place]] for place in list(numbers)[1:])],
            [node._whole or node for node in shown],
        )

    # Figures ----------------------------------------------------------------------------------------------------------

    @property
    def own(self) -> Figures:
        """What this run comes to by itself."""
        return _summed(self).of(self.record)

    @property
    def subtree(self) -> Figures:
        """What this run and all below it come to."""
        return _summed(self).of_all()

    @property
    def self_time(self) -> timedelta | None:
        """How much of its time the run spent with no run directly below it under way.

        None where any of it is not known: a run has not ended or was not recorded, or has a clock that disagrees.
        """
        children = (self._whole or self).children
        if any(child.detached or child.skew for child in children):
            return None
        return self_time(self.record, (child.record for child in children))

    @property
    def hidden(self) -> int:
        """How many of the runs below this one, and below none of its children, `filter` left out."""
        if self._whole is None:
            return 0
        return _summed(self).size - 1 - sum(_summed(child).size for child in self.children)

    def usage(self) -> UsageTotal:
        """What this run and all below it used; the same call reported twice counts once.

        A report that says it includes the runs below counts only where these report nothing themselves.
        """
        return _summed(self).usage

    def usages(self) -> dict[str, UsageTotal]:
        """What each node and all below it used, by id."""
        return {node._sketch.id: _summed(node).usage for node in self.walk()}

    def usage_by_model(self, *, own: bool = False) -> dict[str, UsageTotal]:
        """What this run and all below it used, by model.

        Args:
            own: Whether to leave out what is below.
        """
        whole = self._whole or self
        if own:
            reports = whole.record.usage if _summed(whole).own.calls else ()
            return by_model([(0, None, reports)])
        nodes, parents = _level_by_level(whole)
        return by_model(
            (place, parent if parent >= 0 else None, node.record.usage)
            for place, (node, parent) in enumerate(zip(nodes, parents, strict=True))
        )

    # Drawing ----------------------------------------------------------------------------------------------------------

    def render(
        self,
        *,
        max_depth: int | None = None,
        max_children: int | None = None,
        fold: int | None = None,
        figures: bool = False,
    ) -> str:
        """The tree as text, a line for each run, with its decisions below it.

        Args:
            max_depth: How many levels below this run are drawn; None for all. What is left out is counted.
            max_children: How many of the runs directly below each are drawn; None for all.
            fold: Runs directly below one other that are alike - of one kind, with names that differ in numbers only -
                and more than so many, become one line, with the first that did not go well below it; None draws each.
            figures: Whether to tell what each comes to by itself beside what it comes to with all below.
        """
        rows = self.rows(max_depth=max_depth, max_children=max_children, fold=fold, figures=figures)
        return "\n".join(f"{row.head}{row.line}" for row in rows)

    def rows(
        self,
        *,
        max_depth: int | None = None,
        max_children: int | None = None,
        fold: int | None = None,
        figures: bool = False,
    ) -> Iterator[Row]:
        """The lines of `render`, with the branches they hang on apart from what they say."""
        return draw(self, max_depth=max_depth, max_children=max_children, fold=fold, figures=figures)


def grow(top: RunRecord, below: Iterable[RunRecord]) -> Tree:
    """Build the tree of `top` from the records below it, in any order.

    A record whose parent is not among them hangs from its root, or from the top, marked as detached; so does one of
    those that claim to be above each other. User and session come from the nearest run above that says so. Nothing is
    rejected for its time.
    """
    return grow_sketched(sketch(top), map(sketch, below))


@collector_off()
def grow_sketched(top: Sketch, below: Iterable[Sketch]) -> Tree:
    """What `grow` does, from less: the record of a run is made when somebody looks at it."""
    return _built(*places(top, below))


@collector_off()
def _built(found: Iterable[Place], parents: Sequence[int], wholes: Sequence[Tree] | None = None) -> Tree:
    """The tree of runs that are given level by level, with the places of their parents."""
    nodes = [Tree(place) for place in found]
    top = ref(nodes[0])
    for node in nodes:
        put(node, "_top", top)
    for node, whole in zip(nodes, wholes or (), strict=False):
        put(node, "_whole", whole)
    # Level by level, the children of each are beside each other, and after those of all that stand before it.
    last = 1
    while last < len(nodes):
        first, parent = last, parents[last]
        while last < len(nodes) and parents[last] == parent:
            last += 1
        put(nodes[parent], "children", tuple(nodes[first:last]))
    return nodes[0]


def _rebuilt(nodes: Iterable[tuple[RunRecord, bool, timedelta | None]], parents: Sequence[int]) -> Tree:
    found = ((sketch(record), detached, skew) for record, detached, skew in nodes)
    return _built((Place(run, run.own, detached, skew) for run, detached, skew in found), parents)


def _summed(node: Tree) -> Sums:
    """The sums of a node, made for its whole tree when they are first asked for."""
    node = node._whole or node
    if node._sums is None:
        top = None if node._top is None else node._top()
        nodes, parents = _level_by_level(node if top is None else top)
        with collector_off():
            for other, sums in zip(nodes, sum_up([one.record for one in nodes], parents), strict=True):
                put(other, "_sums", sums)
    assert node._sums is not None  # noqa: S101 - it is one of those
    return node._sums


def _filtered(whole: Tree, kept: set[str]) -> Tree:
    return whole.filter(lambda node: node._sketch.id in kept)


def _level_by_level(top: Tree) -> tuple[list[Tree], list[int]]:
    """All nodes, and the places of their parents among them; that of the first is -1."""
    nodes: list[Tree] = [top]
    parents = [-1]
    for place, node in enumerate(nodes):  # it grows meanwhile
        if node.children:
            nodes += node.children
            parents += [place] * len(node.children)
    return nodes, parents


def _meant(what: RunId | str | Callable[[Tree], object]) -> Callable[[Tree], object]:
    """The condition that a node answers to an id, or to the first characters of one."""
    if callable(what):
        return what
    text = str(what).strip().lower().partition(".")[0]
    try:
        text = RunId(text).value
    except InvalidRunIdError:
        text = text.replace("-", "")
        return lambda node: bool(text) and node._sketch.id.replace("-", "").startswith(text)
    return lambda node: node._sketch.id == text


def _has_failed(node: Tree) -> bool:
    return node.record.status in ("failed", "lost")


def _cause_of(failed: Tree) -> Tree | None:
    below = [child for child in failed.children if _has_failed(child)]
    error = _error_of(failed)
    same = [child for child in below if error is not None and _error_of(child) == error]
    return max(same or below, key=_last_heard_of, default=None)


def _error_of(node: Tree) -> tuple[str | None, str] | None:
    error = node.record.error
    return None if error is None else (error.type, error.message)


def _last_heard_of(node: Tree) -> datetime:
    return node.record.ended_at or node.record.last_event_at or datetime.min.replace(tzinfo=UTC)
