"""Generators as walls the other way round: the run inside one is not for its consumer.

Whoever consumes has a run of its own, which is to be in force between the items, and once it has done with them. The
plain call is a bare `with` around the `yield`.
"""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Any, Final

import anyio

from agent_run_id.ids import RunId
from agent_run_id.run_context import RunContext
from agent_run_id.scope import current_scope, swap
from agent_run_id.walls.wall import NOTHING, Wall, blocking, simple

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator

    from agent_run_id.walls.wall import Work

__all__ = ["GENERATORS"]


def _decorated() -> Generator[int]:
    @RunContext(RunId.generate())
    def stream() -> Generator[int]:
        yield from (1, 2)

    return stream()


def _bare() -> Generator[int]:
    with RunContext(RunId.generate()):
        yield from (1, 2)


def _decorated_async() -> AsyncGenerator[int]:
    @RunContext(RunId.generate())
    async def stream() -> AsyncGenerator[int]:
        yield 1
        yield 2

    return stream()


async def _bare_async() -> AsyncGenerator[int]:
    with RunContext(RunId.generate()):
        yield 1
        yield 2


@contextlib.contextmanager
def _consumer() -> Generator[None]:
    """Whatever is left open inside is taken away: here the near side is the far one."""
    mine = current_scope()
    try:
        yield
    finally:
        swap(mine)


def _between(make: Callable[[], Generator[int]]) -> Callable[[Work], Any]:
    def cross(work: Work) -> Any:
        with _consumer(), contextlib.closing(make()) as stream:
            next(stream)
            return work()

    return cross


def _after_break(make: Callable[[], Generator[int]]) -> Callable[[Work], Any]:
    def cross(work: Work) -> Any:
        with _consumer():
            for _ in make():
                break
            return work()

    return cross


def _closed_by_a_thread(make: Callable[[], Generator[int]]) -> Callable[[Work], Any]:
    def cross(work: Work) -> Any:
        with _consumer():
            stream = make()
            next(stream)
            thread = threading.Thread(target=stream.close)
            thread.start()
            thread.join()
            return work()

    return cross


def _async_between(make: Callable[[], AsyncGenerator[int]]) -> Callable[[Work], Any]:
    async def cross(work: Work) -> Any:
        with _consumer():
            async with contextlib.aclosing(make()) as stream:
                await anext(stream)
                return work()

    return cross


def _closed_by_a_task(make: Callable[[], AsyncGenerator[int]]) -> Callable[[Work], Any]:
    async def cross(work: Work) -> Any:
        with _consumer():
            stream = make()
            await anext(stream)
            async with anyio.create_task_group() as group:
                group.start_soon(stream.aclose)
            return work()

    return cross


_DECORATE: Final = "`@traced` or `@RunContext(…)`"

GENERATORS: Final = [
    Wall(
        "the consumer of a generator, between the items",
        "wrong",
        _DECORATE,
        blocking(_between(_decorated)),
        blocking(_between(_bare)),
        awaits=False,
    ),
    Wall(
        "the consumer of a generator, after `break`",
        "kept",
        NOTHING,
        blocking(_after_break(_decorated)),
        blocking(_after_break(_bare)),
        awaits=False,
    ),
    Wall(
        "the consumer of a generator that another thread closed",
        "kept",
        NOTHING,
        blocking(_closed_by_a_thread(_decorated)),
        blocking(_closed_by_a_thread(_bare)),
        awaits=False,
    ),
    Wall(
        "the consumer of an async generator, between the items",
        "wrong",
        _DECORATE,
        simple(_async_between(_decorated_async)),
        simple(_async_between(_bare_async)),
    ),
    Wall(
        "the consumer of an async generator that another task closed",
        "kept",
        NOTHING,
        simple(_closed_by_a_task(_decorated_async)),
        simple(_closed_by_a_task(_bare_async)),
    ),
]
