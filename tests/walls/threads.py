"""Threads and greenlets as walls: none of them brings the run along by itself."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import greenlet

import agent_run_id as ari
from tests.walls.wall import Wall, Work, blocking, mapped, submit, with_pool

if TYPE_CHECKING:
    from collections.abc import Callable


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


THREADS = [
    Wall(
        "`ThreadPoolExecutor.submit`",
        "lost",
        "`BoundThreadPoolExecutor`",
        with_pool(lambda: ari.BoundThreadPoolExecutor(1), submit),
        with_pool(lambda: ThreadPoolExecutor(1), submit),
    ),
    Wall(
        "`ThreadPoolExecutor.map`",
        "lost",
        "`BoundThreadPoolExecutor`",
        with_pool(lambda: ari.BoundThreadPoolExecutor(1), mapped),
        with_pool(lambda: ThreadPoolExecutor(1), mapped),
    ),
    Wall(
        "an executor somebody else made",
        "lost",
        "`wrap_executor(executor)`",
        with_pool(lambda: ari.wrap_executor(ThreadPoolExecutor(1)), mapped),
        with_pool(lambda: ThreadPoolExecutor(1), mapped),
    ),
    Wall(
        "`threading.Thread`",
        "lost",
        "`BoundThread` or `bind(target)`",
        blocking(_in_thread(lambda act: ari.BoundThread(target=act))),
        blocking(_in_thread(lambda act: threading.Thread(target=act))),
    ),
    Wall(
        "a `Thread` subclass that overrides `run`",
        "lost",
        "`BoundThread` as its base",
        blocking(_in_thread(_MineBound)),
        blocking(_in_thread(_Mine)),
    ),
    Wall(
        "`threading.Timer`",
        "lost",
        "`BoundTimer` or `bind(function)`",
        blocking(_in_thread(lambda act: ari.BoundTimer(0, act))),
        blocking(_in_thread(lambda act: threading.Timer(0, act))),
    ),
    Wall(
        "greenlets",
        "lost",
        "`bind(fn)`",
        blocking(lambda work: _in_greenlet(ari.bind(work))),
        blocking(_in_greenlet),
    ),
]
