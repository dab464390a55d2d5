"""`bind` and `isolated`: callables that bring their run along.

What a thread, an executor, a timer or another process is given to call knows nothing of the code that handed it over. A
bound callable carries the id and *sets* it for that call alone: it never inherits what a worker happened to have, and
never sets it only where nothing was set.

The results are `functools.partial` objects over the four functions below, so they pickle whenever the function does.
"""

from __future__ import annotations

from functools import partial, update_wrapper
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar, cast

from agent_run_id.calls import ASYNC_GENERATOR, COROUTINE, FUNCTION, GENERATOR, Call, kind_of, of_kind
from agent_run_id.generators import drive, drive_async
from agent_run_id.run_context import RunContext
from agent_run_id.scope import CURRENT, CurrentRun, current_parent, scope_of, swap

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator

    from agent_run_id.ids import RunId
    from agent_run_id.inbound import Inbound

__all__ = ["bind", "call_in", "isolated"]

P = ParamSpec("P")
T = TypeVar("T")


def bind(fn: Callable[P, T], *, run_id: RunId | CurrentRun | None = CURRENT) -> Callable[P, T]:
    """Give a callable that runs `fn` in the run that is current now.

    It can be called many times, at once and from anywhere, and pickles when `fn` does. It works for functions,
    coroutine functions, generator functions, async generator functions, bound methods, `functools.partial` and any
    other callable.

    Args:
        fn: What to call.
        run_id: The run to call it in, instead of the current one; None for "no run".

    Returns:
        A callable of the same kind and signature, with `fn` as its `__wrapped__`.
    """
    bound = current_parent() if isinstance(run_id, CurrentRun) else run_id
    return cast("Callable[P, T]", update_wrapper(partial(_CALLERS[kind_of(fn)], fn, bound), fn))


def isolated(fn: Callable[P, T]) -> Callable[P, T]:
    """Give a callable that runs `fn` in no run at all, for work that belongs to nobody's tree."""
    return bind(fn, run_id=None)


def call_in(fn: Callable[P, T], parent: RunId | Inbound | None, /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Call `fn` in a run: what an executor is given instead of a bound callable, which costs more to make.

    A plain call ends in the context it began in, so what was there is put back as it was, whatever `fn` left open.
    """
    outer = swap(scope_of(parent))
    try:
        return fn(*args, **kwargs)
    finally:
        swap(outer)


async def _await(fn: Callable[..., Any], parent: RunId | Inbound | None, /, *args: Any, **kwargs: Any) -> Any:
    with RunContext(parent):
        return await fn(*args, **kwargs)


def _generate(
    fn: Callable[..., Any], parent: RunId | Inbound | None, /, *args: Any, **kwargs: Any
) -> Generator[Any, Any, Any]:
    return drive(fn(*args, **kwargs), Call(parent))


def _generate_async(
    fn: Callable[..., Any], parent: RunId | Inbound | None, /, *args: Any, **kwargs: Any
) -> AsyncGenerator[Any, Any]:
    return drive_async(fn(*args, **kwargs), Call(parent))


_CALLERS: Final[dict[int, Callable[..., Any]]] = {
    FUNCTION: call_in,
    COROUTINE: _await,
    GENERATOR: of_kind(GENERATOR, _generate),
    ASYNC_GENERATOR: of_kind(ASYNC_GENERATOR, _generate_async),
}
