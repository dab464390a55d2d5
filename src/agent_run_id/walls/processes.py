"""Processes as walls: a forked one brings along what was current when it was forked, any other nothing."""

from __future__ import annotations

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

import anyio.to_process

from agent_run_id.binding import bind
from agent_run_id.executors import BoundProcessPoolExecutor
from agent_run_id.multiprocess import BoundProcess
from agent_run_id.walls.wall import NOTHING, Wall, blocking, mapped, simple, submit, with_pool
from agent_run_id.walls.work import put_result

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent_run_id.walls.wall import Work

__all__ = ["PROCESSES"]


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
    return partial(BoundProcess, context=context)


def _in_fork(work: Work) -> Any:
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(writer, str(work() or "").encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        told = pipe.read()
    os.waitpid(pid, 0)
    return told or None


def _process_pool(method: str, kind: Callable[..., ProcessPoolExecutor]) -> Callable[[], ProcessPoolExecutor]:
    return lambda: kind(1, mp_context=multiprocessing.get_context(method))


def _pool(method: str) -> Callable[[], Any]:
    return lambda: multiprocessing.get_context(method).Pool(1)


def _apply(pool: Any, work: Work) -> Any:
    return pool.apply(work)


def _apply_bound(pool: Any, work: Work) -> Any:
    return pool.apply(bind(work))


def _joblib(work: Work) -> Any:
    joblib: Any = import_module("joblib")
    return joblib.Parallel(n_jobs=2, backend="loky")([joblib.delayed(work)()])[0]


def _joblib_bound(work: Work) -> Any:
    return _joblib(bind(work))


async def _to_process(work: Work) -> Any:
    return await anyio.to_process.run_sync(work)


async def _to_process_bound(work: Work) -> Any:
    return await anyio.to_process.run_sync(bind(work))


PROCESSES: Final = [
    *(
        Wall(
            f"`ProcessPoolExecutor`, {method}",
            "wrong" if method == "fork" else "lost",
            "`BoundProcessPoolExecutor`",
            with_pool(_process_pool(method, BoundProcessPoolExecutor), submit),
            with_pool(_process_pool(method, ProcessPoolExecutor), submit),
            patched="kept",
            in_process=False,
            awaits=False,
        )
        for method in ("fork", "spawn", "forkserver")
    ),
    Wall(
        "`ProcessPoolExecutor.map`",
        "wrong",
        "`BoundProcessPoolExecutor`",
        with_pool(_process_pool("fork", BoundProcessPoolExecutor), mapped),
        with_pool(_process_pool("fork", ProcessPoolExecutor), mapped),
        patched="kept",
        in_process=False,
        awaits=False,
    ),
    *(
        Wall(
            f"`multiprocessing.Process`, {method}",
            "kept" if method == "fork" else "lost",
            "`BoundProcess`",
            blocking(_in_process(method, _bound_process)),
            blocking(_in_process(method, _plain_process)),
            patched="kept",
            in_process=False,
            awaits=False,
        )
        for method in ("fork", "spawn", "forkserver")
    ),
    *(
        Wall(
            f"`multiprocessing.Pool`, {method}",
            "wrong" if method == "fork" else "lost",
            "`bind(fn)`",
            with_pool(_pool(method), _apply_bound),
            with_pool(_pool(method), _apply),
            patched="kept",
            in_process=False,
            awaits=False,
        )
        for method in ("fork", "spawn", "forkserver")
    ),
    Wall(
        "`os.fork`",
        "kept",
        NOTHING,
        blocking(_in_fork),
        blocking(_in_fork),
        in_process=False,
        awaits=False,
    ),
    Wall(
        "joblib (loky)",
        "lost",
        "`bind(fn)`",
        blocking(_joblib_bound),
        blocking(_joblib),
        needs="joblib",
        in_process=False,
        awaits=False,
    ),
    Wall("`anyio.to_process`", "lost", "`bind(fn)`", simple(_to_process_bound), simple(_to_process), in_process=False),
]
