"""Outcomes: what an exception that leaves a run means for it."""

from __future__ import annotations

import asyncio
import concurrent.futures
import traceback
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_run_id import start_run, traced
from agent_run_id.outcomes import outcome_of

if TYPE_CHECKING:
    from agent_run_id import RunRegistry


class Unwell(Exception):  # noqa: N818
    """An exception that cannot say what it is."""

    def __str__(self) -> str:
        raise RuntimeError("no")


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (None, "succeeded"),
        (ValueError("x"), "failed"),
        ("gave up", "failed"),
        (KeyboardInterrupt(), "cancelled"),
        (GeneratorExit(), "cancelled"),
        (asyncio.CancelledError(), "cancelled"),
        (concurrent.futures.CancelledError(), "cancelled"),
        (SystemExit(), "succeeded"),
        (SystemExit(0), "succeeded"),
        (SystemExit(1), "failed"),
        (SystemExit("message"), "failed"),
        (ExceptionGroup("g", [ValueError(), KeyError()]), "failed"),
        (BaseExceptionGroup("g", [asyncio.CancelledError(), KeyboardInterrupt()]), "cancelled"),
        (BaseExceptionGroup("g", [asyncio.CancelledError(), ExceptionGroup("h", [ValueError()])]), "failed"),
        (TimeoutError(), "failed"),
        (Unwell(), "failed"),
    ],
)
def test_what_an_exception_means(error: Any, status: str, registry: RunRegistry) -> None:
    assert outcome_of(error) == status
    run = start_run("agent")
    run.end(error=error)
    assert registry.get(run.id).status == status


def test_expected_exceptions_are_not_failures(registry: RunRegistry) -> None:
    for expected in (LookupError, (LookupError,)):
        with pytest.raises(KeyError) as caught, start_run("search", expected=expected) as run:
            raise KeyError("nothing found")
        record = registry.get(run.id)
        assert record.status == "succeeded"
        assert record.error is not None
        assert record.error.expected
        assert not hasattr(caught.value, "__notes__")


def test_a_group_of_expected_and_cancelled_is_no_failure() -> None:
    group = BaseExceptionGroup("g", [KeyError(), asyncio.CancelledError()])
    assert outcome_of(group, (KeyError,)) == "succeeded"
    assert outcome_of(group, (ValueError,)) == "failed"


def test_the_error_has_type_message_traceback_and_the_leaves_of_a_group(registry: RunRegistry) -> None:
    with pytest.raises(ExceptionGroup), start_run("agent") as run:
        raise ExceptionGroup("two", [ValueError("a"), ExceptionGroup("inner", [Unwell(), KeyError("c")])])
    error = registry.get(run.id).error
    assert error is not None
    assert error.type == "ExceptionGroup"
    assert error.message == "two (2 sub-exceptions)"
    assert "test_outcomes.py" in (error.traceback or "")
    assert [leaf.type for leaf in error.leaves] == ["ValueError", "tests.test_outcomes.Unwell", "KeyError"]
    assert error.leaves[1].message == "<its message cannot be read: RuntimeError>"


def test_an_error_report_leads_to_the_innermost_run_once(registry: RunRegistry) -> None:
    @traced(name="tool")
    def tool() -> None:
        raise ValueError("boom")

    with pytest.raises(ValueError, match="boom") as caught, start_run("outer") as outer:
        tool()
    (record,) = registry.children(outer.id)
    assert caught.value.__notes__ == [f"agent run {record.id} (tool)"]
    assert record.id in "".join(traceback.format_exception(caught.value))


def test_a_hostile_exception_takes_no_note_and_hurts_nobody(registry: RunRegistry) -> None:
    class Stubborn(Exception):  # noqa: N818
        def __setattr__(self, name: str, value: object) -> None:
            raise RuntimeError(name)

        def add_note(self, note: str) -> None:
            raise RuntimeError(note)

    with pytest.raises(Stubborn), start_run("agent") as run:
        raise Stubborn
    assert registry.get(run.id).status == "failed"


@pytest.mark.anyio
async def test_a_cancelled_task_is_cancelled_not_failed(registry: RunRegistry) -> None:
    async def wait() -> None:
        with start_run("waiter"):
            await anyio.sleep_forever()

    with start_run("agent") as run:
        async with anyio.create_task_group() as group:
            group.start_soon(wait)
            await anyio.wait_all_tasks_blocked()
            group.cancel_scope.cancel()
    (child,) = registry.children(run.id)
    assert (child.status, registry.get(run.id).status) == ("cancelled", "succeeded")


@pytest.mark.anyio
async def test_a_failure_in_a_task_group_fails_the_run_around_it_with_its_leaves(registry: RunRegistry) -> None:
    async def fail(name: str) -> None:
        with start_run(name):
            raise ValueError(name)

    with pytest.raises(ExceptionGroup), start_run("agent") as run:
        async with anyio.create_task_group() as group:
            group.start_soon(fail, "tool")
    record = registry.get(run.id)
    assert record.status == "failed"
    assert record.error is not None
    assert [leaf.message for leaf in record.error.leaves] == ["tool"]


@given(
    st.recursive(st.sampled_from([ValueError, KeyError, KeyboardInterrupt]), lambda inner: st.lists(inner, min_size=1))
)
def test_a_group_is_what_the_worst_of_its_leaves_is(shape: Any) -> None:
    def build(part: Any) -> BaseException:
        return BaseExceptionGroup("g", [build(each) for each in part]) if isinstance(part, list) else part()

    def kinds(part: Any) -> set[Any]:
        return set().union(*map(kinds, part)) if isinstance(part, list) else {part}

    found = kinds(shape)
    expected = "failed" if ValueError in found else "succeeded" if KeyError in found else "cancelled"
    assert outcome_of(build(shape), (KeyError,)) == expected
