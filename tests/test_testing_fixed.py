"""Fixed runs: the same ids and times every time, for the block that asks for them and for nothing else."""

from __future__ import annotations

import contextlib
import os
import random
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent_run_id import RunId, bind, carriers, start_run
from agent_run_id.ids import random_span
from agent_run_id.testing import capture_runs, fixed_runs, run_ids
from tests.journal_programs.programs import FORKS_WITH_THREADS, run_program

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent_run_id import RunRegistry

START = datetime(2026, 1, 1, tzinfo=UTC)


def some_work() -> None:
    with start_run("plan", kind="agent") as plan:
        plan.decide("what now", options=[1, 2], chosen=1, why="it is first").outcome("well")
        with start_run("search"):
            pass
        with plan.pause("a person"):
            pass


def all_of(registry: RunRegistry) -> list[dict[str, Any]]:
    """All there is of the runs but their process, which is another each time."""
    process = {"process", "segments", "seq"}
    return [record.model_dump(exclude=process) for record in registry.find(order="oldest")]


@settings(max_examples=10)
@given(st.integers() | st.text())
def test_the_same_happens_with_the_same_ids_and_times_every_time(seed: int | str) -> None:
    seen = []
    for _ in range(2):
        random.seed(os.urandom(4))
        with fixed_runs(seed=seed) as registry:
            some_work()
            headers = carriers.headers.inject({}, RunId.generate())
            seen.append((all_of(registry), registry.tree("@last").render(), headers, random_span()))
    assert seen[0] == seen[1]
    with fixed_runs(seed=f"{seed}!") as registry:
        some_work()
        assert {record["id"] for record in all_of(registry)}.isdisjoint(record["id"] for record in seen[0][0])


