"""A wall, and the ways to cross one that several have in common."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import agent_run_id as ari

Work = Callable[[], Any]
Cross = Callable[[Work], Awaitable[Any]]
Opener = Callable[[], contextlib.AbstractAsyncContextManager[Cross]]

EVERY = ("asyncio", "trio")


@dataclass(frozen=True)
class Wall:
    """One boundary.

    Attributes:
        name: What is crossed, as a reader would look for it.
        plain: What the plain call comes to: kept, lost, or wrong (another run, which is worse than none).
        call: What to write instead, or that nothing is needed.
        opens: The wall, crossed by our call.
        opens_plainly: The wall, crossed by the plain call.
        backends: Where there is such a wall.
        in_process: Whether both sides are in one process, and objects could be kept alive.
    """

    name: str
    plain: str
    call: str
    opens: Opener
    opens_plainly: Opener
    backends: tuple[str, ...] = EVERY
    in_process: bool = True


def glance() -> str | None:
    """The lineage in force."""
    run_id = ari.current_run_id()
    return None if run_id is None else run_id.token


def look() -> str | None:
    """The lineage in force; and a scope is left open, which must stay on the far side, and not meet what comes next."""
    seen = glance()
    ari.RunContext(ari.RunId.generate()).__enter__()
    return seen


def simple(cross: Cross) -> Opener:
    """A wall without workers."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[Cross]:
        yield cross

    return opened


def blocking(cross: Callable[[Work], Any]) -> Opener:
    """A wall without workers, whose crossing blocks for a moment."""

    async def crossing(work: Work) -> Any:
        return cross(work)

    return simple(crossing)


def with_pool(make: Callable[[], Any], cross: Callable[[Any, Work], Any]) -> Opener:
    """A wall whose workers are there before the run, inside a stranger's."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[Cross]:
        with make() as pool:
            cross(pool, int)  # the workers begin

            async def crossing(work: Work) -> Any:
                return cross(pool, work)

            yield crossing

    return opened


def submit(pool: Any, work: Work) -> Any:
    return pool.submit(work).result()


def call(work: Work) -> Any:
    """For calls that take a function and an argument."""
    return work()


def mapped(pool: Any, work: Work) -> Any:
    return list(pool.map(call, [work]))[0]  # noqa: RUF015 - all of it


async def verdict(opens: Opener) -> str:
    """Cross a wall from two runs, its workers having begun in a third: kept, lost or wrong."""
    seen: list[str | None] = []
    runs = [ari.RunId.generate(ari.RunId.generate()) for _ in range(2)]
    with ari.RunContext(ari.RunId.generate()):
        async with opens() as cross:
            for run in runs:
                with ari.RunContext(run):
                    seen.append(await cross(glance))
    if seen == [run.token for run in runs]:
        return "kept"
    return "lost" if seen == [None, None] else "wrong"
