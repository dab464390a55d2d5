"""Waterfalls: when each run of a tree was under way, as a bar beside it."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from datetime import datetime

    from agent_run_id.schema import RunRecord
    from agent_run_id.tree import Tree

__all__ = ["Bar", "Waterfall"]


class Bar(NamedTuple):
    """Where a bar begins and how wide it is, in percent of the whole; together no more than 100."""

    left: float
    width: float


class Waterfall:
    """The time from the start of the first run to the last that is known of any run below it.

    That is not when the first run ended: what it sent to a queue goes on after it.

    Args:
        tree: The runs.
        now: The moment until which those run that have not ended.

    Attributes:
        starts_at: Where the bars begin; None where no start is known.
        span: How long all of it is.
    """

    def __init__(self, tree: Tree, now: datetime) -> None:
        self._now = now
        self.starts_at: datetime | None = tree.record.started_at or tree.subtree.started_at
        ends = [end for node in tree.walk() if (end := self._end(node.record)) is not None]
        self.span: timedelta = timedelta(0) if self.starts_at is None or not ends else max(ends) - self.starts_at

    def bar(self, record: RunRecord) -> Bar | None:
        """The bar of a run; None where its start or its end is not known, or nothing took any time.

        What a clock that disagrees puts before the beginning is drawn at the beginning.
        """
        end = self._end(record)
        if record.started_at is None or end is None or self.starts_at is None or self.span <= timedelta(0):
            return None
        left, right = (_percent((when - self.starts_at) / self.span) for when in (record.started_at, end))
        return Bar(left, max(right - left, 0.0))

    def _end(self, record: RunRecord) -> datetime | None:
        if record.started_at is None:
            return None
        silent = record.process is None or record.process.state == "unknown"
        end = self._now if record.status == "running" and not silent else record.ended_at or record.last_event_at
        if end is not None and end < record.started_at:  # its clock was set back
            end = record.started_at + max(record.elapsed or timedelta(0), timedelta(0))
        return end


def _percent(share: float) -> float:
    return min(max(100 * share, 0.0), 100.0)
