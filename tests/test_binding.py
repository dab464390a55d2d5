"""bind and isolated: callables that bring their run along."""

from __future__ import annotations

import asyncio
import functools
import inspect
import multiprocessing
import pickle
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from agent_run_id import CURRENT, RunContext, RunId, bind, child_env, current_run_id, isolated

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path


def here() -> str | None:
    """The lineage in force where this is called."""
    run_id = current_run_id()
    return None if run_id is None else run_id.token


def add(left: int, *, right: int = 1) -> tuple[int, str | None]:
    """Adds."""
    return left + right, here()


async def here_async() -> str | None:
    await anyio.lowlevel.checkpoint()
    return here()


def here_items() -> Iterator[str | None]:
    yield here()


async def here_items_async() -> AsyncIterator[str | None]:
    yield here()


class Tool:
    """A callable object with methods."""

    def __call__(self) -> str | None:
        return here()

    def method(self) -> str | None:
        return here()


@pytest.fixture
def run_id() -> RunId:
    return RunId.generate(parent=RunId.generate(parent=RunId.generate()))


def test_a_bound_call_runs_in_the_run_of_the_binding_and_leaves_no_trace(run_id: RunId) -> None:
    with RunContext(run_id):
        bound = bind(add)
    assert bound(1, right=2) == (3, run_id.token)
    assert here() is None
    with RunContext(RunId.generate()) as other:
        assert bound(1) == (2, run_id.token)
        assert current_run_id() is other.run_id


def test_it_binds_the_absence_of_a_run_too() -> None:
    bound = bind(here)
    with RunContext(RunId.generate()):
        assert bound() is None


def test_an_explicit_run_beats_the_current_one(run_id: RunId) -> None:
    with RunContext(RunId.generate()):
        assert bind(here, run_id=run_id)() == run_id.token
        assert bind(here, run_id=None)() is None
        assert bind(here, run_id=CURRENT)() == here()


def test_isolated_runs_in_no_run_at_all(run_id: RunId) -> None:
    with RunContext(run_id):
        assert isolated(here)() is None
        assert here() == run_id.token


@pytest.mark.parametrize("fn", [here, Tool(), Tool().method, functools.partial(here), len, lambda: here()])
def test_any_callable_can_be_bound_and_is_named_as_before(fn: Any, run_id: RunId) -> None:
    bound = bind(fn, run_id=run_id)
    if fn is len:
        assert bound([1]) == 1
    else:
        assert bound() == run_id.token
    assert getattr(bound, "__wrapped__") is fn  # noqa: B009
    assert getattr(bound, "__name__", None) == getattr(fn, "__name__", None)


def test_the_signature_is_that_of_the_function() -> None:
    assert inspect.signature(bind(add)) == inspect.signature(add)


@pytest.mark.anyio
async def test_coroutine_functions_and_async_generators(run_id: RunId) -> None:
    assert inspect.iscoroutinefunction(bind(here_async))
    assert await pickle.loads(pickle.dumps(bind(here_async, run_id=run_id)))() == run_id.token  # noqa: S301
    assert await bind(here_async, run_id=run_id)() == run_id.token
    assert [item async for item in bind(here_items_async, run_id=run_id)()] == [run_id.token]
    assert list(bind(here_items, run_id=run_id)()) == [run_id.token]
    assert here() is None


def test_a_bound_function_pickles_with_the_lineage(run_id: RunId) -> None:
    bound = pickle.loads(pickle.dumps(bind(add, run_id=run_id)))  # noqa: S301
    assert bound(1) == (2, run_id.token)
    assert pickle.loads(pickle.dumps(bind(Tool().method, run_id=run_id)))() == run_id.token  # noqa: S301


def test_a_plain_thread_a_timer_and_a_warm_pool_get_the_submitters_run(run_id: RunId) -> None:
    seen: list[str | None] = []

    def note() -> None:
        seen.append(here())

    with RunContext(RunId.generate()), ThreadPoolExecutor(1) as pool:
        pool.submit(here).result()  # the worker starts inside another run
        with RunContext(run_id):
            seen.append(pool.submit(bind(here)).result())
            thread = threading.Thread(target=bind(note))
            timer = threading.Timer(0, bind(note))
        thread.start()
        timer.start()
        thread.join()
        timer.join()
        assert pool.submit(here).result() is None
    assert seen == [run_id.token] * 3


def test_one_bound_callable_can_run_many_times_at_once(run_id: RunId) -> None:
    barrier = threading.Barrier(8)

    def meet() -> str | None:
        barrier.wait()
        return here()

    with ThreadPoolExecutor(8) as pool:
        bound = bind(meet, run_id=run_id)
        assert [future.result() for future in [pool.submit(bound) for _ in range(8)]] == [run_id.token] * 8


@pytest.mark.anyio
async def test_to_thread_and_task_groups_need_nothing(run_id: RunId) -> None:
    seen: list[str | None] = []

    async def note() -> None:
        seen.append(await here_async())

    with RunContext(run_id):
        seen.append(await anyio.to_thread.run_sync(here))
        async with anyio.create_task_group() as group:
            group.start_soon(note)
    assert seen == [run_id.token] * 2


def test_run_in_executor_through_bind(run_id: RunId) -> None:
    async def main() -> str | None:
        with RunContext(run_id):
            return await asyncio.get_running_loop().run_in_executor(None, bind(here))

    assert asyncio.run(main()) == run_id.token


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_a_process_pool_gets_the_run_of_each_job_for_that_job_alone(method: str, run_id: RunId) -> None:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context(method)) as pool:
        with RunContext(run_id):
            first = pool.submit(bind(here)).result()
        second = pool.submit(bind(here, run_id=None)).result()
        third = pool.submit(here).result()
    assert (first, second, third) == (run_id.token, None, None)


def test_cloudpickle_takes_what_only_it_can_pickle(run_id: RunId) -> None:
    import cloudpickle

    bound = pickle.loads(cloudpickle.dumps(bind(lambda: here(), run_id=run_id)))  # noqa: S301
    assert bound() == run_id.token


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_what_the_main_module_defines_crosses_too(method: str, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        textwrap.dedent(f"""
        import multiprocessing
        import agent_run_id as ari

        def here():
            return ari.current_run_id().token

        if __name__ == "__main__":
            with multiprocessing.get_context({method!r}).Pool(1) as pool:
                with ari.RunContext(ari.RunId.generate(ari.RunId.generate())) as scope:
                    print(pool.apply(ari.bind(here)) == scope.run_id.token)
        """)
    )
    done = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, check=True, env=child_env())
    assert done.stdout.strip() == "True"


def test_decorators_see_through_what_is_bound() -> None:
    with RunContext(RunId.generate()) as outer:
        bound = bind(here_items)
    items = RunContext(RunId.generate())(bound)()
    assert list(items) == [outer.run_id.token if outer.run_id else None]


def test_a_users_wrapper_around_a_generator_is_taken_for_what_it_is() -> None:
    stream = RunContext(RunId.generate())(here_items)

    @functools.wraps(stream)
    def listed() -> list[str | None]:
        return list(stream())

    assert isinstance(RunContext(RunId.generate())(listed)(), list)
