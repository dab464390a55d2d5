"""Growing: where each run stands in a tree, from records in any order, with missing ones, wrong clocks and rings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import timedelta

    from agent_run_id.schema import RunRecord

__all__ = ["Lineage", "Place", "places"]


class Lineage(NamedTuple):
    """What a run has from the runs above it, by the names these fields have in its record."""

    root_id: str
    depth: int
    user_id: str | None
    session_id: str | None


class Place(NamedTuple):
    """A run where it stands; see `agent_run_id.Tree` for the marks.

    Attributes:
        record: What it says of itself.
        lineage: What is otherwise than it says, because of the runs above; None where nothing is.
        detached: See there.
        skew: See there.
    """

    record: RunRecord
    lineage: Lineage | None
    detached: bool
    skew: timedelta | None


def places(top: RunRecord, below: Iterable[RunRecord]) -> tuple[Iterator[Place], list[int]]:
    """The runs of a tree level by level, siblings in the order they started, and the places of their parents."""
    records = _each_once(top, below)
    hangs, detached = _hung(top, records)
    order, parents = _levels(top, records, hangs)
    if len(order) < len(records):
        reached = {record.id for record in order}
        for ring in _rings({run: parent for run, parent in hangs.items() if run not in reached}):
            first = min(ring, key=lambda run: _started(records[run]))
            hangs[first] = top.id
            detached.add(first)
        order, parents = _levels(top, records, hangs)
    return _placed(order, parents, detached), parents


def _each_once(top: RunRecord, below: Iterable[RunRecord]) -> dict[str, RunRecord]:
    records = {top.id: top}
    for record in below:
        known = records.setdefault(record.id, record)
        if known is not record and known is not top and _started(record) < _started(known):
            records[record.id] = record
    return records


def _hung(top: RunRecord, records: Mapping[str, RunRecord]) -> tuple[dict[str, str], set[str]]:
    """What each run hangs from, and which of them not from their parent."""
    hangs: dict[str, str] = {}
    detached: set[str] = set()
    for run, record in records.items():
        parent = record.parent_id
        if parent is None or parent not in records:
            detached.add(run)
            parent = record.root_id if record.root_id in records else top.id
        hangs[run] = parent
    del hangs[top.id]
    return hangs, detached - {top.id}


def _levels(
    top: RunRecord, records: Mapping[str, RunRecord], hangs: Mapping[str, str]
) -> tuple[list[RunRecord], list[int]]:
    children: dict[str, list[RunRecord]] = {}
    for run, parent in hangs.items():
        children.setdefault(parent, []).append(records[run])
    order, parents = [top], [-1]
    for place, record in enumerate(order):  # it grows meanwhile
        below = children.get(record.id)
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


def _started(record: RunRecord) -> tuple[bool, Any, str, int, str]:
    process = record.process.id if record.process is not None else ""
    return (record.started_at is None, record.started_at, process, record.seq or 0, record.id)


def _placed(order: Sequence[RunRecord], parents: Sequence[int], detached: set[str]) -> Iterator[Place]:
    top = order[0]
    lineages = [Lineage(top.root_id, top.depth, top.user_id, top.session_id)]
    yield Place(top, None, detached=False, skew=None)
    handed_by, handed = -1, lineages[0]
    for record, parent in zip(order[1:], parents[1:], strict=True):
        if parent != handed_by:  # most of its children take what it hands down as it is
            handed_by, handed = parent, lineages[parent]._replace(depth=lineages[parent].depth + 1)
        lineage, cut, user, session = handed, record.id in detached, record.user_id, record.session_id
        if cut:
            lineage = lineage._replace(depth=_depth_without_parent(record, order[parent], handed.depth - 1))
        if user is not None or session is not None:
            lineage = lineage._replace(
                user_id=lineage.user_id if user is None else user,
                session_id=lineage.session_id if session is None else session,
            )
        lineages.append(lineage)
        told = lineage == (record.root_id, record.depth, user, session)
        yield Place(record, None if told else lineage, cut, _skew(record, order[parent]))


def _depth_without_parent(record: RunRecord, above: RunRecord, depth: int) -> int:
    """What it says of itself, counted from its root where that is known."""
    return depth + record.depth if record.root_id == above.id else record.depth


def _skew(record: RunRecord, above: RunRecord) -> timedelta | None:
    started, before = record.started_at, above.started_at
    return None if started is None or before is None or started >= before else before - started
