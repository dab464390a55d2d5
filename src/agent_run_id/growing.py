"""Growing: where each run stands in a tree, from records in any order, with missing ones, wrong clocks and rings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import timedelta

    from agent_run_id.schema import RunRecord

__all__ = ["Place", "places"]


class Place(NamedTuple):
    """A run where it stands: with what it has from the runs above; see `agent_run_id.Tree` for the marks."""

    record: RunRecord
    detached: bool
    skew: timedelta | None


def places(top: RunRecord, below: Iterable[RunRecord]) -> tuple[list[Place], list[int]]:
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
    placed = [Place(top, detached=False, skew=None)]
    for record, parent in zip(order[1:], parents[1:], strict=True):
        placed.append(_placed(record, placed[parent].record, detached=record.id in detached))
    return placed, parents


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


def _placed(record: RunRecord, parent: RunRecord, *, detached: bool) -> Place:
    depth = parent.depth + 1
    if detached:
        depth = parent.depth + record.depth if record.root_id == parent.id else record.depth
    user = parent.user_id if record.user_id is None else record.user_id
    session = parent.session_id if record.session_id is None else record.session_id
    place = (record.root_id, record.depth, record.user_id, record.session_id)
    skew = None
    if record.started_at is not None and parent.started_at is not None and record.started_at < parent.started_at:
        skew = parent.started_at - record.started_at
    if place != (parent.root_id, depth, user, session):  # a copy is what costs most here
        update = {"root_id": parent.root_id, "depth": depth, "user_id": user, "session_id": session}
        record = record.model_copy(update=update)
    return Place(record, detached, skew)
