"""Queues as walls: an item meets a worker that is in a run already, and in the wrong one."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import queue
import threading
from concurrent.futures import Future
from contextlib import asynccontextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

import anyio

from agent_run_id.queues import carry, received
from agent_run_id.run_context import RunContext
from agent_run_id.scope import current_run_id
from agent_run_id.walls.wall import ASYNCIO, Wall
from agent_run_id.walls.work import serve_queue

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from agent_run_id.walls.wall import Cross, Opener, Work

__all__ = ["QUEUES"]


def _plainly(item: Any) -> contextlib.AbstractContextManager[Any]:
    return contextlib.nullcontext(item)


def _thread_queue(send: Callable[[Any], Any], take: Callable[[Any], Any]) -> Opener:
    @asynccontextmanager
    async def opened() -> AsyncGenerator[Cross]:
        items: queue.Queue[Any] = queue.Queue()

        def worker() -> None:
            with RunContext(_born):
                while (item := items.get()) is not None:
                    with take(item) as (work, reply):
                        reply.set_result(work())
                    del item, work, reply

        thread = threading.Thread(target=worker)
        _born = current_run_id()
        thread.start()

        async def crossing(work: Work) -> Any:
            reply: Future[Any] = Future()
            items.put(send((work, reply)))
            return reply.result()

        try:
            yield crossing
        finally:
            items.put(None)
            thread.join()

    return opened


def _task_queue(make: Callable[[], Any], send: Callable[[Any], Any], take: Callable[[Any], Any]) -> Opener:
    @asynccontextmanager
    async def opened() -> AsyncGenerator[Cross]:
        put, get, close = make()

        async def worker() -> None:
            while (item := await get()) is not None:
                with take(item) as (work, seen, done):
                    seen.append(work())
                    done.set()
                del item, work, seen, done

        async with anyio.create_task_group() as group:
            group.start_soon(worker)

            async def crossing(work: Work) -> Any:
                seen: list[Any] = []
                done = anyio.Event()
                await put(send((work, seen, done)))
                await done.wait()
                return seen[0]

            yield crossing
            await put(None)
        close()

    return opened


def _asyncio_queue() -> Any:
    items: asyncio.Queue[Any] = asyncio.Queue()
    return items.put, items.get, lambda: None


def _memory_stream() -> Any:
    send, receive = anyio.create_memory_object_stream[Any](1)

    def close() -> None:
        send.close()
        receive.close()

    return send.send, receive.receive, close


def _trio_channel() -> Any:
    send, receive = import_module("trio").open_memory_channel(1)

    def close() -> None:
        send.close()
        receive.close()

    return send.send, receive.receive, close


def _process_queue(*, carried: bool) -> Opener:
    @asynccontextmanager
    async def opened() -> AsyncGenerator[Cross]:
        context = multiprocessing.get_context("fork")
        items, results = context.SimpleQueue(), context.SimpleQueue()
        worker = context.Process(target=serve_queue, args=(items, results), kwargs={"carried": carried})
        worker.start()

        async def crossing(work: Work) -> Any:
            items.put(carry(work) if carried else work)
            return results.get()

        try:
            yield crossing
        finally:
            items.put(None)
            worker.join()

    return opened


_CARRY: Final = "`carry(item)`, and `with` what arrives"

QUEUES: Final = [
    Wall(
        "`queue.Queue` to a worker thread",
        "wrong",
        _CARRY,
        _thread_queue(carry, received),
        _thread_queue(lambda item: item, _plainly),
        awaits=False,
    ),
    Wall(
        "`asyncio.Queue` to a worker task",
        "wrong",
        _CARRY,
        _task_queue(_asyncio_queue, carry, received),
        _task_queue(_asyncio_queue, lambda item: item, _plainly),
        loops=ASYNCIO,
    ),
    Wall(
        "anyio memory streams",
        "wrong",
        _CARRY,
        _task_queue(_memory_stream, carry, received),
        _task_queue(_memory_stream, lambda item: item, _plainly),
    ),
    Wall(
        "trio memory channels",
        "wrong",
        _CARRY,
        _task_queue(_trio_channel, carry, received),
        _task_queue(_trio_channel, lambda item: item, _plainly),
        loops=("trio",),
        needs="trio",
    ),
    Wall(
        "`multiprocessing` queues",
        "wrong",
        _CARRY,
        _process_queue(carried=True),
        _process_queue(carried=False),
        in_process=False,
        awaits=False,
    ),
]
