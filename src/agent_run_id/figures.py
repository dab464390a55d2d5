"""Figures: what a run comes to by itself, and with all below it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from agent_run_id.rendering import SYMBOLS
from agent_run_id.usage import roll_up

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from agent_run_id.schema import RunRecord, Status, UsageTotal

__all__ = ["Figures", "Sums", "self_time", "sum_up"]

_STATUSES: Final[tuple[Status | None, ...]] = tuple(SYMBOLS)
_PLACE: Final = {status: place for place, status in enumerate(_STATUSES)}
_ONE: Final = {status: tuple(int(status == other) for other in _STATUSES) for status in _STATUSES}


@dataclass(frozen=True, slots=True)
class Figures:
    """What runs come to. What is not known is None, never 0.

    Attributes:
        usage: What they used.
        runs: How many of them there are, by status; None is that of a run that nobody recorded.
        started_at: When the first of them started, as far as it is known.
        ended_at: When the last of them ended; None where the end of any is not known, as of one that is lost.
        elapsed: How long it took: of one run by the clock of its process, of several from the first start to the last
            end, by the clocks of all their machines.
    """

    usage: UsageTotal
    runs: dict[Status | None, int]
    started_at: datetime | None
    ended_at: datetime | None
    elapsed: timedelta | None


class Sums(NamedTuple):
    """What is kept of the figures of a run and of all below it; most runs have nothing below, and share theirs."""

    own: UsageTotal
    usage: UsageTotal
    counts: tuple[int, ...]
    size: int
    started_at: datetime | None
    ended_at: datetime | None

    def of(self, record: RunRecord) -> Figures:
        """The figures of the run alone."""
        return Figures(self.own, {record.status: 1}, record.started_at, record.ended_at, record.elapsed)

    def of_all(self) -> Figures:
        """The figures of the run and all below it."""
        runs: dict[Status | None, int] = {
            status: count for status, count in zip(_STATUSES, self.counts, strict=True) if count
        }
        wall = None
        if self.started_at is not None and self.ended_at is not None:
            wall = max(self.ended_at - self.started_at, timedelta(0))
        return Figures(self.usage, runs, self.started_at, self.ended_at, wall)


def sum_up(records: Sequence[RunRecord], parents: Sequence[int]) -> list[Sums]:
    """The figures of every run of a tree, in one pass from the leaves up.

    Args:
        records: Its runs, parents before children.
        parents: The places of their parents among them; of the first it is -1.
    """
    usages = roll_up(
        (place, None if parent < 0 else parent, record.usage)
        for place, (record, parent) in enumerate(zip(records, parents, strict=True))
    )
    counts: dict[int, list[int]] = {}
    starts = [record.started_at for record in records]
    ends = [record.ended_at for record in records]
    sums: list[Sums] = []
    for place in range(len(records) - 1, -1, -1):
        status, below = records[place].status, counts.pop(place, None)
        if below is not None:
            below[_PLACE[status]] += 1
        all_of_it = _ONE[status] if below is None else tuple(below)
        size = 1 if below is None else sum(below)
        sums.append(Sums(*usages[place], all_of_it, size, starts[place], ends[place]))
        parent = parents[place]
        if parent >= 0:
            _count(counts, parent, status if below is None else all_of_it)
            starts[parent] = _first(starts[parent], starts[place])
            ends[parent] = _last(ends[parent], ends[place])
    sums.reverse()
    return sums


def _count(counts: dict[int, list[int]], parent: int, more: Status | tuple[int, ...] | None) -> None:
    so_far = counts.get(parent)
    if so_far is None:
        so_far = counts[parent] = [0] * len(_STATUSES)
    if isinstance(more, tuple):
        counts[parent] = [one + other for one, other in zip(so_far, more, strict=True)]
    else:
        so_far[_PLACE[more]] += 1


def _first(one: datetime | None, other: datetime | None) -> datetime | None:
    return other if one is None or (other is not None and other < one) else one


def _last(one: datetime | None, other: datetime | None) -> datetime | None:
    return None if one is None or other is None else max(one, other)


def self_time(record: RunRecord, children: Iterable[RunRecord]) -> timedelta | None:
    """How much of its time a run spent with none of these children under way; None where any of it is not known.

    Args:
        record: The run.
        children: The runs directly below it, in the order they started.
    """
    whole = _span(record)
    if whole is None:
        return None
    (reached, end), alone = whole, timedelta(0)
    for child in children:
        span = _span(child)
        if span is None or (record.started_at is not None and span[0] < record.started_at):
            return None  # not known, or by a clock that tells another time
        if span[0] > reached:
            alone += min(span[0], end) - reached
        reached = min(max(reached, span[1]), end)
    return alone + (end - reached)


def _span(record: RunRecord) -> tuple[datetime, datetime] | None:
    if record.started_at is None or record.elapsed is None:
        return None
    return record.started_at, record.started_at + record.elapsed
