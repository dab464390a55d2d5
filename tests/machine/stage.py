"""The stage: what the programs of the machine call, with the workers that were there before them.

Workers begin inside the run of a stranger, and stay from one program to the next: what one program leaves in them, the
next would see. What a program sees goes into a file, from whatever process it is seen in.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import queue
import signal
import subprocess
import sys
import threading
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from functools import cached_property
from typing import TYPE_CHECKING, Any

import anyio
import anyio.from_thread
import anyio.lowlevel
import anyio.to_process
import greenlet
import httpx

import agent_run_id as ari
from agent_run_id.integrations.asgi import RunMiddleware
from agent_run_id.integrations.httpx import instrument
from tests.machine.faults import FAULT, plant

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterator

    Act = Callable[[], Any]
    AsyncAct = Callable[[], Awaitable[Any]]

__all__ = ["STRANGER", "Boom", "see", "stage"]

STRANGER = ari.RunId("57a26e10-0000-4000-8000-000000000000")
SEEN = "AGENT_RUN_MACHINE_SEEN"
"""The variable that says where to write what is seen."""


_WORKERS = 8
"""Of each kind: one of them may wait for another, as deep as programs are nested."""


class Boom(Exception):  # noqa: N818 - it is no error of anybody's
    """What programs raise."""


def see(place: int, expected: str | None) -> None:
    """Note which run is current at a place of the program, where `expected` should be."""
    del expected  # for whoever reads the program
    run_id = ari.current_run_id()
    note(place, "-" if run_id is None else run_id.token)


def note(place: int, what: str) -> None:
    fd = os.open(os.environ[SEEN], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(fd, f"{place} {what}\n".encode())
    os.close(fd)


class Subclass(ari.BoundThread):
    """A thread that overrides `run`."""

    def __init__(self, act: Act) -> None:
        super().__init__()
        self._act = act

    def run(self) -> None:
        self._act()


class Stage:
    """The workers, and one way over each wall."""

    def __init__(self) -> None:
        self.backend: tuple[str, dict[str, Any]] = ("asyncio", {})
        self.registry: ari.RunRegistry | None = None
        self._jobs: queue.Queue[Any] = queue.Queue()
        self._plain_jobs: queue.Queue[Any] = queue.Queue()
        self._scopes: dict[int, anyio.CancelScope] = {}

    def open(self) -> None:
        """Let the workers begin, inside the run of a stranger; processes first, before there are threads."""
        with ari.RunContext(STRANGER):
            for processes in (self.forked, self.stale, self.spawned):
                processes.submit(int).result()
            self.pool.apply(int)
            for threads in (self.threads, self.others):
                threads.submit(int).result()
            for serve in (self._serve, self._serve_plainly) * _WORKERS:
                threading.Thread(target=serve, daemon=True).start()

    def close(self) -> None:
        for pool in (self.forked, self.stale, self.spawned, self.threads, self.others):
            pool.shutdown()
        self.pool.terminate()
        self.pool.join()
        for _ in range(_WORKERS):
            self._jobs.put(None)
            self._plain_jobs.put(None)

    # Threads ----------------------------------------------------------------------------------------------------------

    @cached_property
    def threads(self) -> ThreadPoolExecutor:
        return ari.BoundThreadPoolExecutor(32)

    @cached_property
    def others(self) -> ThreadPoolExecutor:
        """Of somebody who does not know us."""
        return ThreadPoolExecutor(32)

    @cached_property
    def wrapped(self) -> Any:
        return ari.wrap_executor(self.others)

    def run_thread(self, thread: threading.Thread) -> None:
        thread.start()
        thread.join()

    def subclass(self, act: Act) -> threading.Thread:
        return Subclass(act)

    def in_greenlet(self, act: Act) -> None:
        greenlet.greenlet(act).switch()

    def in_portal(self, act: AsyncAct) -> None:
        """In another event loop, which a thread opens: from a thread in which trio runs, anyio would wait for ever."""
        with ari.BoundThreadPoolExecutor(1) as pool:
            pool.submit(self._in_portal, act).result()

    def _in_portal(self, act: AsyncAct) -> None:
        backend, options = self.backend
        with anyio.from_thread.start_blocking_portal(backend, options) as portal:
            portal.call(act)

    # Queues -----------------------------------------------------------------------------------------------------------

    def _serve(self) -> None:
        with ari.RunContext(STRANGER):
            while (item := self._jobs.get()) is not None:
                with ari.received(item) as (act, reply):
                    error = _error_of(act)
                _answer(reply, error)
                del item, act, reply, error

    def _serve_plainly(self) -> None:
        with ari.RunContext(STRANGER):
            while (item := self._plain_jobs.get()) is not None:
                act, reply = item
                _answer(reply, _error_of(act))
                del item, act, reply

    def queued(self, act: Act) -> None:
        """To a worker, carried."""
        reply: Future[None] = Future()
        self._jobs.put(ari.carry((act, reply)))
        reply.result()

    def queued_bare(self, act: Act) -> None:
        """To a worker who looks whether it was carried."""
        reply: Future[None] = Future()
        self._jobs.put((act, reply))
        reply.result()

    def queued_plainly(self, act: Act) -> None:
        """To a worker who knows nothing of it."""
        reply: Future[None] = Future()
        self._plain_jobs.put((act, reply))
        reply.result()

    @contextlib.asynccontextmanager
    async def program(self) -> AsyncGenerator[None]:
        """What is there while a program runs: a worker task, and a group for what outlives its parent."""
        send, receive = anyio.create_memory_object_stream[Any](_WORKERS)
        self._send, self._over = send, anyio.Event()
        async with receive, anyio.create_task_group() as workers, send:
            with ari.RunContext(STRANGER):
                for _ in range(_WORKERS):
                    workers.start_soon(self._serve_stream, receive)
            async with anyio.create_task_group() as self._late:
                yield
                self._over.set()

    async def _serve_stream(self, items: Any) -> None:
        async for item in items:
            with item as (act, done):
                await act()
            assert ari.current_run_id() == STRANGER, "behind an item the worker is in its run"
            done.set()
            del item, act, done

    async def streamed(self, act: AsyncAct) -> None:
        """To a worker task."""
        done = anyio.Event()
        await self._send.send(ari.carry((act, done)))
        await done.wait()

    def late(self, act: AsyncAct) -> None:
        """A task that begins here, and goes on when everything else is over."""
        self._late.start_soon(self._wait, act, self._over)

    async def _wait(self, act: AsyncAct, over: anyio.Event) -> None:
        await over.wait()
        await act()

    # Processes --------------------------------------------------------------------------------------------------------

    @cached_property
    def forked(self) -> ProcessPoolExecutor:
        return ari.BoundProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork"))

    @cached_property
    def stale(self) -> ProcessPoolExecutor:
        """Of somebody who does not know us."""
        return ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork"))

    @cached_property
    def spawned(self) -> ProcessPoolExecutor:
        return ari.BoundProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))

    @cached_property
    def pool(self) -> Any:
        return multiprocessing.get_context("fork").Pool(1)

    def process(self, act: Act, method: str) -> None:
        child = ari.BoundProcess(target=act, context=multiprocessing.get_context(method))
        child.start()
        child.join()

    def subprocess(self, act: Act, env: dict[str, str] | None) -> None:
        module = sys.modules[act.__module__]
        done = subprocess.run([sys.executable, str(module.__file__), act.__name__], env=env, check=False)
        assert done.returncode == 0, f"the subprocess ended with {done.returncode}"

    def fork(self, act: Act) -> None:
        child = os.fork()
        if not child:
            _and_exit(act)
        os.waitpid(child, 0)

    def killed(self, name: str, act: Act) -> None:
        """In a run of a process that is killed."""
        child = os.fork()
        if not child:
            ari.start_run(name).__enter__()
            _and_exit(act, kill=True)
        os.waitpid(child, 0)

    # Patches ----------------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def patched(self) -> Generator[None]:
        ari.patch_stdlib()
        try:
            yield
        finally:
            ari.unpatch_stdlib()

    # Cancellation -----------------------------------------------------------------------------------------------------

    def scope(self, number: int) -> anyio.CancelScope:
        self._scopes[number] = scope = anyio.CancelScope()
        return scope

    async def cancel(self, number: int) -> None:
        self._scopes[number].cancel()
        await anyio.lowlevel.checkpoint()

    async def to_process(self, act: Act) -> None:
        await anyio.to_process.run_sync(act)

    # Wires ------------------------------------------------------------------------------------------------------------

    def over(self, carrier: Any, act: Act) -> None:
        """By a carrier of ids."""
        carriers = ari.carriers
        empty: Any = "http://here/x" if carrier is carriers.query else [] if carrier is carriers.kafka else {}
        sent = carrier.inject(empty)
        came = (carriers.headers if carrier is carriers.kafka else carrier).extract(sent, policy="trust")
        with ari.RunContext(STRANGER), ari.RunContext(came):
            act()

    async def http(self, path: str, act: AsyncAct) -> None:
        """By an HTTP request to an application in this process."""

        async def application(scope: Any, receive: Any, send: Any) -> None:
            await act()
            await send({"type": "http.response.start", "status": 204, "headers": []})
            await send({"type": "http.response.body", "body": b""})

        server = RunMiddleware(application, inbound="trust")
        async with httpx.AsyncClient(transport=httpx.ASGITransport(server), base_url="http://here") as client:
            instrument(client)
            await client.get(f"/{path}")

    def hand_off(self, name: str, act: Act) -> None:
        """By a message that hands its run over, to a worker that is in a run already."""
        with ari.hand_off(name, None) as message:
            body = message.to_json()

        def work() -> None:
            with ari.RunContext(STRANGER), ari.accept(body, name=name):
                act()

        self.others.submit(work).result()

    async def each(self, name: str, act: AsyncAct) -> None:
        async def one(_: int) -> None:
            await act()

        await ari.run_each(one, [0], name=name)

    # Generators -------------------------------------------------------------------------------------------------------

    def elsewhere(self, act: Act) -> None:
        """In a thread of somebody who does not know us, in a run of their own."""

        def work() -> None:
            with ari.RunContext(STRANGER):
                act()

        self.others.submit(work).result()

    def exhaust(self, steps: Generator[Any]) -> None:
        for _ in steps:
            pass

    async def drain(self, steps: AsyncGenerator[Any]) -> None:
        async for _ in steps:
            pass

    async def aclose(self, steps: AsyncGenerator[Any]) -> None:
        await steps.aclose()

    def bare(self) -> Iterator[int]:
        """A generator with a scope of its own that nobody decorated."""
        with ari.RunContext(STRANGER):
            yield 1
            yield 2

    def ask(self, place: int) -> None:
        """Note what becomes of the current run, as a reader sees it."""
        run_id = ari.current_run_id()
        assert self.registry is not None
        assert run_id is not None
        note(place, self.registry.get(run_id).status or "not started")


def _error_of(act: Act) -> BaseException | None:
    try:
        act()
    except BaseException as error:
        return error
    return None


def _answer(reply: Future[None], error: BaseException | None) -> None:
    """Say what became of an item, and whether the worker is where it was before."""
    if ari.current_run_id() != STRANGER:
        error = AssertionError(f"behind an item the worker is in {ari.current_run_id()}")
    if error is None:
        reply.set_result(None)
    else:
        reply.set_exception(error)


def _and_exit(act: Act, *, kill: bool = False) -> None:
    """The rest of the life of a forked child."""
    code = 1
    try:
        act()
        code = 0
    finally:
        if kill and not code:
            os.kill(os.getpid(), signal.SIGKILL)
        os._exit(code)


stage = Stage()
if FAULT in os.environ:
    plant(os.environ[FAULT])
