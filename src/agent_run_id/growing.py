"""Growing: where each run stands in a tree, from records in any order, with missing ones, wrong clocks and rings."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from agent_run_id.schema import RunRecord

__all__ = ["Lineage", "Place", "Sketch", "places", "sketch"]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Lineage(NamedTuple):
    """What a run has from the runs above it, by the names these fields have in its record."""

    root_id: str
    depth: int
    user_id: str | None
    session_id: str | None


class Sketch(NamedTuple):
    """What must be known of a run to find its place. Of most runs of a large tree nobody asks for more.

    Attributes:
        id: Its id.
        parent_id: What it says is its parent.
        own: What it says of itself.
        started_at: When, in microseconds since 1970; None when its start is not known.
        process: The id of its owner, or an empty text.
        seq: The number of its start there, or 0.
        make: Makes its record, given where it was found to be.
    """

    id: str
    parent_id: str | None
    own: Lineage
    started_at: int | None
    process: str
    seq: int
    make: Callable[[Lineage], RunRecord]


class Place(NamedTuple):
    """A run where it stands; see `agent_run_id.Tree` for the marks.

    Attributes:
        sketch: What it says of itself.
        lineage: What it has from the runs above.
        detached: See there.
        skew: See there.
    """

    sketch: Sketch
    lineage: Lineage
    detached: bool
    skew: timedelta | None


def sketch(record: RunRecord) -> Sketch:
    """The sketch of a run whose record is there."""
    started = None if record.started_at is None else (record.started_at - _EPOCH) // timedelta(microseconds=1)
    process = "" if record.process is None else record.process.id
    own = Lineage(record.root_id, record.depth, record.user_id, record.session_id)
    return Sketch(record.id, record.parent_id, own, started, process, record.seq or 0, partial(_moved, record, own))


def _moved(record: RunRecord, own: Lineage, lineage: Lineage) -> RunRecord:
    return record if lineage == own else record.model_copy(update=lineage._asdict())


def places(top: Sketch, below: Iterable[Sketch]) -> tuple[Iterator[Place], list[int]]:
    """The runs of a tree level by level, siblings in the order they started, and the places of their parents."""
    runs = _each_once(top, below)
    hangs, detached = _hung(top, runs)
    order, parents = _levels(top, runs, hangs)
    if len(order) < len(runs):
        reached = {run.id for run in order}
        for ring in _rings({run: parent for run, parent in hangs.items() if run not in reached}):
            first = min(ring, key=lambda run: _started(runs[run]))
            hangs[first] = top.id
            detached.add(first)
        order, parents = _levels(top, runs, hangs)
    return _placed(order, parents, detached), parents


def _each_once(top: Sketch, below: Iterable[Sketch]) -> dict[str, Sketch]:
    runs = {top.id: top}
    for run in below:
        known = runs.setdefault(run.id, run)
        if known is not run and known is not top and _started(run) < _started(known):
            runs[run.id] = run
    return runs


def _hung(top: Sketch, runs: Mapping[str, Sketch]) -> tuple[dict[str, str], set[str]]:
    """What each run hangs from, and which of them not from their parent."""
    hangs: dict[str, str] = {}
    detached: set[str] = set()
    for name, run in runs.items():
        parent = run.parent_id
        if parent is None or parent not in runs:
            detached.add(name)
            parent = run.own.root_id if run.own.root_id in runs else top.id
        hangs[name] = parent
    del hangs[top.id]
    return hangs, detached - {top.id}


def _levels(top: Sketch, runs: Mapping[str, Sketch], hangs: Mapping[str, str]) -> tuple[list[Sketch], list[int]]:
    children: dict[str, list[Sketch]] = {}
    for name, parent in hangs.items():
        children.setdefault(parent, []).append(runs[name])
    order, parents = [top], [-1]
    for place, run in enumerate(order):  # it grows meanwhile
        below = children.get(run.id)
        if below is not None:
            if len(below) > 1:
                below.sort(key=_started)
            order += below
            parents += [place] * len(below)
    return order, parents


def _rings(hangs: Mapping[str, str]) -> Iterator[list[str]]:
    """The rings among runs that are all below one of them."""
    seen: set[str] = set()
    for run in hangs:
        path: dict[str, int] = {}
        while run not in seen:
            seen.add(run)
            path[run] = len(path)
            run = hangs[run]
        if run in path:
            yield list(path)[path[run] :]


def _started(run: Sketch) -> tuple[bool, int | None, str, int, str]:
    return (run.started_at is None, run.started_at, run.process, run.seq, run.id)


def _placed(order: Sequence[Sketch], parents: Sequence[int], detached: set[str]) -> Iterator[Place]:
    lineages = [order[0].own]
    yield Place(order[0], lineages[0], detached=False, skew=None)
    handed_by, handed = -1, lineages[0]
    for run, parent in zip(order[1:], parents[1:], strict=True):
        if parent != handed_by:  # most of its children take what it hands down as it is
            handed_by, handed = parent, lineages[parent]._replace(depth=lineages[parent].depth + 1)
        lineage, cut, (_, _, user, session) = handed, run.id in detached, run.own
        if cut:
            lineage = lineage._replace(depth=_depth_without_parent(run, order[parent], handed.depth - 1))
        if user is not None or session is not None:
            lineage = lineage._replace(
                user_id=lineage.user_id if user is None else user,
                session_id=lineage.session_id if session is None else session,
            )
        lineages.append(lineage)
        yield Place(run, lineage, cut, _skew(run, order[parent]))


def _depth_without_parent(run: Sketch, above: Sketch, depth: int) -> int:
    """What it says of itself, counted from its root where that is known."""
    return depth + run.own.depth if run.own.root_id == above.id else run.own.depth


def _skew(run: Sketch, above: Sketch) -> timedelta | None:
    started, before = run.started_at, above.started_at
    return None if started is None or before is None or started >= before else timedelta(microseconds=before - started)