def test_events_are_a_step_apart_and_a_run_lasts_as_long_as_its_events() -> None:
    with fixed_runs(start=START, step=timedelta(minutes=1)) as registry:
        with start_run("plan") as plan, start_run("search"):
            pass
        times = [event.time for run in registry.find(order="oldest") for event in registry.events(run.id)]
        assert [(time - START) // timedelta(minutes=1) for time in times] == [0, 3, 1, 2]
        assert registry.get(plan.id).elapsed == timedelta(minutes=3)
        assert registry.get(plan.id).started_at == START


def test_what_a_program_records_of_the_time_it_took_is_kept() -> None:
    text = ',"elapsed":5'
    with fixed_runs() as registry:
        with start_run(text, input={"elapsed": 7}, summary=text) as run:
            run.step("elapsed", elapsed=9)
            run.end(output={"status": "failed", "elapsed": 3})
        record = registry.get(run.id)
        assert (record.name, record.input, record.summary) == (text, {"elapsed": 7}, text)
        assert record.output == {"status": "failed", "elapsed": 3}
        assert registry.events(run.id)[1].data["data"] == {"elapsed": 9}
        assert "elapsed" not in registry.events(run.id)[-1].data


@given(st.none() | run_ids(max_depth=100), st.integers(0, 600))
def test_ids_are_such_as_are_made_otherwise_and_none_comes_twice(parent: RunId | None, count: int) -> None:
    with fixed_runs():
        made = [RunId.generate(parent) for _ in range(count)]
        again = [RunId.generate(one) for one in made[:9]]
    assert len({*made, *again}) == len(made) + len(again)
    assert len({one.short() for one in made}) == len(made)
    for one in made:
        assert (uuid.UUID(one.value).version, uuid.UUID(one.value).variant) == (4, uuid.RFC_4122)
        assert one.parent_id == (None if parent is None else parent.value)


def test_what_other_threads_do_makes_no_difference_to_the_ids_below_a_run() -> None:
    def below(agent: RunId) -> list[str]:
        return [RunId.generate(RunId.generate(agent)).value for _ in range(50)]

    def at_once(workers: int) -> list[list[str]]:
        with fixed_runs(), ThreadPoolExecutor(workers) as pool:
            agents = [RunId.generate() for _ in range(8)]
            return list(pool.map(below, agents))

    assert at_once(1) == at_once(8)


def test_times_are_different_ones_in_any_number_of_threads() -> None:
    with fixed_runs() as registry:
        barrier = threading.Barrier(4)

        def work() -> None:
            barrier.wait()
            for _ in range(20):
                start_run("work").end()

        with start_run("all"):
            threads = [threading.Thread(target=bind(work)) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        times = sorted(event.time for run in registry.find(limit=None) for event in registry.events(run.id))
        assert [(time - START) // timedelta(seconds=1) for time in times] == list(range(162))


# Only here, and only now ----------------------------------------------------------------------------------------------


def drawn(count: int = 600) -> set[str]:
    """Ids of every kind, more than are drawn at once."""
    with capture_runs() as registry:
        run = start_run("decides")
        for _ in range(3):
            run.decide("q", options=[1], chosen=1, why="w")
        run.end()
        decisions = {decision.id for decision in registry.get(run.id).decisions}
    return decisions | {RunId.generate().value for _ in range(count)} | {random_span() for _ in range(count)}


def test_outside_the_block_ids_are_random_whether_it_ends_or_raises() -> None:
    def fixed() -> set[str]:
        with fixed_runs():
            return drawn()

    assert len(drawn() | drawn() | fixed()) == 3 * 1203
    assert fixed() == fixed()
    with contextlib.suppress(KeyError), fixed_runs():
        raise KeyError
    assert drawn().isdisjoint(fixed())


def test_it_nests_and_each_block_has_ids_of_its_own() -> None:
    with fixed_runs():
        first, second = RunId.generate(), RunId.generate()
    with fixed_runs():
        assert RunId.generate() == first
        with fixed_runs():
            assert RunId.generate() == first
        with capture_runs():
            assert RunId.generate() == second


def test_a_thread_that_draws_while_it_ends_takes_nothing_out_with_it() -> None:
    """Nor does what was drawn ahead outlive the block, whenever the block ends."""
    over = threading.Event()

    def draw() -> None:
        while not over.is_set():
            random_span()

    thread = threading.Thread(target=draw)
    thread.start()
    try:
        fixed: set[str] = set()
        for seed in range(20):
            with fixed_runs(seed=seed):
                fixed |= {random_span() for _ in range(300)}
            assert fixed.isdisjoint({random_span() for _ in range(300)})
    finally:
        over.set()
        thread.join()


def test_what_is_recorded_elsewhere_meanwhile_has_its_real_time(registry: RunRegistry) -> None:
    with start_run("before") as run:
        with fixed_runs():
            run.step("meanwhile")
        run.step("afterwards")
    started, meanwhile, afterwards, ended = registry.events(run.id)
    assert started.time <= meanwhile.time <= afterwards.time <= ended.time
    assert registry.get(run.id).elapsed == timedelta(microseconds=ended.data["elapsed"])


def test_a_forked_child_has_random_ids_and_the_times_go_on() -> None:
    program = """
import os
from agent_run_id import RunId, start_run
from agent_run_id.ids import random_span
from agent_run_id.testing import fixed_runs

def child(work):
    read, write = os.pipe()
    if os.fork() == 0:
        os.write(write, work().encode())
        os._exit(0)
    os.close(write)
    os.wait()
    return os.read(read, 4096).decode()

def ids():
    return " ".join([*(RunId.generate().value for _ in range(9)), *(random_span() for _ in range(9))])

def leaves():
    inner.__exit__(None, None, None)
    return ids()

with fixed_runs() as registry:
    with start_run("parent") as parent:
        children = [child(ids), child(ids)]
        inner = fixed_runs()
        inner.__enter__()
        children.append(child(leaves))
        inner.__exit__(None, None, None)
        child(lambda: start_run("child").end() or "")
    own = ids()
    print(len(set(own.split()).union(*(said.split() for said in children))))
    with fixed_runs():
        start_run("parent")
        print(ids() == own)
    print([(node.record.name, (node.record.started_at - parent_at).seconds)
           for parent_at in [registry.get(parent.id).started_at] for node in registry.tree(parent.id)])
"""
    said = run_program(program, options=FORKS_WITH_THREADS).split("\n")
    assert said == [str(4 * 18), "True", "[('parent', 0), ('child', 1)]", ""]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"start": datetime(2026, 1, 1)}, "time zone"),
        ({"step": timedelta(0)}, "a microsecond or more"),
        ({"step": timedelta(seconds=-1)}, "a microsecond or more"),
    ],
)
def test_a_time_that_could_be_any_and_a_step_that_is_none_are_refused(wrong: Any, message: str) -> None:
    block: Callable[[], Any] = lambda: fixed_runs(**wrong).__enter__()  # noqa: E731
    with pytest.raises(ValueError, match=message):
        block()
