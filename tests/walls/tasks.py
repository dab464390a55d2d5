"""Tasks as walls: every event loop hands the run over, but for the threads of `run_in_executor`."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
import anyio.from_thread
import anyio.to_thread

import agent_run_id as ari
from tests.walls.wall import Cross, Opener, Wall, Work, simple

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable


async def _in_task(work: Work) -> Any:
    seen: list[Any] = []

    async def task() -> None:
        seen.append(work())

    async with anyio.create_task_group() as group:
        group.start_soon(task)
    return seen[0]


async def _in_from_thread(work: Work) -> Any:
    async def back() -> Any:
        return work()

    return await anyio.to_thread.run_sync(lambda: anyio.from_thread.run(back))


@asynccontextmanager
async def _portal() -> AsyncIterator[Cross]:
    with anyio.from_thread.start_blocking_portal() as portal:

        async def crossing(work: Work) -> Any:
            return portal.call(work)

        yield crossing


async def _in_call_soon(work: Work) -> Any:
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(lambda: future.set_result(work()))
    return await future


def _run_in_executor(make: Callable[[], ThreadPoolExecutor]) -> Opener:
    @asynccontextmanager
    async def opened() -> AsyncIterator[Cross]:
        loop = asyncio.get_running_loop()
        with make() as pool:
            await loop.run_in_executor(pool, int)

            async def crossing(work: Work) -> Any:
                return await loop.run_in_executor(pool, work)

            yield crossing

    return opened


_NOTHING = "nothing needed"
_kept = simple(_in_task)

TASKS = [
    Wall("task groups, nurseries, `create_task`", "kept", _NOTHING, _kept, _kept),
    Wall("`to_thread.run_sync`", "kept", _NOTHING, *(simple(anyio.to_thread.run_sync),) * 2),
    Wall("`from_thread.run`", "kept", _NOTHING, *(simple(_in_from_thread),) * 2),
    Wall("`BlockingPortal`", "kept", _NOTHING, _portal, _portal),
    Wall("`loop.call_soon`", "kept", _NOTHING, *(simple(_in_call_soon),) * 2, backends=("asyncio",)),
    Wall(
        "`loop.run_in_executor`",
        "lost",
        "`BoundThreadPoolExecutor` or `bind(fn)`",
        _run_in_executor(lambda: ari.BoundThreadPoolExecutor(1)),
        _run_in_executor(lambda: ThreadPoolExecutor(1)),
        backends=("asyncio",),
    ),
]
