"""Queues: items that bring their run along.

A consumer sees only its own scope: the run it was started in, or the one it handled last. So the item carries the run
of whoever put it, and the consumer handles it in that run and in no other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast, overload

from agent_run_id.inbound import Inbound
from agent_run_id.scope import ScopeOwner, current_parent

if TYPE_CHECKING:
    from types import TracebackType

    from agent_run_id.ids import RunId

__all__ = ["Carried", "carry", "received"]

T = TypeVar("T")


class Carried(ScopeOwner, Generic[T]):
    """An item with the run of whoever sent it: ``with queue.get() as item: …`` handles it there.

    It pickles when the item does, and orders like it, for a priority queue.

    Attributes:
        item: What was sent.
    """

    __slots__ = ("item",)

    item: T

    def __init__(self, item: T, run_id: RunId | Inbound | None) -> None:
        if isinstance(run_id, Inbound):  # there was no run, but something that came in
            super().__init__(run_id.run_id, run_id)
        else:
            super().__init__(run_id)
        self.item = item
        self.begin()  # not to be the scope itself: a task that outlives it would keep the item alive

    @property
    def run_id(self) -> RunId | None:
        """The run the item was sent in; None for none."""
        return self._run_id

    def __enter__(self) -> T:
        self._enter()
        return self.item

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._leave()

    async def __aenter__(self) -> T:
        self._enter()
        return self.item

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._leave()

    def __lt__(self, other: Any) -> bool:
        if isinstance(other, Carried):
            return bool(cast("Any", self.item) < cast("Any", other).item)
        return NotImplemented

    def __repr__(self) -> str:
        return f"Carried({self.item!r}, {self.run_id!r})"

    def __reduce__(self) -> tuple[type[Carried[T]], tuple[T, RunId | Inbound | None]]:
        return (Carried, (self.item, self.run_id if self._inbound is None else self._inbound))


def carry(item: T) -> Carried[T]:
    """Put the current run on an item for a queue, a memory stream or a channel: ``queue.put(carry(job))``."""
    return Carried(item, current_parent())


@overload
def received(item: Carried[T]) -> Carried[T]: ...


@overload
def received(item: T) -> Carried[T]: ...


def received(item: Any) -> Carried[Any]:
    """Take what a worker got, where some senders carry and others do not.

    As in ``with received(queue.get()) as job: …``. What was not carried is handled in no run, rather than in the
    worker's own, which it has nothing to do with.
    """
    if isinstance(item, Carried):
        return item  # pyright: ignore[reportUnknownVariableType] - of whatever it carries
    return Carried(item, None)
