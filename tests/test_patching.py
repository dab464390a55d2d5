"""patch_stdlib: plain calls that bring their run along, and what they leave as it was."""

from __future__ import annotations

import asyncio
import gc
import inspect
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import traceback
import weakref
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor, process, thread
from multiprocessing.pool import Pool, ThreadPool
from multiprocessing.process import BaseProcess
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import agent_run_id as ari
from agent_run_id import RunContext, patch_stdlib, patching, unpatch_stdlib
from tests.alone import METHODS, a_run, alone, check_pool, patched
from tests.conftest import BACKENDS
from tests.far_side import here, in_a_thread

if TYPE_CHECKING:
    from collections.abc import Callable

JOBS = ("apply_async", "imap", "imap_unordered", "map", "map_async", "starmap", "starmap_async")
PATCHED: list[tuple[type, str]] = [
    (threading.Thread, "start"),
    (thread._WorkItem, "__init__"),
    (process._WorkItem, "__init__"),
    (BaseProcess, "start"),
    (subprocess.Popen, "__init__"),
    *((Pool, name) for name in JOBS),
]


def in_place() -> list[Any]:
    return [vars(owner)[name] for owner, name in PATCHED]


# How it is turned on and off


@alone
def test_it_is_on_while_it_was_asked_for_more_often_than_not() -> None:
    originals = in_place()

    @given(st.lists(st.booleans(), max_size=12))
    def check(steps: list[bool]) -> None:
        count, ours = 0, originals
        for more in steps:
            (patch_stdlib if more else unpatch_stdlib)()
            count = max(0, count + (1 if more else -1))
            with RunContext(a_run()) as run:
                assert in_a_thread(threading.Thread) == (run.run_id.token if count and run.run_id else None)
            if count == 1 and more:
                ours = in_place()
                assert not any(now is then for now, then in zip(ours, originals, strict=True))
            expected = ours if count else originals
            assert all(now is then for now, then in zip(in_place(), expected, strict=True)), "one on top of another"
        for _ in range(count):
            unpatch_stdlib()

    check()
    assert all(now is then for now, then in zip(in_place(), originals, strict=True))


