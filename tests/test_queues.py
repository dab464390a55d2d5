"""Queues: items that bring their run along."""

from __future__ import annotations

import contextvars
import gc
import pickle
import queue
import threading
import weakref
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_run_id import Carried, RunContext, RunId, carry, current_run_id, received
from agent_run_id.testing import run_ids

if TYPE_CHECKING:
    from collections.abc import Iterator


@given(run_ids(), st.integers() | st.text() | st.lists(st.integers()))
def test_an_item_pickles_with_the_lineage_of_its_run(run_id: RunId, item: Any) -> None:
    with RunContext(run_id):
        carried = pickle.loads(pickle.dumps(carry(item)))  # noqa: S301
    assert carried.item == item
    assert carried.run_id.token == run_id.token
    with carried as taken:
        assert taken == item
        assert current_run_id() is carried.run_id
    assert current_run_id() is None


def test_an_item_sent_outside_any_run_is_handled_in_none() -> None:
    carried = carry("job")
    with RunContext(RunId.generate()) as own:
        with carried as job:
            assert (job, current_run_id()) == ("job", None)
        assert current_run_id() is own.run_id


def test_what_was_not_carried_is_handled_in_no_run_rather_than_in_the_workers() -> None:
    with RunContext(RunId.generate()), received("job") as job:
        assert (job, current_run_id()) == ("job", None)


def test_received_takes_what_was_carried_as_it_is() -> None:
    with RunContext(RunId.generate()) as sender:
        carried = carry("job")
    assert received(carried) is carried
    with received(carried) as job:
        assert (job, current_run_id()) == ("job", sender.run_id)


def test_one_item_may_be_handled_many_times_and_at_once() -> None:
    with RunContext(RunId.generate()) as sender:
        carried = carry("job")
    barrier, seen = threading.Barrier(4), []

    def handle() -> None:
        with carried:
            barrier.wait()
            seen.append(current_run_id() is sender.run_id)
        seen.append(current_run_id() is None)

    threads = [threading.Thread(target=handle) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [True] * 8


def test_carried_items_keep_their_order_in_a_priority_queue() -> None:
    items: queue.PriorityQueue[Carried[int]] = queue.PriorityQueue()
    for number in (3, 1, 2):
        items.put(carry(number))
    assert [items.get().item for _ in range(3)] == [1, 2, 3]
    with pytest.raises(TypeError):
        sorted([carry(1), 2])  # type: ignore[type-var]


@pytest.mark.anyio
async def test_async_with_is_the_same() -> None:
    with RunContext(RunId.generate()) as sender:
        carried = carry("job")
    async with carried as job:
        await anyio.lowlevel.checkpoint()
        assert (job, current_run_id()) == ("job", sender.run_id)
    assert current_run_id() is None


def test_a_failure_while_handling_leaves_the_worker_as_it_was() -> None:
    def handle() -> Iterator[None]:
        with carry("job"):
            raise ValueError("bad job")
        yield

    with RunContext(RunId.generate()) as own:
        with pytest.raises(ValueError, match="bad job"):
            next(handle())
        assert current_run_id() is own.run_id


def test_a_task_that_outlives_an_item_does_not_keep_it_alive() -> None:
    class Item:
        pass

    item = Item()
    seen = weakref.ref(item)
    with carry(item):
        late = contextvars.copy_context()
    del item
    gc.collect()
    assert seen() is None
    assert late.run(current_run_id) is None
