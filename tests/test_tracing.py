"""@traced: a run for every call."""

from __future__ import annotations

import contextlib
import contextvars
import functools
import inspect
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from agent_run_id import RunId, current_run, current_run_id, start_run, traced
from agent_run_id.testing import assert_tree

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator

    from agent_run_id import RunRegistry


@traced
def plain(value: int) -> int:
    """Doubles."""
    current_run().step("doubling")
    return value * 2


class Agent:
    """Has traced methods."""

    @traced(name="think", kind="agent", capture="both")
    def think(self, topic: str, *, depth: int = 1) -> str:
        return f"{topic}{depth}"

    @classmethod
    @traced(capture="input")
    def make(cls, name: str) -> str:
        return name


def test_every_call_is_a_run_named_for_the_function(registry: RunRegistry) -> None:
    assert (plain(1), plain(2)) == (2, 4)
    runs = registry.find(name="plain")
    assert [run.status for run in runs] == ["succeeded", "succeeded"]
    assert [event.type for event in registry.events(runs[0].id)] == ["run.started", "run.step", "run.ended"]
    assert (plain.__name__, plain.__doc__) == ("plain", "Doubles.")
    assert list(inspect.signature(plain).parameters) == ["value"]
    assert (runs[0].input, runs[0].output) == (None, None)


def test_capture_records_arguments_by_name_and_the_result(registry: RunRegistry) -> None:
    assert Agent().think("x", depth=2) == "x2"
    record = registry.get("@last")
    assert (record.name, record.kind, record.input, record.output) == (
        "think",
        "agent",
        {"topic": "x", "depth": 2},
        "x2",
    )
    Agent.make("a")
    record = registry.get("@last")
    assert (record.input, record.output) == ({"name": "a"}, None)


@pytest.mark.parametrize("capture", ["all", True, None])
def test_an_unknown_capture_is_refused_where_it_is_written(capture: Any) -> None:
    with pytest.raises(ValueError, match="none, input, output, both"):
        traced(capture=capture)


def test_calls_nest_under_the_caller_and_exceptions_pass(registry: RunRegistry) -> None:
    @traced(expected=KeyError)
    def search() -> None:
        raise KeyError("nothing")

    @traced
    def agent() -> None:
        plain(1)
        search()

    with pytest.raises(KeyError):
        agent()
    assert_tree(
        registry,
        f"""
        {agent.__qualname__} failed error="KeyError: 'nothing'"
            plain
            {search.__qualname__} error~nothing
        """,
    )


@pytest.mark.anyio
async def test_coroutine_functions(registry: RunRegistry) -> None:
    @traced(capture="output")
    async def fetch() -> RunId | None:
        await anyio.lowlevel.checkpoint()
        return current_run_id()

    assert inspect.iscoroutinefunction(fetch)
    seen = await fetch()
    record = registry.get("@last")
    assert seen is not None
    assert (record.id, record.output, record.status) == (seen.value, seen.token, "succeeded")
    assert current_run_id() is None


def test_generators_yield_send_and_return(registry: RunRegistry) -> None:
    @traced
    def stream() -> Generator[int, str, str]:
        sent = yield 1
        return sent

    items = stream()
    assert next(items) == 1
    with pytest.raises(StopIteration) as stop:
        items.send("back")
    assert stop.value.value == "back"
    assert registry.get("@last").status == "succeeded"


@pytest.mark.anyio
async def test_async_generators(registry: RunRegistry) -> None:
    @traced(kind="llm")
    async def stream() -> AsyncGenerator[RunId | None, None]:
        yield current_run_id()
        await anyio.lowlevel.checkpoint()
        yield current_run_id()

    seen = [item async for item in stream()]
    record = registry.get("@last")
    assert [item.value for item in seen if item] == [record.id] * 2
    assert (record.kind, record.status) == ("llm", "succeeded")


@pytest.mark.anyio
async def test_the_users_own_variables_behave_as_without_us() -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("theirs")

    @traced
    def function() -> None:
        variable.set("function")

    @traced
    async def coroutine() -> None:
        variable.set("coroutine")

    function()
    assert variable.get() == "function"
    await coroutine()
    assert variable.get() == "coroutine"


def test_wrong_arguments_fail_as_they_would_without_us() -> None:
    call: Any = plain
    with pytest.raises(TypeError, match="missing 1 required positional argument"):
        call()


def test_a_partial_can_be_traced(registry: RunRegistry) -> None:
    assert traced(name="bound")(functools.partial(plain, 4))() == 8
    assert registry.tree("@last").record.name == "bound"


def test_recursion_makes_a_chain(registry: RunRegistry) -> None:
    @traced(name="down")
    def down(left: int) -> int:
        return 0 if left == 0 else down(left - 1) + 1

    with start_run("top"):
        assert down(50) == 50
    assert_tree(registry, "\n".join(["top", *(f"{' ' * depth}down" for depth in range(1, 52))]))


def test_entering_the_run_of_a_traced_call_again_does_not_end_it(registry: RunRegistry) -> None:
    @traced(name="work")
    def work() -> None:
        run = current_run()
        with contextlib.ExitStack() as stack:
            stack.enter_context(run)
            stack.enter_context(run)
            assert current_run() is run
        assert current_run() is run
        run.step("still here")

    work()
    (record,) = registry.find(name="work")
    assert [event.type for event in registry.events(record.id)] == ["run.started", "run.step", "run.ended"]
