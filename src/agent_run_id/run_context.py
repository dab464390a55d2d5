"""`RunContext`: makes a run id current for a block, a function or a generator."""

from __future__ import annotations

from typing import TYPE_CHECKING, ParamSpec, TypeVar

from agent_run_id.calls import Call, wrap_calls
from agent_run_id.inbound import Inbound
from agent_run_id.scope import ScopeOwner, drop_outermost

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

    from agent_run_id.ids import RunId
    from agent_run_id.scope import Scope

__all__ = ["RunContext"]

P = ParamSpec("P")
T = TypeVar("T")


class _Within(Call):
    """One call, with a scope of a `RunContext`."""

    __slots__ = ("_owner",)

    def __init__(self, owner: RunContext) -> None:
        self._owner = owner

    def begin(self) -> Scope:
        return self._owner.begin()


class RunContext(ScopeOwner):
    """Make a run id current: with `with`, with `async with`, or as a decorator.

    One instance may be entered many times, nested, and from many threads and tasks at once. Leaving never raises.

    Args:
        run_id: The id that `current_run_id` returns inside; None means "no run here". What a carrier's `extract` found
            is taken as it is: without a run in it there is none here, and a run that starts here is a root.
    """

    __slots__ = ()

    def __init__(self, run_id: RunId | Inbound | None) -> None:
        if isinstance(run_id, Inbound):
            drop_outermost()
            super().__init__(run_id.run_id, run_id)
        else:
            super().__init__(run_id)

    @property
    def run_id(self) -> RunId | None:
        """The id this makes current."""
        return self._run_id

    def __enter__(self) -> Self:
        self._enter()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._leave()

    async def __aenter__(self) -> Self:
        self._enter()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._leave()

    def __call__(self, fn: Callable[P, T]) -> Callable[P, T]:
        """Decorate a function, coroutine function, generator or async generator to run with this id current."""
        return wrap_calls(fn, lambda args, kwargs: _Within(self))

    def __repr__(self) -> str:
        return f"RunContext({self._run_id!r})"
