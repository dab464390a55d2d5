"""Processes as walls: a forked one brings along what was current when it was forked, any other nothing."""

from __future__ import annotations

import asyncio
import multiprocessing
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_process
import joblib

import agent_run_id as ari
from tests.walls.wall import Wall, Work, blocking, mapped, simple, submit, with_pool

if TYPE_CHECKING:
    from collections.abc import Callable

TELL = "import agent_run_id as ari; run_id = ari.current_run_id(); print(run_id.token if run_id else '')"


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


PROCESSES = [
    *(
        Wall(
            f"`ProcessPoolExecutor`, {method}",
            "wrong" if method == "fork" else "lost",
            "`BoundProcessPoolExecutor`",
            with_pool(_process_pool(method, ari.BoundProcessPoolExecutor), submit),
            with_pool(_process_pool(method, ProcessPoolExecutor), submit),
            in_process=False,
        )
        for method in ("fork", "spawn", "forkserver")
    ),
    Wall(
        "`ProcessPoolExecutor.map`",
        "wrong",
        "`BoundProcessPoolExecutor`",
        with_pool(_process_pool("fork", ari.BoundProcessPoolExecutor), mapped),
        with_pool(_process_pool("fork", ProcessPoolExecutor), mapped),
        in_process=False,
    ),
    *(
        Wall(
            f"`multiprocessing.Process`, {method}",
            "kept" if method == "fork" else "lost",
            "`BoundProcess`",
            blocking(_in_process(method, _bound_process)),
            blocking(_in_process(method, _plain_process)),
            in_process=False,
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
            in_process=False,
        )
        for method in ("fork", "spawn")
    ),
    Wall("joblib (loky)", "lost", "`bind(fn)`", blocking(_joblib_bound), blocking(_joblib), in_process=False),
    Wall("`anyio.to_process`", "lost", "`bind(fn)`", simple(_to_process_bound), simple(_to_process), in_process=False),
    Wall(
        "`subprocess`, where the child imports the library",
        "lost",
        "`env=child_env()`",
        blocking(_subprocess_joined),
        blocking(_subprocess),
        in_process=False,
    ),
    Wall(
        "`anyio.run_process` and `open_process`, likewise",
        "lost",
        "`env=child_env()`",
        simple(_anyio_process_joined),
        simple(_anyio_process),
        in_process=False,
    ),
    Wall(
        "`asyncio.create_subprocess_exec`, likewise",
        "lost",
        "`env=child_env()`",
        simple(_asyncio_process_joined),
        simple(_asyncio_process),
        backends=("asyncio",),
        in_process=False,
    ),
    Wall(
        "`trio.run_process`, likewise",
        "lost",
        "`env=child_env()`",
        simple(_trio_process_joined),
        simple(_trio_process),
        backends=("trio",),
        in_process=False,
    ),
]
