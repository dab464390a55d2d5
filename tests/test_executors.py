"""Executors: each call in the run of whoever submitted it."""

from __future__ import annotations

import asyncio
import copy
import multiprocessing
import os
import signal
import threading
import time
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TYPE_CHECKING

import pytest

from agent_run_id import (
    BoundProcessPoolExecutor,
    BoundThread,
    BoundThreadPoolExecutor,
    RunContext,
    RunId,
    current_run_id,
    wrap_executor,
)

if TYPE_CHECKING:
    from pathlib import Path


def test_map_binds_at_the_call_also_what_is_submitted_while_results_are_read() -> None:
    with BoundThreadPoolExecutor(1) as pool:
        with RunContext(RunId.generate()) as sender:
            results = pool.map(lambda _: current_run_id(), (number for number in range(3)))
        with RunContext(RunId.generate()):
            assert list(results) == [sender.run_id] * 3


def test_an_initializer_and_the_workers_themselves_are_in_no_run() -> None:
    seen: list[RunId | None] = []
    with (
        RunContext(RunId.generate()),
        BoundThreadPoolExecutor(1, initializer=lambda: seen.append(current_run_id())) as pool,
    ):
        pool.submit(int).result()
    assert seen == [None]


def test_exceptions_and_arguments_pass() -> None:
    with BoundThreadPoolExecutor(1) as pool:
        assert pool.submit(int, "11", base=2).result() == 3
        with pytest.raises(ValueError, match="invalid literal"):
            pool.submit(int, "x").result()


def test_a_wrapped_executor_offers_what_the_executor_does() -> None:
    inner = ThreadPoolExecutor(2, thread_name_prefix="theirs")
    with wrap_executor(inner) as pool:
        assert pool._max_workers == 2  # type: ignore[attr-defined]
        assert copy.copy(pool).submit(lambda: threading.current_thread().name).result().startswith("theirs")
    with pytest.raises(RuntimeError, match="after shutdown"):
        inner.submit(int)


def die_of(number: int, word: Path) -> None:
    """Die as soon as a file is there."""
    while not word.exists():
        time.sleep(0.01)
    if number < 0:
        os._exit(-number)
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize(("number", "how"), [(signal.SIGKILL, "died of SIGKILL"), (-3, "exited with status 3")])
def test_a_future_whose_worker_died_names_the_run_that_waits_for_it(
    tmp_path: Path, number: int, how: str, *, wrapped: bool
) -> None:
    """Each its own, though the pool gives the same exception to all; and how the worker died."""
    context = multiprocessing.get_context("spawn")
    pool: Executor = BoundProcessPoolExecutor(1, mp_context=context)
    if wrapped:
        pool = wrap_executor(ProcessPoolExecutor(1, mp_context=context))
    with pool:
        assert pool.submit(int, "7").result() == 7
        with RunContext(RunId.generate()) as first:
            dying = pool.submit(die_of, number, tmp_path / "word")
            mapped = [] if wrapped else pool.map(int, ["1"])
        with RunContext(RunId.generate()) as second:
            waiting = pool.submit(int, "1")
        outside = pool.submit(int, "1")
        (tmp_path / "word").touch()
        found = [future.exception() for future in (dying, waiting, outside)]
        runs = [first.run_id, second.run_id, None]
        if not wrapped:
            with pytest.raises(BrokenProcessPool) as of_map:
                list(mapped)
            found.append(of_map.value)
            runs.append(first.run_id)
    assert all(type(error) is BrokenProcessPool for error in found)
    notes = [getattr(error, "__notes__", []) for error in found]
    submitted = "agent run {} submitted this to the pool".format
    for said, run_id in zip(notes, runs, strict=True):
        assert [note for note in said if note.startswith("agent run")] == ([submitted(run_id)] if run_id else [])
        assert any(note.startswith("worker process ") and note.endswith(how) for note in said), said


def test_the_default_executor_of_a_loop_can_be_ours() -> None:
    async def main() -> RunId | None:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(BoundThreadPoolExecutor(1))
        with RunContext(sender):
            return await loop.run_in_executor(None, current_run_id)

    sender = RunId.generate()
    assert asyncio.run(main()) is sender


def test_a_thread_that_is_started_twice_is_refused_as_ever() -> None:
    seen: list[RunId | None] = []
    with RunContext(RunId.generate()) as starter:
        thread = BoundThread(target=lambda: seen.append(current_run_id()))
        thread.start()
        with pytest.raises(RuntimeError, match="once"):
            thread.start()
        thread.join()
    assert seen == [starter.run_id]
