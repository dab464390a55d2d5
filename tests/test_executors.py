"""Executors: each call in the run of whoever submitted it."""

from __future__ import annotations

import asyncio
import copy
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from agent_run_id import BoundThread, BoundThreadPoolExecutor, RunContext, RunId, current_run_id, wrap_executor


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
