"""Scopes: where a run is current, and where it no longer is."""

from __future__ import annotations

import contextlib
import contextvars
import gc
import threading
import weakref
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_run_id import RunContext, RunId, current_run_id

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


def current_token() -> str | None:
    """The lineage in force, since ids compare equal without theirs."""
    run_id = current_run_id()
    return None if run_id is None else run_id.token


def test_there_is_no_run_outside_any_scope() -> None:
    assert current_run_id() is None


def test_with_makes_a_run_current_and_gives_itself() -> None:
    child = RunId.generate(parent=RunId.generate())
    scope = RunContext(run_id=child)
    with scope as entered:
        assert entered is scope
        assert entered.run_id is child
        assert current_run_id() is child
    assert current_run_id() is None


def test_none_means_no_run_here() -> None:
    with RunContext(RunId.generate()), RunContext(None):
        assert current_run_id() is None


@given(st.lists(st.integers(0, 2), max_size=12))
def test_one_instance_may_be_entered_many_times_nested(which: list[int]) -> None:
    scopes = [RunContext(RunId.generate()) for _ in range(3)]
    expected: list[RunId | None] = [None]
    with contextlib.ExitStack() as stack:
        for place in which:
            stack.enter_context(scopes[place])
            expected.append(scopes[place].run_id)
            assert current_run_id() is expected[-1]
    assert current_run_id() is None
    for place in which:
        scopes[place].__enter__()
    for place in reversed(which):
        assert current_run_id() is expected.pop()
        scopes[place].__exit__(None, None, None)
    assert current_run_id() is None


