"""Every wall, crossed by the plain call and by ours. The tests run it, and the table of docs/walls.md is made from it.

A wall is opened once, inside the run of a stranger: whatever workers it has begin there. Then work crosses it, again
and again, from other runs and from none.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import queue
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import anyio
import anyio.from_thread
import anyio.to_process
import anyio.to_thread
import greenlet
import joblib

import agent_run_id as ari

__all__ = ["WALLS", "Cross", "Opener", "Wall", "look", "table", "verdict"]

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


TELL = "import agent_run_id as ari; run_id = ari.current_run_id(); print(run_id.token if run_id else '')"


def _simple(cross: Cross) -> Opener:
    """A wall without workers."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[Cross]:
        yield cross

    return opened


def _blocking(cross: Callable[[Work], Any]) -> Opener:
    """A wall without workers, whose crossing blocks for a moment."""

    async def crossing(work: Work) -> Any:
        return cross(work)

    return _simple(crossing)


def _with_pool(make: Callable[[], Any], cross: Callable[[Any, Work], Any]) -> Opener:
    """A wall whose workers are there before the run, inside a stranger's."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[Cross]:
        with make() as pool:
            cross(pool, int)  # the workers begin

            async def crossing(work: Work) -> Any:
                return cross(pool, work)

            yield crossing

    return opened


# Tasks and what the event loops do -----------------------------------------------------------------------------------


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


# Threads --------------------------------------------------------------------------------------------------------------


def _in_thread(make: Callable[..., threading.Thread]) -> Callable[[Work], Any]:
    def cross(work: Work) -> Any:
        seen: list[Any] = []
        thread = make(lambda: seen.append(work()))
        thread.start()
        thread.join()
        return seen[0]

    return cross


class _Mine(threading.Thread):
    def __init__(self, act: Callable[[], None]) -> None:
        super().__init__()
        self.act = act

    def run(self) -> None:
        self.act()


class _MineBound(_Mine, ari.BoundThread):
    """A subclass that overrides `run`."""


def _in_greenlet(work: Work) -> Any:
    return greenlet.greenlet(work).switch()


# Processes ------------------------------------------------------------------------------------------------------------


def put_result(results: Any, work: Work) -> None:
    """What a child process does."""
    results.put(work())


def _in_process(method: str, kind: Callable[..., Any]) -> Callable[[Work], Any]:
    context = multiprocessing.get_context(method)

    def cross(work: Work) -> Any:
        results = context.SimpleQueue()
        process = kind(context)(target=put_result, args=(results, work))
        process.start()
        found = results.get()
        process.join()
        return found

    return cross


def _plain_process(context: Any) -> Any:
    return context.Process


def _bound_process(context: Any) -> Any:
    return lambda **options: ari.BoundProcess(context=context, **options)


def _process_pool(method: str, kind: Callable[..., ProcessPoolExecutor]) -> Callable[[], ProcessPoolExecutor]:
    return lambda: kind(1, mp_context=multiprocessing.get_context(method))


def _pool(method: str) -> Callable[[], Any]:
    return lambda: multiprocessing.get_context(method).Pool(1)


def _submit(pool: Any, work: Work) -> Any:
    return pool.submit(work).result()


def call(work: Work) -> Any:
    """For calls that take a function and an argument."""
    return work()


def _map(pool: Any, work: Work) -> Any:
    return list(pool.map(call, [work]))[0]  # noqa: RUF015 - all of it


def _apply(pool: Any, work: Work) -> Any:
    return pool.apply(work)


def _apply_bound(pool: Any, work: Work) -> Any:
    return pool.apply(ari.bind(work))


def _joblib(work: Work) -> Any:
    return joblib.Parallel(n_jobs=2, backend="loky")([joblib.delayed(work)()])[0]


def _joblib_bound(work: Work) -> Any:
    return joblib.Parallel(n_jobs=2, backend="loky")([joblib.delayed(ari.bind(work))()])[0]


async def _to_process(work: Work) -> Any:
    return await anyio.to_process.run_sync(work)


async def _to_process_bound(work: Work) -> Any:
    return await anyio.to_process.run_sync(ari.bind(work))


def _subprocess(_: Work) -> Any:
    return _told(subprocess.run([sys.executable, "-c", TELL], stdout=subprocess.PIPE, check=True).stdout)


def _subprocess_joined(_: Work) -> Any:
    done = subprocess.run([sys.executable, "-c", TELL], stdout=subprocess.PIPE, check=True, env=ari.child_env())
    return _told(done.stdout)


async def _anyio_process(_: Work) -> Any:
    return _told((await anyio.run_process([sys.executable, "-c", TELL])).stdout)


async def _anyio_process_joined(_: Work) -> Any:
    return _told((await anyio.run_process([sys.executable, "-c", TELL], env=ari.child_env())).stdout)


async def _asyncio_process(_: Work, **options: Any) -> Any:
    command = (sys.executable, "-c", TELL)
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, **options)
    return _told((await process.communicate())[0])


async def _asyncio_process_joined(work: Work) -> Any:
    return await _asyncio_process(work, env=ari.child_env())


async def _trio_process(_: Work, **options: Any) -> Any:
    import trio

    done = await trio.run_process([sys.executable, "-c", TELL], capture_stdout=True, **options)
    return _told(done.stdout)


async def _trio_process_joined(work: Work) -> Any:
    return await _trio_process(work, env=ari.child_env())


def _told(output: bytes) -> str | None:
    return output.decode().strip() or None


# Queues ---------------------------------------------------------------------------------------------------------------


def _plainly(item: Any) -> contextlib.AbstractContextManager[Any]:
    return contextlib.nullcontext(item)


def _thread_queue(send: Callable[[Any], Any], take: Callable[[Any], Any]) -> Opener:
    @asynccontextmanager
    async def opened() -> AsyncIterator[Cross]:
        items: queue.Queue[Any] = queue.Queue()

        def worker() -> None:
            with ari.RunContext(_born):
                while (item := items.get()) is not None:
                    with take(item) as (work, reply):
                        reply.set_result(work())
                    del item, work, reply

        thread = threading.Thread(target=worker)
        _born = ari.current_run_id()
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
    async def opened() -> AsyncIterator[Cross]:
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
    import trio

    send, receive = trio.open_memory_channel[Any](1)

    def close() -> None:
        send.close()
        receive.close()

    return send.send, receive.receive, close


def serve_queue(items: Any, results: Any, *, carried: bool) -> None:
    """What a worker process does."""
    while (item := items.get()) is not None:
        if carried:
            with item as work:
                results.put(work())
        else:
            results.put(item())


def _process_queue(*, carried: bool) -> Opener:
    @asynccontextmanager
    async def opened() -> AsyncIterator[Cross]:
        context = multiprocessing.get_context("fork")
        items, results = context.SimpleQueue(), context.SimpleQueue()
        worker = context.Process(target=serve_queue, args=(items, results), kwargs={"carried": carried})
        worker.start()

        async def crossing(work: Work) -> Any:
            items.put(ari.carry(work) if carried else work)
            return results.get()

        try:
            yield crossing
        finally:
            items.put(None)
            worker.join()

    return opened


# The table ------------------------------------------------------------------------------------------------------------

_NOTHING = "nothing needed"
_kept = _simple(_in_task)

WALLS = [
    Wall("task groups, nurseries, `create_task`", "kept", _NOTHING, _kept, _kept),
    Wall("`to_thread.run_sync`", "kept", _NOTHING, *(_simple(anyio.to_thread.run_sync),) * 2),
    Wall("`from_thread.run`", "kept", _NOTHING, *(_simple(_in_from_thread),) * 2),
    Wall("`BlockingPortal`", "kept", _NOTHING, _portal, _portal),
    Wall("`loop.call_soon`", "kept", _NOTHING, *(_simple(_in_call_soon),) * 2, backends=("asyncio",)),
    Wall(
        "`loop.run_in_executor`",
        "lost",
        "`BoundThreadPoolExecutor` or `bind(fn)`",
        _run_in_executor(lambda: ari.BoundThreadPoolExecutor(1)),
        _run_in_executor(lambda: ThreadPoolExecutor(1)),
        backends=("asyncio",),
    ),
    Wall(
        "`ThreadPoolExecutor.submit`",
        "lost",
        "`BoundThreadPoolExecutor`",
        _with_pool(lambda: ari.BoundThreadPoolExecutor(1), _submit),
        _with_pool(lambda: ThreadPoolExecutor(1), _submit),
    ),
    Wall(
        "`ThreadPoolExecutor.map`",
        "lost",
        "`BoundThreadPoolExecutor`",
        _with_pool(lambda: ari.BoundThreadPoolExecutor(1), _map),
        _with_pool(lambda: ThreadPoolExecutor(1), _map),
    ),
    Wall(
        "an executor somebody else made",
        "lost",
        "`wrap_executor(executor)`",
        _with_pool(lambda: ari.wrap_executor(ThreadPoolExecutor(1)), _map),
        _with_pool(lambda: ThreadPoolExecutor(1), _map),
    ),
    Wall(
        "`threading.Thread`",
        "lost",
        "`BoundThread` or `bind(target)`",
        _blocking(_in_thread(lambda act: ari.BoundThread(target=act))),
        _blocking(_in_thread(lambda act: threading.Thread(target=act))),
    ),
    Wall(
        "a `Thread` subclass that overrides `run`",
        "lost",
        "`BoundThread` as its base",
        _blocking(_in_thread(_MineBound)),
        _blocking(_in_thread(_Mine)),
    ),
    Wall(
        "`threading.Timer`",
        "lost",
        "`BoundTimer` or `bind(function)`",
        _blocking(_in_thread(lambda act: ari.BoundTimer(0, act))),
        _blocking(_in_thread(lambda act: threading.Timer(0, act))),
    ),
    Wall(
        "greenlets",
        "lost",
        "`bind(fn)`",
        _blocking(lambda work: _in_greenlet(ari.bind(work))),
        _blocking(_in_greenlet),
    ),
    Wall(
        "`queue.Queue` to a worker thread",
        "wrong",
        "`carry(item)`, and `with` what arrives",
        _thread_queue(ari.carry, ari.received),
        _thread_queue(lambda item: item, _plainly),
    ),
    Wall(
        "`asyncio.Queue` to a worker task",
        "wrong",
        "`carry(item)`, and `with` what arrives",
        _task_queue(_asyncio_queue, ari.carry, ari.received),
        _task_queue(_asyncio_queue, lambda item: item, _plainly),
        backends=("asyncio",),
    ),
    Wall(
        "anyio memory streams",
        "wrong",
        "`carry(item)`, and `with` what arrives",
        _task_queue(_memory_stream, ari.carry, ari.received),
        _task_queue(_memory_stream, lambda item: item, _plainly),
    ),
    Wall(
        "trio memory channels",
        "wrong",
        "`carry(item)`, and `with` what arrives",
        _task_queue(_trio_channel, ari.carry, ari.received),
        _task_queue(_trio_channel, lambda item: item, _plainly),
        backends=("trio",),
    ),
    Wall(
        "`multiprocessing` queues",
        "wrong",
        "`carry(item)`, and `with` what arrives",
        _process_queue(carried=True),
        _process_queue(carried=False),
        in_process=False,
    ),
    *(
        Wall(
            f"`ProcessPoolExecutor`, {method}",
            "wrong" if method == "fork" else "lost",
            "`BoundProcessPoolExecutor`",
            _with_pool(_process_pool(method, ari.BoundProcessPoolExecutor), _submit),
            _with_pool(_process_pool(method, ProcessPoolExecutor), _submit),
            in_process=False,
        )
        for method in ("fork", "spawn", "forkserver")
    ),
    Wall(
        "`ProcessPoolExecutor.map`",
        "wrong",
        "`BoundProcessPoolExecutor`",
        _with_pool(_process_pool("fork", ari.BoundProcessPoolExecutor), _map),
        _with_pool(_process_pool("fork", ProcessPoolExecutor), _map),
        in_process=False,
    ),
    *(
        Wall(
            f"`multiprocessing.Process`, {method}",
            "kept" if method == "fork" else "lost",
            "`BoundProcess`",
            _blocking(_in_process(method, _bound_process)),
            _blocking(_in_process(method, _plain_process)),
            in_process=False,
        )
        for method in ("fork", "spawn", "forkserver")
    ),
    *(
        Wall(
            f"`multiprocessing.Pool`, {method}",
            "wrong" if method == "fork" else "lost",
            "`bind(fn)`",
            _with_pool(_pool(method), _apply_bound),
            _with_pool(_pool(method), _apply),
            in_process=False,
        )
        for method in ("fork", "spawn")
    ),
    Wall("joblib (loky)", "lost", "`bind(fn)`", _blocking(_joblib_bound), _blocking(_joblib), in_process=False),
    Wall(
        "`anyio.to_process`", "lost", "`bind(fn)`", _simple(_to_process_bound), _simple(_to_process), in_process=False
    ),
    Wall(
        "`subprocess`, where the child imports the library",
        "lost",
        "`env=child_env()`",
        _blocking(_subprocess_joined),
        _blocking(_subprocess),
        in_process=False,
    ),
    Wall(
        "`anyio.run_process` and `open_process`, likewise",
        "lost",
        "`env=child_env()`",
        _simple(_anyio_process_joined),
        _simple(_anyio_process),
        in_process=False,
    ),
    Wall(
        "`asyncio.create_subprocess_exec`, likewise",
        "lost",
        "`env=child_env()`",
        _simple(_asyncio_process_joined),
        _simple(_asyncio_process),
        backends=("asyncio",),
        in_process=False,
    ),
    Wall(
        "`trio.run_process`, likewise",
        "lost",
        "`env=child_env()`",
        _simple(_trio_process_joined),
        _simple(_trio_process),
        backends=("trio",),
        in_process=False,
    ),
]


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


def table() -> str:
    """The table of the walls, in Markdown."""
    rows = [f"| {wall.name} | {wall.plain} | {wall.call} |" for wall in WALLS]
    return "\n".join(["| wall | by the plain call | what to write |", "|---|---|---|", *rows])


if __name__ == "__main__":
    print(table())  # noqa: T201 - to be pasted into docs/walls.md
