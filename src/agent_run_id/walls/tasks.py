"""Tasks as walls: every event loop hands the run over, but for the threads of `run_in_executor`."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import anyio
import anyio.from_thread
import anyio.to_thread

from agent_run_id.executors import BoundThreadPoolExecutor
from agent_run_id.run_context import RunContext
from agent_run_id.scope import current_run_id
from agent_run_id.walls.wall import ASYNCIO, EVERY, NOTHING, Wall, simple

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from agent_run_id.walls.wall import Cross, Opener, Work

__all__ = ["TASKS"]


async def _in_task(work: Work) -> Any:
    seen: list[Any] = []

    async def task() -> None:
        seen.append(work())

    async with anyio.create_task_group() as group:
        group.start_soon(task)
    return seen[0]


@asynccontextmanager
async def _outliving() -> AsyncGenerator[Cross]:
    async with anyio.create_task_group() as group:

        async def crossing(work: Work) -> Any:
            is_over, seen, done = anyio.Event(), list[Any](), anyio.Event()

            async def task() -> None:
                await is_over.wait()
                seen.append(work())
                done.set()

            run_id = current_run_id()
            with RunContext(None):
                with RunContext(run_id):
                    group.start_soon(task)
                is_over.set()
                await done.wait()
            return seen[0]

        yield crossing


async def _in_from_thread(work: Work) -> Any:
    async def back() -> Any:
        return work()

    return await anyio.to_thread.run_sync(lambda: anyio.from_thread.run(back))


@asynccontextmanager
async def _portal() -> AsyncGenerator[Cross]:
    with anyio.from_thread.start_blocking_portal() as portal:

        async def crossing(work: Work) -> Any:
            return portal.call(work)

        yield crossing


async def _in_asyncio_thread(work: Work) -> Any:
    return await asyncio.to_thread(work)


async def _in_call_soon(work: Work) -> Any:
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Any] = loop.create_future()
    loop.call_soon(lambda: future.set_result(work()))
    return await future


async def _in_coroutine_threadsafe(work: Work) -> Any:
    loop = asyncio.get_running_loop()

    async def back() -> Any:
        return work()

    return await anyio.to_thread.run_sync(lambda: asyncio.run_coroutine_threadsafe(back(), loop).result())


def _run_in_executor(make: Callable[[], ThreadPoolExecutor]) -> Opener:
    @asynccontextmanager
    async def opened() -> AsyncGenerator[Cross]:
        loop = asyncio.get_running_loop()
        with make() as pool:
            await loop.run_in_executor(pool, int)

            async def crossing(work: Work) -> Any:
                return await loop.run_in_executor(pool, work)

            yield crossing

    return opened


def _kept(name: str, opens: Opener, *, loops: tuple[str, ...] = EVERY) -> Wall:
    """A wall that is none: there is no other call than the plain one."""
    return Wall(name, "kept", NOTHING, opens, opens, loops=loops)


TASKS: Final = [
    _kept("task groups, nurseries, `create_task`", simple(_in_task)),
    _kept("a task that outlives the scope it was started in", _outliving),
    _kept("`to_thread.run_sync`", simple(anyio.to_thread.run_sync)),
    _kept("`asyncio.to_thread`", simple(_in_asyncio_thread), loops=ASYNCIO),
    _kept("`from_thread.run`", simple(_in_from_thread)),
    _kept("`BlockingPortal`", _portal),
    _kept("`loop.call_soon`", simple(_in_call_soon), loops=ASYNCIO),
    _kept("`asyncio.run_coroutine_threadsafe`", simple(_in_coroutine_threadsafe), loops=ASYNCIO),
    Wall(
        "`loop.run_in_executor`",
        "lost",
        "`BoundThreadPoolExecutor` or `bind(fn)`",
        _run_in_executor(lambda: BoundThreadPoolExecutor(1)),
        _run_in_executor(lambda: ThreadPoolExecutor(1)),
        patched="kept",
        loops=ASYNCIO,
    ),
]
