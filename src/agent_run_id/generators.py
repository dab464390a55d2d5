"""Generators: a run that is in force inside a generator, and never in its consumer.

A generator suspends in the middle of its scopes, and whoever continues it may be another thread, task or context. So
the scope is swapped in and out around every step, in the consumer's own context. The two other ways fail: a token kept
across a `yield` cannot be reset by another task, and a `Context` of the generator's own hides whatever its body sets in
the user's variables (it broke structlog's binding, decimal precision and stacked context managers).

For async generators a step is not `asend` but every `send` and `throw` of the awaitable it returns: between them the
event loop runs, and the consumer may hand the awaitable on.
"""

from __future__ import annotations

import sys
import types
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from agent_run_id.scope import swap

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator

    from agent_run_id.scope import Scope

__all__ = ["Driven", "drive", "drive_async"]

Y = TypeVar("Y")
S = TypeVar("S")
R = TypeVar("R")


class Driven(Protocol):
    """What a driven generator runs in."""

    def begin(self) -> Scope:
        """Called before the first step: the scope of the body."""
        ...

    def finish(self, error: BaseException | None) -> None:
        """Called once when the body is over: with what left it, `GeneratorExit` when it was abandoned."""
        ...


class _Steps:
    """The scope of a suspended body, kept between its steps: the body may have opened further scopes inside."""

    __slots__ = ("scope",)

    def __init__(self, scope: Scope | None) -> None:
        self.scope = scope

    def over(self, body: Generator[Y, S, R]) -> Generator[Y, S, R]:
        """Step `body` to its end, each step in its scope."""
        step: Callable[[Any], Y] = body.send
        argument: Any = None
        while True:
            outer = swap(self.scope)
            try:
                item = step(argument)
            except StopIteration as stop:
                result: R = stop.value
                return result
            finally:
                self.scope = swap(outer)
            try:
                argument = yield item
                step = body.send
            except GeneratorExit:
                self._close(body)
                raise
            except BaseException as error:
                step, argument = body.throw, error

    def _close(self, body: Generator[Any, Any, Any]) -> None:
        outer = swap(self.scope)
        try:
            body.close()
        finally:
            self.scope = swap(outer)

    @types.coroutine
    def awaited(self, awaitable: Any) -> Generator[Any, Any, Any]:
        """Await `awaitable`, each step in the scope."""
        return (yield from self.over(awaitable.__await__()))


def drive(generator: Generator[Y, S, R], driven: Driven) -> Generator[Y, S, R]:
    """Run `generator` in the scope of `driven`; what it yields, is sent and returns passes through."""
    steps = _Steps(driven.begin())
    try:
        result = yield from steps.over(generator)
    except BaseException as error:
        driven.finish(error)
        raise
    driven.finish(None)
    return result


async def drive_async(generator: AsyncGenerator[Y, S], driven: Driven) -> AsyncGenerator[Y, S]:
    """Run an async generator in the scope of `driven`; what it yields and is sent passes through."""
    steps = _Steps(driven.begin())
    awaited = steps.awaited
    request = _first(generator)
    try:
        while True:
            try:
                item = await awaited(request)
            except StopAsyncIteration:
                break
            try:
                request = generator.asend((yield item))
            except GeneratorExit:
                await awaited(generator.aclose())
                raise
            except BaseException as error:
                request = generator.athrow(error)
    except BaseException as error:
        driven.finish(error)
        raise
    driven.finish(None)


def _first(generator: AsyncGenerator[Y, Any]) -> Any:
    """Ask for the first item without the event loop hearing of the generator.

    A loop that shuts down closes every async generator it heard of, all at once. It would close this one both directly,
    outside its scope, and through the one that drives it, and log the collision.
    """
    hooks = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(None, None)
    try:
        return generator.asend(None)  # the hooks are read here, not when it is awaited
    finally:
        sys.set_asyncgen_hooks(*hooks)
