"""`RunContext`: makes a run id current for a block, a function or a generator."""

from __future__ import annotations

from typing import TYPE_CHECKING, ParamSpec, TypeVar

from agent_run_id.calls import Call, wrap_calls
from agent_run_id.scope import ScopeOwner

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

    from agent_run_id.ids import RunId

__all__ = ["RunContext"]

P = ParamSpec("P")
T = TypeVar("T")


class RunContext(ScopeOwner):
    """Make a run id current: with `with`, with `async with`, or as a decorator.

    One instance may be entered many times, nested, and from many threads and tasks at once. Leaving never raises.

    Args:
        run_id: The id that `current_run_id` returns inside; None means "no run here".
    """

    __slots__ = ()

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
        return wrap_calls(fn, lambda args, kwargs: Call(self._run_id))

    def __repr__(self) -> str:
        return f"RunContext({self._run_id!r})"
