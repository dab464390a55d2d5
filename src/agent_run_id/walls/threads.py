"""Threads, greenlets and subinterpreters as walls: none of them brings the run along by itself."""

from __future__ import annotations

import os
import pickle
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from multiprocessing.pool import ThreadPool
from typing import TYPE_CHECKING, Any, Final

from agent_run_id.binding import bind
from agent_run_id.executors import BoundThreadPoolExecutor, wrap_executor
from agent_run_id.threads import BoundThread, BoundTimer
from agent_run_id.walls.wall import Wall, blocking, mapped, submit, with_pool

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent_run_id.walls.wall import Work

__all__ = ["THREADS"]

_INTERPRETERS: Final = "_interpreters" if sys.version_info >= (3, 13) else "_xxsubinterpreters"
_IN_INTERPRETER: Final = """
import os, pickle
with os.fdopen({fd}, "wb") as pipe:
    pickle.dump(pickle.loads({work!r})(), pipe)
"""


def _in_thread(make: Callable[[Callable[[], None]], threading.Thread]) -> Callable[[Work], Any]:
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


class _MineBound(_Mine, BoundThread):
    """A subclass that overrides `run`."""


def _in_new_pool(make: Callable[[], Any]) -> Callable[[Work], Any]:
    def cross(work: Work) -> Any:
        with make() as pool:
            return submit(pool, work)

    return cross


def _apply(pool: Any, work: Work) -> Any:
    return pool.apply(work)


def _apply_bound(pool: Any, work: Work) -> Any:
    return pool.apply(bind(work))


def _in_greenlet(work: Work) -> Any:
    return import_module("greenlet").greenlet(work).switch()


def _in_gevent(work: Work) -> Any:
    return import_module("gevent").spawn(work).get()


def _in_interpreter(work: Work) -> Any:
    interpreters: Any = import_module(_INTERPRETERS)
    reader, writer = os.pipe()
    interpreter = interpreters.create()
    try:
        interpreters.run_string(interpreter, _IN_INTERPRETER.format(fd=writer, work=pickle.dumps(work)))
        with os.fdopen(reader, "rb") as pipe:
            return pickle.load(pipe)  # noqa: S301 - ours
    finally:
        interpreters.destroy(interpreter)


THREADS: Final = [
    Wall(
        "`ThreadPoolExecutor.submit`",
        "lost",
        "`BoundThreadPoolExecutor`",
        blocking(_in_new_pool(lambda: BoundThreadPoolExecutor(1))),
        blocking(_in_new_pool(lambda: ThreadPoolExecutor(1))),
        patched="kept",
        awaits=False,
    ),
    Wall(
        "`ThreadPoolExecutor.submit`, in a pool warmed before the run",
        "lost",
        "`BoundThreadPoolExecutor`",
        with_pool(lambda: BoundThreadPoolExecutor(1), submit),
        with_pool(lambda: ThreadPoolExecutor(1), submit),
        patched="kept",
        awaits=False,
    ),
    Wall(
        "`ThreadPoolExecutor.map`",
        "lost",
        "`BoundThreadPoolExecutor`",
        with_pool(lambda: BoundThreadPoolExecutor(1), mapped),
        with_pool(lambda: ThreadPoolExecutor(1), mapped),
        patched="kept",
        awaits=False,
    ),
    Wall(
        "an executor somebody else made",
        "lost",
        "`wrap_executor(executor)`",
        with_pool(lambda: wrap_executor(ThreadPoolExecutor(1)), mapped),
        with_pool(lambda: ThreadPoolExecutor(1), mapped),
        patched="kept",
        awaits=False,
    ),
    Wall(
        "`multiprocessing.pool.ThreadPool`",
        "lost",
        "`bind(fn)`",
        with_pool(lambda: ThreadPool(1), _apply_bound),
        with_pool(lambda: ThreadPool(1), _apply),
        patched="kept",
        awaits=False,
    ),
    Wall(
        "`threading.Thread`",
        "lost",
        "`BoundThread` or `bind(target)`",
        blocking(_in_thread(lambda act: BoundThread(target=act))),
        blocking(_in_thread(lambda act: threading.Thread(target=act))),
        patched="kept",
        awaits=False,
    ),
    Wall(
        "a `Thread` subclass that overrides `run`",
        "lost",
        "`BoundThread` as its base",
        blocking(_in_thread(_MineBound)),
        blocking(_in_thread(_Mine)),
        patched="kept",
        awaits=False,
    ),
    Wall(
        "`threading.Timer`",
        "lost",
        "`BoundTimer` or `bind(function)`",
        blocking(_in_thread(lambda act: BoundTimer(0, act))),
        blocking(_in_thread(lambda act: threading.Timer(0, act))),
        patched="kept",
        awaits=False,
    ),
    Wall(
        "greenlets",
        "lost",
        "`bind(fn)`",
        blocking(lambda work: _in_greenlet(bind(work))),
        blocking(_in_greenlet),
        needs="greenlet",
        awaits=False,
    ),
    Wall(
        "gevent",
        "lost",
        "`bind(fn)`",
        blocking(lambda work: _in_gevent(bind(work))),
        blocking(_in_gevent),
        needs="gevent",
        awaits=False,
    ),
    Wall(
        "subinterpreters",
        "lost",
        "`bind(fn)`, pickled",
        blocking(lambda work: _in_interpreter(bind(work))),
        blocking(_in_interpreter),
        needs=_INTERPRETERS,
        in_process=False,
        awaits=False,
    ),
]
