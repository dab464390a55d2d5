"""Generators: their own run in every step, the consumer's between."""

from __future__ import annotations

import contextvars
import gc
import threading
import warnings
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_run_id import RunContext, RunId, bind, current_run_id, start_run, traced

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator

    from agent_run_id import RunRegistry


def echo(log: list[Any]) -> Generator[Any, Any, str]:
    """Yields the run in force and what it was sent, and takes any exception but ValueError back as an item."""
    sent: Any = None
    while True:
        try:
            sent = yield (current_run_id(), sent)
        except GeneratorExit:
            log.append(current_run_id())
            raise
        except ValueError:
            return "done"
        except Exception as error:
            sent = type(error).__name__


@given(st.lists(st.sampled_from(["send", "throw", "next"]), max_size=8), st.sampled_from(["close", "return", "drop"]))
def test_whatever_the_consumer_does_passes_through_and_it_never_sees_the_run(steps: list[str], end: str) -> None:
    inner = RunId.generate()
    log: list[Any] = []
    make: Callable[[list[Any]], Generator[Any, Any, str]] = RunContext(inner)(echo)
    with RunContext(RunId.generate()) as outer:
        stream = make(log)
        assert current_run_id() is outer.run_id
        assert next(stream) == (inner, None)
        for number, step in enumerate(steps):
            assert current_run_id() is outer.run_id
            if step == "send":
                assert stream.send(number) == (inner, number)
            elif step == "throw":
                assert stream.throw(KeyError(number)) == (inner, "KeyError")
            else:
                assert next(stream) == (inner, None)
        if end == "return":
            with pytest.raises(StopIteration) as stop:
                stream.throw(ValueError())
            assert stop.value.value == "done"
        elif end == "close":
            stream.close()
        del stream
        gc.collect()
        assert log == ([] if end == "return" else [inner])
        assert current_run_id() is outer.run_id


def test_each_step_may_come_from_another_thread() -> None:
    inner = RunId.generate()
    stream = RunContext(inner)(echo)([])
    seen: list[Any] = []

    def step() -> None:
        with RunContext(RunId.generate()) as own:
            seen.append(next(stream)[0])
            seen.append(current_run_id() == own.run_id)

    for _ in range(3):
        thread = threading.Thread(target=step)
        thread.start()
        thread.join()
    assert seen == [inner, True] * 3


def test_scopes_opened_inside_stay_inside_across_steps() -> None:
    inner, nested = RunId.generate(), RunId.generate()

    @RunContext(inner)
    def stream() -> Generator[RunId | None, None, None]:
        with RunContext(nested):
            yield current_run_id()
            yield current_run_id()
        yield current_run_id()

    with RunContext(RunId.generate()) as outer:
        seen = []
        for item in stream():
            seen.append(item)
            assert current_run_id() is outer.run_id
    assert seen == [nested, nested, inner]


def test_what_the_body_sets_in_the_users_variables_is_seen_by_the_consumer() -> None:
    variable: contextvars.ContextVar[int] = contextvars.ContextVar("theirs", default=0)

    @RunContext(RunId.generate())
    def stream() -> Generator[int, None, None]:
        for value in range(3):
            variable.set(value)
            yield value

    assert [(value, variable.get()) for value in stream()] == [(0, 0), (1, 1), (2, 2)]


@pytest.mark.anyio
async def test_an_async_generator_holds_its_run_and_cancel_scopes_across_steps() -> None:
    inner = RunId.generate()

    @RunContext(inner)
    async def stream() -> AsyncGenerator[RunId | None, str]:
        with anyio.move_on_after(60):
            await anyio.lowlevel.checkpoint()
            for _ in range(3):
                sent = yield current_run_id()
                assert sent in (None, "more")
                await anyio.lowlevel.checkpoint()
                assert current_run_id() is inner

    with RunContext(RunId.generate()) as outer:
        items = stream()
        assert await anext(items) is inner
        assert current_run_id() is outer.run_id
        assert await items.asend("more") is inner
        assert current_run_id() is outer.run_id
        assert [item async for item in items] == [inner]
        assert current_run_id() is outer.run_id


@pytest.mark.anyio
async def test_exceptions_thrown_into_an_async_generator_reach_its_body_in_its_run() -> None:
    inner = RunId.generate()

    @RunContext(inner)
    async def stream() -> AsyncGenerator[Any, None]:
        try:
            yield 1
        except KeyError:
            yield current_run_id()

    items = stream()
    await anext(items)
    assert await items.athrow(KeyError("x")) is inner
    with pytest.raises(StopAsyncIteration):
        await anext(items)


@pytest.mark.anyio
async def test_the_body_of_an_async_generator_is_closed_in_its_run() -> None:
    inner, seen = RunId.generate(), []

    @RunContext(inner)
    async def stream() -> AsyncGenerator[int, None]:
        try:
            yield 1
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.lowlevel.checkpoint()
            seen.append(current_run_id())

    with RunContext(RunId.generate()) as outer:
        items = stream()
        await anext(items)
        await items.aclose()
        assert current_run_id() is outer.run_id
    assert seen == [inner]


