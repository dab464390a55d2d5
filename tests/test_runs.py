"""Runs: what is recorded of a unit of work, and under whom."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_run_id import (
    CURRENT,
    ROOT,
    NoRun,
    Run,
    RunContext,
    RunDepthError,
    RunId,
    bind,
    configure,
    current_run,
    current_run_id,
    start_run,
)
from agent_run_id.ids import MAX_DEPTH
from agent_run_id.testing import assert_tree, capture_runs
from agent_run_id.testing.strategies import json_values

if TYPE_CHECKING:
    from agent_run_id import RunRegistry


def test_a_run_starts_at_the_call_and_ends_with_the_block(registry: RunRegistry) -> None:
    run = start_run("agent", kind="agent")
    assert registry.get(run.id).status == "running"
    assert current_run_id() is None
    with run as entered:
        assert entered is run is current_run()
        assert current_run_id() is run.id
    record = registry.get(run.id)
    assert (record.status, record.name, record.kind) == ("succeeded", "agent", "agent")
    assert record.started_at is not None
    assert record.ended_at is not None
    assert record.elapsed is not None
    assert record.started_at <= record.ended_at


def test_everything_given_at_the_start_is_recorded(registry: RunRegistry) -> None:
    other = RunId.generate(parent=RunId.generate())
    start_run(
        "invoice",
        kind="job",
        input={"n": 1},
        key="invoice-4711",
        user_id="u42",
        session_id="s1",
        summary="Books one invoice",
        tags=["nightly", "eu"],
        attributes={"attempt": 1},
        links=[other, "ticket-9"],
    ).end(output=[1, 2])
    record = registry.get("@last")
    assert record.input == {"n": 1}
    assert (record.key, record.user_id, record.session_id, record.summary) == (
        "invoice-4711",
        "u42",
        "s1",
        "Books one invoice",
    )
    assert (record.tags, record.attributes, record.links) == (
        ("nightly", "eu"),
        {"attempt": 1},
        (other.token, "ticket-9"),
    )
    assert record.output == [1, 2]


@given(json_values, json_values)
def test_json_values_are_recorded_as_they_are(given_input: Any, given_output: Any) -> None:
    with capture_runs() as registry:
        run = start_run("echo", input=given_input)
        run.end(output=given_output)
        record = registry.get(run.id)
    assert record.input == given_input
    assert record.output == given_output


@pytest.mark.open_runs
def test_a_run_is_a_child_of_the_current_one_unless_told_otherwise(registry: RunRegistry) -> None:
    elsewhere = RunId.generate()
    with start_run("outer") as outer:
        assert start_run("a").id.parent_id == outer.id.value
        assert start_run("b", parent=CURRENT).id.parent_id == outer.id.value
        assert start_run("c", parent=ROOT).id.is_root
        assert start_run("d", parent=elsewhere).id.parent_id == elsewhere.value
    assert start_run("e").id.is_root
    assert [run.name for run in registry.children(outer.id)] == ["a", "b"]


@pytest.mark.parametrize("parent", [None, "3f2a8c1d", 5])
def test_a_parent_that_is_none_of_these_is_an_error_that_says_what_to_write(parent: Any) -> None:
    with pytest.raises(TypeError, match="ROOT"):
        start_run("x", parent=parent)


@pytest.mark.open_runs
def test_a_run_as_parent_is_told_to_give_its_id() -> None:
    parent: Any = start_run("x")
    with pytest.raises(TypeError, match=r"run\.id"):
        start_run("y", parent=parent)


def test_sequential_top_level_runs_do_not_nest(registry: RunRegistry) -> None:
    for _ in range(3):
        with start_run("item"):
            pass
    assert [run.depth for run in registry.find()] == [0, 0, 0]


def test_a_run_that_is_started_and_entered_later_keeps_its_parent(registry: RunRegistry) -> None:
    with start_run("outer") as outer:
        run = start_run("inner")
    with start_run("elsewhere"), run:
        assert current_run_id() is run.id
    assert registry.get(run.id).parent_id == outer.id.value


def test_only_the_first_end_counts(registry: RunRegistry) -> None:
    with start_run("agent") as run:
        run.end(status="failed", error="gave up")
        run.end(status="succeeded")
    record = registry.get(run.id)
    assert record.status == "failed"
    assert record.error is not None
    assert (record.error.type, record.error.message) == (None, "gave up")
    assert [event.type for event in registry.events(run.id)].count("run.ended") == 1


def test_of_many_threads_that_end_a_run_one_does(registry: RunRegistry) -> None:
    run, barrier = start_run("agent"), threading.Barrier(8)

    def end() -> None:
        barrier.wait()
        run.end()

    threads = [threading.Thread(target=end) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(registry.events(run.id)) == 2


@pytest.mark.open_runs
def test_an_unknown_status_is_refused_with_the_known_ones() -> None:
    run = start_run("agent")
    status: Any = "done"
    with pytest.raises(ValueError, match="succeeded, failed, cancelled"):
        run.end(status=status)


def test_steps_decisions_and_outcomes_are_recorded_in_order(registry: RunRegistry) -> None:
    with start_run("planner") as run:
        run.step("searched", query="tokyo", hits=3)
        decision = run.decide("Which flight?", options=["NH", "JL"], chosen="NH", why="cheaper", confidence=0.8)
        run.step("booked")
        decision.outcome("sold out")
    events = registry.events(run.id)
    assert [event.type for event in events] == [
        "run.started",
        "run.step",
        "run.decision",
        "run.step",
        "run.decision.outcome",
        "run.ended",
    ]
    assert events[1].data == {"name": "searched", "data": {"query": "tokyo", "hits": 3}}
    (recorded,) = registry.get(run.id).decisions
    assert (recorded.question, recorded.options, recorded.chosen) == ("Which flight?", ("NH", "JL"), "NH")
    assert (recorded.why, recorded.confidence, recorded.outcome) == ("cheaper", 0.8, "sold out")


def test_a_step_may_have_data_called_name_and_self(registry: RunRegistry) -> None:
    with start_run("agent") as run:
        run.step("called", name="search", self="me")
    assert registry.events(run.id)[1].data == {"name": "called", "data": {"name": "search", "self": "me"}}


def test_usage_that_is_not_known_is_none_and_never_0(registry: RunRegistry) -> None:
    with start_run("call", kind="llm") as run:
        run.usage(model="m-1", input_tokens=120, cost=0.5)
        run.usage(model="m-1", output_tokens=0, call_id="c1")
        run.usage(model="m-1", output_tokens=0, call_id="c1")
    first, second = registry.get(run.id).usage
    assert (first.input_tokens, first.output_tokens, first.cost, first.currency) == (120, None, 0.5, "USD")
    assert (second.input_tokens, second.output_tokens, second.cost, second.currency) == (None, 0, None, None)
    total = registry.tree(run.id).usage()
    assert (total.calls, total.input_tokens, total.output_tokens, total.cost) == (2, 120, 0, {"USD": 0.5})


def test_updates_replace_add_and_merge(registry: RunRegistry) -> None:
    with start_run("agent", tags=["a"], attributes={"x": 1, "y": 1}, summary="old") as run:
        run.update(output="first", summary="new", tags=["a", "b"], attributes={"y": 2})
        run.update(output=None, tags="c")
        run.update(links=["elsewhere"], aliases="job-7")
        run.update(aliases=["job-7", "job-8"])
        run.update()
    record = registry.get(run.id)
    assert (record.summary, record.tags, record.attributes) == ("new", ("a", "b", "c"), {"x": 1, "y": 2})
    assert (record.output, record.links, record.aliases) == (None, ("elsewhere",), ("job-7", "job-8"))
    assert len(registry.events(run.id)) == 6


def test_an_output_of_none_given_at_the_end_replaces_an_earlier_one(registry: RunRegistry) -> None:
    run = start_run("agent")
    run.update(output="draft")
    run.end(output=None)
    assert registry.get(run.id).output is None


def test_current_run_records_in_the_run_in_force(registry: RunRegistry) -> None:
    with start_run("agent") as run:
        current_run().step("seen")
    assert [event.type for event in registry.events(run.id)][1] == "run.step"


def test_beyond_a_carrier_current_run_records_under_the_id(registry: RunRegistry) -> None:
    with start_run("agent") as run:
        work = bind(lambda: current_run().step("in a thread"))
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert registry.events(run.id)[1].data["name"] == "in a thread"


def test_outside_any_run_current_run_ignores_and_counts() -> None:
    nothing = current_run()
    assert isinstance(nothing, NoRun)
    assert not nothing
    before = nothing.ignored
    with nothing:
        assert current_run_id() is None
        nothing.step("lost")
    nothing.decide("q", options=[1], chosen=1, why="w").outcome("o")
    nothing.usage(model="m")
    nothing.update(summary="s")
    nothing.end()
    assert nothing.ignored == before + 6
    with pytest.raises(AttributeError, match="no run is current"):
        nothing.id  # noqa: B018


def test_ids_without_a_run_behind_them_work_as_before(registry: RunRegistry) -> None:
    run_id = RunId.generate()
    with RunContext(run_id):
        current_run().step("hello")
        with start_run("child"):
            pass
    record = registry.get(run_id)
    assert (record.name, record.status) == (None, None)
    assert [child.name for child in registry.children(run_id)] == ["child"]


def test_a_run_entered_twice_ends_when_it_is_left_for_good(registry: RunRegistry) -> None:
    run = start_run("agent")
    with run:
        with run:
            pass
        assert registry.get(run.id).status == "running"
    assert registry.get(run.id).status == "succeeded"


@pytest.mark.anyio
async def test_async_with_is_the_same(registry: RunRegistry) -> None:
    async with start_run("agent") as run:
        await anyio.lowlevel.checkpoint()
        assert current_run() is run
    assert registry.get(run.id).status == "succeeded"


@pytest.mark.anyio
async def test_concurrent_runs_of_a_task_group_stay_apart(registry: RunRegistry) -> None:
    async def agent(name: str) -> None:
        with start_run(name) as run:
            for _ in range(3):
                await anyio.lowlevel.checkpoint()
                with start_run("tool"):
                    await anyio.lowlevel.checkpoint()
                assert current_run() is run

    with start_run("root"):
        async with anyio.create_task_group() as group:
            for number in range(3):
                group.start_soon(agent, f"agent-{number}")
    expected = """
        root
            agent-0
                tool ×3
            agent-1
                tool ×3
            agent-2
                tool ×3
    """
    assert_tree(registry, expected, any_order=True)


@pytest.mark.anyio
async def test_a_task_that_outlives_its_parent_still_belongs_to_it(registry: RunRegistry) -> None:
    ended = anyio.Event()

    async def late() -> None:
        await ended.wait()
        with start_run("late"):
            pass

    async with anyio.create_task_group() as group:
        with start_run("parent") as parent:
            group.start_soon(late)
        ended.set()
    (child,) = registry.children(parent.id)
    assert child.name == "late"
    parent_record = registry.get(parent.id)
    assert parent_record.ended_at is not None
    assert child.started_at is not None
    assert child.started_at >= parent_record.ended_at


def test_runaway_nesting_stops_with_a_clear_error() -> None:
    configure(max_depth=2)
    try:
        with start_run("a"), start_run("b"), start_run("c"), pytest.raises(RunDepthError, match="max_depth"):
            start_run("d")
    finally:
        configure(max_depth=MAX_DEPTH)


@given(st.text(), st.text())
def test_names_and_kinds_may_be_any_text(name: str, kind: str) -> None:
    with capture_runs() as registry:
        run = start_run(name, kind=kind)
        record = registry.get(run.id)
    assert record.name == name
    assert record.kind == kind


@pytest.mark.open_runs
def test_repr_says_which_run() -> None:
    run = start_run("agent")
    assert repr(run) == f"<Run {run.id.short()} 'agent'>"
    assert isinstance(run, Run)