@alone
def test_threads_that_patch_and_unpatch_at_once_leave_everything_as_it_was() -> None:
    originals = in_place()
    barrier = threading.Barrier(8)

    def turn() -> None:
        barrier.wait()
        for _ in range(50):
            with patched(), RunContext(a_run()) as run:
                assert run.run_id is not None
                seen.append(in_a_thread(threading.Thread) == run.run_id.token)

    seen: list[bool] = []
    threads = [threading.Thread(target=turn) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert seen == [True] * 400
    assert all(now is then for now, then in zip(in_place(), originals, strict=True))


@alone
def test_a_forked_child_has_the_same_state_even_if_another_thread_was_changing_it() -> None:
    patch_stdlib()
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with patching._lock:
            held.set()
            done.wait()

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait()
    reader, writer = os.pipe()
    if os.fork() == 0:
        signal.alarm(120)  # one that hangs is ended, and the test fails
        with RunContext(a_run()) as run:
            patch_stdlib()
            unpatch_stdlib()
            kept = run.run_id is not None and in_a_thread(threading.Thread) == run.run_id.token
            unpatch_stdlib()
            os.write(writer, b"kept" if kept and in_a_thread(threading.Thread) is None else b"not")
        os._exit(0)
    assert os.read(reader, 9) == b"kept"
    done.set()
    holder.join()
    with RunContext(a_run()):
        assert in_a_thread(threading.Thread) is not None, "the child turned it off for us, too"


@alone
def test_signatures_names_and_documentation_stay() -> None:
    def told() -> list[Any]:
        return [
            (inspect.signature(function), function.__name__, function.__qualname__, function.__doc__)
            for function in in_place()
        ]

    before, originals = told(), in_place()
    patch_stdlib()
    assert told() == before
    assert [function.__wrapped__ for function in in_place()] == originals
    assert pickle.loads(pickle.dumps(threading.Thread.start)) is threading.Thread.start  # noqa: S301


def test_it_imports_no_event_loop() -> None:
    program = "import sys, agent_run_id; agent_run_id.patch_stdlib(); assert 'asyncio' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)


# Threads


class Overrides(threading.Thread):
    """A thread with a `run` and a `start` of its own."""

    def __init__(self, target: Callable[[], Any]) -> None:
        super().__init__()
        self.act = target

    def start(self) -> None:
        super().start()

    def run(self) -> None:
        self.act()


def a_timer(target: Callable[[], Any]) -> threading.Thread:
    return threading.Timer(0, target)


def with_a_run_of_its_own(target: Callable[[], Any]) -> threading.Thread:
    made = threading.Thread()
    made.run = target  # type: ignore[method-assign]
    return made


@alone
def test_a_thread_runs_in_the_run_current_at_its_start() -> None:
    kinds: list[Callable[..., threading.Thread]] = [threading.Thread, Overrides, a_timer, with_a_run_of_its_own]
    for kind in kinds:
        seen: list[Any] = []
        with patched():
            with RunContext(a_run()):
                started = kind(target=lambda seen=seen: seen.append(here()))
            with RunContext(a_run()) as run:
                started.start()
            started.join()
            assert run.run_id is not None
            assert seen == [run.run_id.token], kind
            assert in_a_thread(kind) is None
        with RunContext(run.run_id):
            assert in_a_thread(kind) is None


@alone
def test_what_is_bound_explicitly_stays_bound() -> None:
    bound = a_run()
    inner = ThreadPoolExecutor(1)
    with patched(), RunContext(a_run()) as run, ari.BoundThreadPoolExecutor(1) as pool:
        assert run.run_id is not None
        assert in_a_thread(threading.Thread, ari.isolated(here)) is None
        assert in_a_thread(threading.Thread, ari.bind(here, run_id=bound)) == bound.token
        assert in_a_thread(ari.BoundThread) == run.run_id.token
        for executor in (pool, inner, ari.wrap_executor(inner)):
            assert executor.submit(here).result() == run.run_id.token
            assert executor.submit(ari.isolated(here)).result() is None
            assert executor.submit(ari.bind(here, run_id=bound)).result() == bound.token
            assert list(executor.map(here, "ab")) == [run.run_id.token] * 2
    inner.shutdown()


@alone
def test_a_thread_fails_as_ever() -> None:
    class Forgetful(threading.Thread):
        def __init__(self) -> None:
            pass

    def failures() -> list[str]:
        found = []
        go_on = threading.Event()
        running = threading.Thread(target=go_on.wait)
        running.start()
        for act in (running.start, Forgetful().start, threading.main_thread().start, lambda: threading.Thread.start()):  # type: ignore[call-arg]
            try:
                act()
            except Exception as error:
                found.append(repr(error))
        go_on.set()
        running.join()
        assert "run" not in vars(running)
        assert "run" not in vars(threading.main_thread())
        return found

    before = failures()
    with patched(), RunContext(a_run()):
        assert failures() == before
    assert len(before) == 4


@alone
def test_a_thread_dies_without_the_collector() -> None:
    class Payload:
        def __call__(self) -> None:
            pass

    gc.disable()
    with patched(), RunContext(a_run()), ThreadPoolExecutor(1) as pool:
        for kind in (threading.Thread, ari.BoundThread, a_timer):
            payload = Payload()
            started: threading.Thread = kind(target=payload)
            kept: list[weakref.ref[Any]] = [weakref.ref(payload), weakref.ref(started)]
            started.start()
            started.join()
            del payload, started
            assert [ref() for ref in kept] == [None, None], kind
        payload = Payload()
        kept = [weakref.ref(payload)]
        pool.submit(payload).result()
        pool.submit(int).result()
        del payload
        assert kept[0]() is None


@alone
def test_an_exception_comes_back_itself_and_with_one_frame_more() -> None:
    def fails() -> None:
        raise LookupError("as ever")

    def frames(pool: Executor) -> int:
        error = pool.submit(fails).exception()
        assert repr(error) == "LookupError('as ever')"
        assert error is not None
        return len(traceback.extract_tb(error.__traceback__))

    with ThreadPoolExecutor(1) as pool:
        before = frames(pool)
        with patched(), RunContext(a_run()):
            assert frames(pool) == before + 1
        pool.shutdown()
        with patched(), pytest.raises(RuntimeError, match="after shutdown"):
            pool.submit(fails)


# Executors


@alone
def test_each_call_of_a_pool_of_threads_is_in_its_own_run_and_its_workers_in_none() -> None:
    begun: list[str | None] = []
    with RunContext(a_run()):
        before = ThreadPoolExecutor(1)
        before.submit(here).result()
        with patched():
            cold = ThreadPoolExecutor(1, initializer=lambda: begun.append(here()))
            for pool in (before, cold):
                check_pool(lambda fn, pool=pool: pool.submit(fn).result())
                check_pool(lambda fn, pool=pool: next(pool.map(fn, (item for item in "ab"))))
        assert begun == [None]
        # No worker has a run for life: what is submitted plainly is in none, but for the scope that was left open.
        with patched(), ThreadPoolExecutor(1) as pool:
            pool.submit(int).result()
            unpatch_stdlib()
            assert pool.submit(here).result() is None
            patch_stdlib()
    before.shutdown()
    cold.shutdown()


@alone
@pytest.mark.parametrize("backend", [each.id for each in BACKENDS if each.id != "trio"])
def test_run_in_executor_is_in_the_run_of_the_task(backend: str) -> None:
    import anyio

    async def main() -> None:
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, int)
        for run_id in (a_run(), None):
            with RunContext(run_id):
                assert await loop.run_in_executor(None, here) == (run_id.token if run_id else None)
                assert (await asyncio.to_thread(ari.current_run_id)) is run_id

    (options,) = (each.values[0][1] for each in BACKENDS if each.id == backend)
    with RunContext(a_run()), patched():
        anyio.run(main, backend="asyncio", backend_options=options)


