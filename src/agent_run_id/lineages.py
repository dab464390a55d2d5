"""Lineages: which runs are below one, as far as their tokens tell.

A token names its parent and its root, not what is between. So a run is below another one if its parent is, or its root:
a bare id that came from elsewhere is its own root, until the record of its start says better.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from agent_run_id.ids import RunId

__all__ = ["Below"]


class Below:
    """The ids of a run and of all below it.

    Args:
        ids: Those that are known.

    Attributes:
        is_unsure: Whether it takes more events to tell of some runs whether they are below.
    """

    is_unsure: bool

    def __init__(self, ids: Iterable[str]) -> None:
        self._ids = set(ids)
        self._waiting: dict[str, set[str]] = {}  # by the id above: if that is one of ours, so are these
        self._waited: dict[str, set[str]] = {}
        self.is_unsure = False

    def __contains__(self, run_id: RunId) -> bool:
        return not self._ids.isdisjoint((run_id.value, run_id.root_id, run_id.parent_id or run_id.value))

    def learn(self, run_id: RunId, *, starts: bool) -> None:
        """Take in what a token tells, in any order.

        Args:
            run_id: What it says.
            starts: Whether it is that of the run's start, and so says all there is to say.
        """
        if run_id.value in self._ids:
            return
        if run_id in self:
            self._join(run_id.value)
        elif run_id.parent_id is not None:
            for above in (run_id.parent_id, run_id.root_id):
                self._waiting.setdefault(above, set()).add(run_id.value)
            self.is_unsure = True
        elif not starts:  # a bare id, of which the start may say more
            self.is_unsure = True

    def _join(self, value: str) -> None:
        joining = [value]
        while joining:
            value = joining.pop()
            if value not in self._ids:
                self._ids.add(value)
                joining += self._waiting.pop(value, ())
                joining += self._waited.pop(value, ())

    def settle(self) -> None:
        """What was learned before the last time is used up by now: who is not below is not remembered for ever."""
        self._waited, self._waiting = self._waiting, {}