def test_one_instance_serves_many_threads_at_once() -> None:
    shared, barrier, seen = RunContext(RunId.generate()), threading.Barrier(8), []

    def enter() -> None:
        with RunContext(RunId.generate()) as own:
            for _ in range(200):
                with shared:
                    seen.append(current_run_id() is shared.run_id)
                seen.append(current_run_id() is own.run_id)
            barrier.wait()

    threads = [threading.Thread(target=enter) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 8 * 400
    assert all(seen)
    assert current_run_id() is None


@pytest.mark.anyio
async def test_one_instance_serves_many_tasks_at_once() -> None:
    shared, seen = RunContext(RunId.generate()), []

    async def enter() -> None:
        async with RunContext(RunId.generate()) as own:
            for _ in range(5):
                async with shared:
                    await anyio.lowlevel.checkpoint()
                    seen.append(current_run_id() is shared.run_id)
                await anyio.lowlevel.checkpoint()
                seen.append(current_run_id() is own.run_id)

    async with anyio.create_task_group() as group:
        for _ in range(20):
            group.start_soon(enter)
    assert len(seen) == 200
    assert all(seen)


def test_leaving_more_often_than_entering_does_nothing() -> None:
    outer, inner = RunContext(RunId.generate()), RunContext(RunId.generate())
    with outer:
        inner.__exit__(None, None, None)
        assert current_run_id() is outer.run_id


def test_scopes_left_out_of_order_leave_the_right_answer() -> None:
    first, second, third = (RunContext(RunId.generate()) for _ in range(3))
    first.__enter__()
    second.__enter__()
    third.__enter__()
    second.__exit__(None, None, None)
    assert current_run_id() is third.run_id
    first.__exit__(None, None, None)
    assert current_run_id() is third.run_id
    third.__exit__(None, None, None)
    assert current_run_id() is None


@given(st.permutations(range(5)))
def test_any_order_of_leaving_ends_with_what_was_before(order: list[int]) -> None:
    with RunContext(RunId.generate()) as outer:
        scopes = [RunContext(RunId.generate()) for _ in range(5)]
        for scope in scopes:
            scope.__enter__()
        still_open = list(range(5))
        for place in order:
            scopes[place].__exit__(None, None, None)
            still_open.remove(place)
            expected = scopes[still_open[-1]] if still_open else outer
            assert current_run_id() is expected.run_id


def _stream(scope: RunContext) -> Iterator[RunId | None]:
    with scope:
        yield current_run_id()
        yield current_run_id()


def test_a_generator_closed_by_another_thread_disturbs_nobody() -> None:
    inner, outer, other = (RunContext(RunId.generate()) for _ in range(3))
    stream = _stream(inner)
    seen: list[RunId | None] = []

    def close() -> None:
        with other:
            stream.close()  # type: ignore[attr-defined]
            seen.append(current_run_id())
        seen.append(current_run_id())

    with outer:
        next(stream)
        thread = threading.Thread(target=close)
        thread.start()
        thread.join()
        assert current_run_id() is outer.run_id
    assert current_run_id() is None
    assert seen == [other.run_id, None]


def test_a_generator_closed_in_a_copied_context_is_gone_in_the_original() -> None:
    inner = RunContext(RunId.generate())
    with RunContext(RunId.generate()) as outer:
        stream = _stream(inner)
        next(stream)
        copied = contextvars.copy_context()

        def close() -> RunId | None:
            stream.close()  # type: ignore[attr-defined]
            return current_run_id()

        assert copied.run(close) is outer.run_id
        assert current_run_id() is outer.run_id
    assert current_run_id() is None


def test_a_consumer_that_leaves_its_scope_leaves_the_abandoned_generators_too() -> None:
    with RunContext(RunId.generate()) as outer:
        with RunContext(RunId.generate()):
            abandoned = [_stream(RunContext(RunId.generate())) for _ in range(3)]
            for stream in abandoned:
                next(stream)
        assert current_run_id() is outer.run_id
        del abandoned, stream
        gc.collect()
        assert current_run_id() is outer.run_id
    assert current_run_id() is None


def test_one_instance_open_in_a_generator_and_around_it_leaves_the_right_entry() -> None:
    shared = RunContext(RunId.generate())
    stream = _stream(shared)
    with RunContext(RunId.generate()) as outer:
        next(stream)
        with shared:
            stream.close()  # type: ignore[attr-defined]
            assert current_run_id() is shared.run_id
        assert current_run_id() is outer.run_id
    assert current_run_id() is None


def test_a_generator_closed_inside_another_entry_of_its_instance_leaves_that_entry_alone() -> None:
    shared, seen = RunContext(RunId.generate()), []
    stream = _stream(shared)

    def close() -> None:
        with shared:
            stream.close()  # type: ignore[attr-defined]
            seen.append(current_run_id())
        seen.append(current_run_id())

    with RunContext(RunId.generate()) as outer:
        next(stream)
        thread = threading.Thread(target=close)
        thread.start()
        thread.join()
        assert current_run_id() is outer.run_id
    assert seen == [shared.run_id, None]


def test_a_copy_of_the_context_keeps_a_scope_that_was_left_elsewhere() -> None:
    inner = RunContext(RunId.generate())
    stream = _stream(inner)
    next(stream)
    copied = contextvars.copy_context()
    thread = threading.Thread(target=stream.close)  # type: ignore[attr-defined]
    thread.start()
    thread.join()
    assert copied.run(current_run_id) is inner.run_id
    assert current_run_id() is None
    assert copied.run(current_run_id) is inner.run_id


@pytest.mark.anyio
async def test_an_async_generator_closed_by_another_task_disturbs_nobody(anyio_backend: Any) -> None:
    inner, outer, other = (RunContext(RunId.generate()) for _ in range(3))

    async def stream() -> AsyncIterator[int]:
        async with inner:
            yield 1
            yield 2

    async def close() -> None:
        with other:
            await items.aclose()  # type: ignore[attr-defined]
            assert current_run_id() is other.run_id

    with outer:
        items = stream()
        assert await anext(items) == 1
        async with anyio.create_task_group() as group:
            group.start_soon(close)
        assert current_run_id() is outer.run_id
    assert current_run_id() is None


@pytest.mark.anyio
async def test_a_task_that_outlives_the_scope_still_reports_it() -> None:
    outer, seen = RunContext(RunId.generate(parent=RunId.generate())), []
    left = anyio.Event()

    async def late() -> None:
        await left.wait()
        seen.append(current_token())
        with RunContext(RunId.generate()):
            pass
        seen.append(current_token())

    async with anyio.create_task_group() as group:
        with outer:
            group.start_soon(late)
        assert current_run_id() is None
        left.set()
    assert outer.run_id is not None
    assert seen == [outer.run_id.token] * 2


def test_a_context_copied_while_the_scope_was_open_keeps_it() -> None:
    with RunContext(RunId.generate()) as scope:
        copied = contextvars.copy_context()
    assert copied.run(current_run_id) is scope.run_id
    assert current_run_id() is None


def test_exceptions_pass_unchanged() -> None:
    error = ValueError("mine")
    with pytest.raises(ValueError, match="mine") as caught, RunContext(RunId.generate()):
        raise error
    assert caught.value is error
    assert not hasattr(error, "__notes__")


def test_as_a_decorator_it_serves_every_kind_of_function() -> None:
    scope = RunContext(RunId.generate())

    @scope
    def function(value: int) -> tuple[int, RunId | None]:
        """Its docstring."""
        return value, current_run_id()

    @scope
    def generator() -> Iterator[RunId | None]:
        yield current_run_id()

    assert function(3) == (3, scope.run_id)
    assert function.__doc__ == "Its docstring."
    for seen in generator():
        assert seen is scope.run_id
        assert current_run_id() is None
    assert current_run_id() is None


@pytest.mark.anyio
async def test_as_a_decorator_it_serves_coroutines_and_async_generators() -> None:
    scope = RunContext(RunId.generate())

    @scope
    async def coroutine() -> RunId | None:
        await anyio.lowlevel.checkpoint()
        return current_run_id()

    @scope
    async def generator() -> AsyncIterator[RunId | None]:
        await anyio.lowlevel.checkpoint()
        yield current_run_id()

    assert await coroutine() is scope.run_id
    async for seen in generator():
        assert seen is scope.run_id
        assert current_run_id() is None


def test_the_users_own_variables_behave_as_without_us() -> None:
    variable: contextvars.ContextVar[int] = contextvars.ContextVar("theirs")

    @RunContext(RunId.generate())
    def function() -> None:
        variable.set(7)

    function()
    assert variable.get() == 7


class _Payload:
    """Something of the user's that must not be kept alive."""


def test_nothing_keeps_what_a_scope_saw_alive() -> None:
    variable: contextvars.ContextVar[object] = contextvars.ContextVar("theirs")

    def work() -> tuple[weakref.ref[Any], contextvars.Context]:
        payload = _Payload()
        variable.set(payload)
        with RunContext(RunId.generate()):
            variable.set(None)
            copied = contextvars.copy_context()
        return weakref.ref(payload), copied

    seen, copied = contextvars.Context().run(work)
    gc.collect()
    assert seen() is None
    assert copied.run(current_run_id) is not None


def test_a_chain_of_scopes_through_copied_contexts_does_not_grow() -> None:
    from agent_run_id.scope import current_scope

    context = contextvars.copy_context()

    def step() -> contextvars.Context:
        with RunContext(RunId.generate()):
            return contextvars.copy_context()

    for _ in range(50):
        context = context.run(step)
    scope = context.run(current_scope)
    assert scope is not None
    assert scope._token is None  # nothing behind it


def test_two_thousand_nested_scopes_are_left_in_one_go() -> None:
    scopes = [RunContext(RunId.generate()) for _ in range(2000)]
    with contextlib.ExitStack() as stack:
        for scope in scopes:
            stack.enter_context(scope)
        assert current_run_id() is scopes[-1].run_id
    assert current_run_id() is None
