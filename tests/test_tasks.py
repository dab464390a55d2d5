"""Tasks: a run for each task of a group."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import pytest

from agent_run_id import current_run_id, run_each, start_run

if TYPE_CHECKING:
    from agent_run_id import RunRegistry

pytestmark = pytest.mark.anyio


async def test_each_item_has_a_run_of_its_own_and_results_are_in_order(registry: RunRegistry) -> None:
    started: list[int] = []

    async def work(item: int) -> str:
        started.append(item)
        run_id = current_run_id()
        while len(started) < 3:  # all of them at once, or nobody would get on
            await anyio.lowlevel.checkpoint()
        assert run_id is not None
        return f"{item} {run_id}"

    with start_run("batch", kind="batch") as batch:
        results = await run_each(work, [3, 1, 2], name="item", kind="job", key=lambda item: f"k{item}")
        assert current_run_id() is batch.id
    children = {run.key: run for run in registry.children(batch.id)}
    assert results == [f"{item} {children[f'k{item}'].id}" for item in (3, 1, 2)]
    assert {(run.name, run.kind, run.status) for run in children.values()} == {("item", "job", "succeeded")}


async def test_no_more_than_the_limit_run_at_once() -> None:
    running = most = 0

    async def work(_: int) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        for _ in range(5):
            await anyio.lowlevel.checkpoint()
        running -= 1

    await run_each(work, range(10), limit=3)
    assert most == 3


async def test_a_failure_cancels_the_others_and_is_raised_as_a_group(registry: RunRegistry) -> None:
    async def work(item: int) -> None:
        if item == 1:
            await anyio.wait_all_tasks_blocked()
            raise ValueError(item)
        await anyio.sleep_forever()

    with pytest.raises(ExceptionGroup) as caught, start_run("batch") as batch:
        await run_each(work, [1, 2], key=str)
    assert [type(error) for error in caught.value.exceptions] == [ValueError]
    assert {run.key: run.status for run in registry.children(batch.id)} == {"1": "failed", "2": "cancelled"}


async def test_runs_are_named_for_the_function_and_nothing_to_do_is_nothing_done(registry: RunRegistry) -> None:
    async def fetch(item: int) -> int:
        return item

    assert await run_each(fetch, []) == []
    assert await run_each(fetch, [1]) == [1]
    assert [run.name for run in registry.find()] == [fetch.__qualname__]


@pytest.mark.parametrize("limit", [0, -1])
async def test_an_impossible_limit_is_refused(limit: int) -> None:
    async def fetch(item: int) -> int:
        return item

    with pytest.raises(ValueError, match="from 1"):
        await run_each(fetch, [1], limit=limit)
