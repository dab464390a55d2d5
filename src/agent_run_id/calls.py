"""Calls: one way to run something around every call of a function, whatever kind of function it is."""

from __future__ import annotations

from functools import partial, wraps
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar, cast

from agent_run_id.generators import drive, drive_async
from agent_run_id.scope import Scope, enter, leave, scope_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent_run_id.ids import RunId
    from agent_run_id.inbound import Inbound

__all__ = ["ASYNC_GENERATOR", "COROUTINE", "FUNCTION", "GENERATOR", "Call", "kind_of", "of_kind", "wrap_calls"]

P = ParamSpec("P")
T = TypeVar("T")

FUNCTION: Final = 0
# The flags of a code object, as in `inspect`, which costs 10 ms to import.
GENERATOR: Final = 0x20
COROUTINE: Final = 0x80
ASYNC_GENERATOR: Final = 0x200

_KIND: Final = "_agent_run_kind"  # what a wrapper of ours gives, where its own code does not show it


def kind_of(fn: Any) -> int:
    """What calling `fn` gives: one of the four constants of this room.

    Looks through `functools.partial`, bound methods and objects with a `__call__`, and believes a mark of
    `inspect.markcoroutinefunction`.
    """
    while True:
        if isinstance(fn, partial):
            fn = fn.func
        elif hasattr(fn, "__func__"):
            fn = fn.__func__
        else:
            return _kind_of_plain(fn)


def _kind_of_plain(fn: Any) -> int:
    marked: tuple[int, int] = getattr(fn, _KIND, (0, 0))
    if marked[0] == id(fn):
        return marked[1]
    code = getattr(fn, "__code__", None)
    if code is None:
        code = getattr(type(fn).__call__, "__code__", None) if callable(fn) else None
    if getattr(fn, "_is_coroutine_mark", None) is not None:
        return COROUTINE
    return getattr(code, "co_flags", 0) & (GENERATOR | COROUTINE | ASYNC_GENERATOR)


def of_kind(kind: int, fn: Callable[P, T]) -> Callable[P, T]:
    """Mark a plain function that returns a generator, so that `kind_of` knows."""
    setattr(fn, _KIND, (id(fn), kind))  # the id, because `functools.wraps` copies the mark to other functions
    return fn


class Call:
    """One call, run with an id current. The base of calls that do more than that."""

    __slots__ = ("parent",)

    parent: RunId | Inbound | None

    def __init__(self, parent: RunId | Inbound | None) -> None:
        self.parent = parent

    def begin(self) -> Scope:
        """Start whatever the call is, and give the scope to run it in."""
        return scope_of(self.parent)

    def finish(self, error: BaseException | None) -> None:
        """End whatever the call was, with what left it."""

    def returned(self, value: Any) -> None:
        """End whatever the call was, with what it gave back."""


def wrap_calls(fn: Callable[P, T], call: Callable[[tuple[Any, ...], dict[str, Any]], Call]) -> Callable[P, T]:
    """Wrap `fn` so that `call(args, kwargs)` is entered around each of its calls.

    The wrapper is of the same kind as `fn`. A coroutine begins when it is first awaited. A generator begins with its
    first step but asks for its `Call` at once, since the run it belongs under is that of the call.
    """
    kind = kind_of(fn)
    called = cast("Callable[P, Any]", fn)

    @wraps(fn)
    async def coroutine(*args: P.args, **kwargs: P.kwargs) -> Any:
        begun = call(args, kwargs)
        scope = enter(begun.begin())
        try:
            result = await called(*args, **kwargs)
        except BaseException as error:
            leave(scope)
            begun.finish(error)
            raise
        leave(scope)
        begun.returned(result)
        return result

    @wraps(fn)
    def generator(*args: P.args, **kwargs: P.kwargs) -> Any:
        return drive(called(*args, **kwargs), call(args, kwargs))

    @wraps(fn)
    def async_generator(*args: P.args, **kwargs: P.kwargs) -> Any:
        return drive_async(called(*args, **kwargs), call(args, kwargs))

    @wraps(fn)
    def function(*args: P.args, **kwargs: P.kwargs) -> Any:
        begun = call(args, kwargs)
        scope = enter(begun.begin())
        try:
            result = called(*args, **kwargs)
        except BaseException as error:
            leave(scope)
            begun.finish(error)
            raise
        leave(scope)
        begun.returned(result)
        return result

    wrappers = {COROUTINE: coroutine, GENERATOR: generator, ASYNC_GENERATOR: async_generator}
    return of_kind(kind, cast("Callable[P, T]", wrappers.get(kind, function)))