@alone
@METHODS
def test_each_call_of_a_pool_of_processes_is_in_its_own_run(method: str) -> None:
    context = multiprocessing.get_context(method)
    with RunContext(a_run()), ProcessPoolExecutor(1, mp_context=context) as warm:
        warm.submit(int).result()
        with patched(), ProcessPoolExecutor(1, mp_context=context) as cold:
            for pool in (warm, cold):
                check_pool(lambda fn, pool=pool: pool.submit(fn).result())
                check_pool(lambda fn, pool=pool: next(pool.map(fn, "ab", chunksize=1)))
            pool = ProcessPoolExecutor(1, mp_context=context)
            pool.submit(int).result()
        with pool:
            assert pool.submit(here).result() is None, "a worker that began while it was patched has a run for life"
        with patched(), ari.BoundProcessPoolExecutor(1, mp_context=context) as bound:
            check_pool(lambda fn: bound.submit(fn).result())
            assert bound.submit(ari.isolated(here)).result() is None


def one(result: Any) -> Any:
    """What the only job of a call gave, whatever the call gives."""
    result = result.get() if hasattr(result, "get") else result
    return result if isinstance(result, str | None) else next(iter(result))


@alone
@pytest.mark.parametrize("method", ["fork", "spawn", "threads"])
def test_each_job_of_a_multiprocessing_pool_is_in_its_own_run(method: str) -> None:
    def made() -> Pool:
        return ThreadPool(1) if method == "threads" else multiprocessing.get_context(method).Pool(1)

    with RunContext(a_run()), made() as warm:
        warm.apply(int)
        with patched(), made() as cold:
            for pool in (warm, cold):
                check_pool(pool.apply)
                check_pool(lambda fn, pool=pool: pool.apply_async(func=fn, args=(1,)).get())
                for name in JOBS[1:]:
                    check_pool(lambda fn, pool=pool, name=name: one(getattr(pool, name)(fn, [(1,)], chunksize=1)))
                assert pool.apply(ari.isolated(here)) is None
                with pytest.raises(ValueError, match="invalid literal"):
                    pool.apply(int, ("x",))