@pytest.mark.anyio
async def test_while_a_step_waits_the_consumers_other_tasks_see_their_own_run() -> None:
    waiting, go = anyio.Event(), anyio.Event()

    @RunContext(RunId.generate())
    async def stream() -> AsyncGenerator[int, None]:
        waiting.set()
        await go.wait()
        yield 1

    async def other() -> None:
        await waiting.wait()
        assert current_run_id() is outer.run_id
        go.set()

    with RunContext(RunId.generate()) as outer:
        async with anyio.create_task_group() as group:
            group.start_soon(other)
            assert [item async for item in stream()] == [1]
            assert current_run_id() is outer.run_id


@traced(name="stream")
async def traced_stream() -> AsyncGenerator[int, None]:
    for value in range(10):
        await anyio.lowlevel.checkpoint()
        yield value


@pytest.mark.anyio
async def test_100_abandoned_streams_end_once_each_as_cancelled_without_a_word(
    registry: RunRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    with start_run("consumer") as consumer:
        for _ in range(100):
            items = traced_stream()
            async for _item in items:
                assert current_run_id() == consumer.id
                break
            await items.aclose()
            assert current_run_id() == consumer.id
    streams = registry.children(consumer.id)
    assert [run.status for run in streams] == ["cancelled"] * 100
    assert {len(registry.events(run.id)) for run in streams} == {2}
    assert caplog.records == []


@pytest.mark.anyio
async def test_100_streams_that_are_only_dropped_end_once_each_too(
    registry: RunRegistry, anyio_backend_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Broken out of and forgotten: the event loop finalises them, in a task of its own."""
    with start_run("consumer") as consumer, warnings.catch_warnings():
        if anyio_backend_name == "trio":  # says of every async generator that it should have been closed
            warnings.simplefilter("ignore", ResourceWarning)
        for _ in range(100):
            async for _item in traced_stream():
                assert current_run_id() == consumer.id
                break
            assert current_run_id() == consumer.id
        gc.collect()
        with anyio.fail_after(30):
            while {run.status for run in registry.children(consumer.id)} != {"cancelled"}:
                await anyio.lowlevel.checkpoint()
    streams = registry.children(consumer.id)
    assert len(streams) == 100
    assert {len(registry.events(run.id)) for run in streams} == {2}
    assert caplog.records == []


@pytest.mark.anyio
async def test_a_stream_closed_by_another_task_ends_once(registry: RunRegistry) -> None:
    with start_run("consumer") as consumer:
        items = traced_stream()
        await anext(items)
        async with anyio.create_task_group() as group:
            group.start_soon(items.aclose)
        assert current_run_id() == consumer.id
    (stream,) = registry.children(consumer.id)
    assert stream.status == "cancelled"


@pytest.mark.anyio
async def test_a_cancelled_stream_is_cancelled(registry: RunRegistry) -> None:
    @traced(name="stream")
    async def endless() -> AsyncGenerator[int, None]:
        yield 1
        await anyio.sleep_forever()

    with start_run("consumer") as consumer, anyio.CancelScope() as scope:
        async for _ in endless():
            scope.cancel()
    (stream,) = registry.children(consumer.id)
    assert stream.status == "cancelled"


def test_the_parent_is_the_run_of_the_call_not_of_the_first_step(registry: RunRegistry) -> None:
    @traced
    def stream() -> Generator[int, None, None]:
        yield 1

    with start_run("caller") as caller:
        items = stream()
    with start_run("consumer") as consumer:
        assert list(items) == [1]
    assert len(registry.children(caller.id)) == 1
    assert registry.children(consumer.id) == []


def _fail(items: Generator[int, None, None]) -> None:
    next(items)
    with pytest.raises(KeyError):
        items.throw(KeyError("stop"))


@pytest.mark.parametrize(
    ("consume", "status"),
    [
        (list, "succeeded"),
        (next, "cancelled"),
        (_fail, "failed"),
    ],
)
def test_a_generator_ends_as_what_became_of_it(
    consume: Callable[[Any], Any], status: str, registry: RunRegistry
) -> None:
    @traced
    def stream() -> Generator[int, None, None]:
        yield 1
        yield 2

    items = stream()
    consume(items)
    del items
    gc.collect()
    assert registry.get("@last").status == status


def test_a_generator_that_is_never_started_was_never_a_run(registry: RunRegistry) -> None:
    @traced
    def stream() -> Generator[int, None, None]:
        yield 1

    with start_run("caller") as caller:
        stream()
        gc.collect()
    assert registry.children(caller.id) == []


def test_a_loop_that_shuts_down_closes_streams_without_a_collision(caplog: pytest.LogCaptureFixture) -> None:
    import asyncio

    kept = []

    async def main() -> None:
        @traced
        async def stream() -> AsyncGenerator[int, None]:
            try:
                yield 1
            finally:
                await asyncio.sleep(0)

        for _ in range(5):
            items = stream()
            await anext(items)
            kept.append(items)

    asyncio.run(main())
    assert len(kept) == 5
    assert caplog.records == []


def test_a_bound_generator_is_driven_too() -> None:
    with RunContext(RunId.generate()) as outer:
        stream = bind(echo)([])
    assert next(stream)[0] is outer.run_id
    assert current_run_id() is None
