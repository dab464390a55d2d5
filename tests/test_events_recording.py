"""Hostile values while they are recorded: what their own code does meanwhile, and how long a line can get."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from agent_run_id import Run, RunRegistry, start_run
from agent_run_id.events import MAX_TEXT, MAX_VALUES
from tests.commands import answer, is_harmless
from tests.hostile_values import HostileInt, Scalar, recorded
from tests.journal_programs.journals import journals_of

if TYPE_CHECKING:
    from collections.abc import Callable

# Code that runs while it is recorded ----------------------------------------------------------------------------------


class Acting:
    """An object whose `repr` does something first."""

    def __init__(self, act: Callable[[], object]) -> None:
        self._act = act

    def __repr__(self) -> str:
        return f"did {self._act()}"


def in_a_thread(run: Run) -> str:
    thread = threading.Thread(target=run.step, args=("by another thread",), daemon=True)
    thread.start()
    thread.join(20)
    return "not wait" if not thread.is_alive() else "wait"


def test_a_value_may_wait_for_another_thread_that_records(registry: RunRegistry) -> None:
    """No lock of ours is held while code of the program runs."""
    with start_run("run") as run:
        run.step("outer", value=Acting(lambda: in_a_thread(run)))
    events = registry.events(run.id)
    assert [event.data.get("name") for event in events] == ["run", "by another thread", "outer", None]
    assert events[2].data["data"] == {"value": "did not wait"}


def test_a_value_may_record_and_start_runs_itself(registry: RunRegistry) -> None:
    def record() -> str:
        with start_run("inner") as inner:
            inner.step("in it")
        return "record"

    with start_run("outer", input=Acting(record)) as outer:
        outer.update(output=Acting(record))
    assert registry.get(outer.id).input == "did record"
    assert {record.name for record in registry.find()} == {"outer", "inner"}


def test_a_mapping_that_changes_while_it_is_read_costs_itself_alone() -> None:
    changing: dict[Any, Any] = {}
    changing["a"] = Acting(lambda: changing.setdefault(len(changing), 1))
    sequence: list[Any] = []
    sequence += [Acting(lambda: sequence.append(1)), 2]
    found = recorded(before=1, mapping=changing, sequence=sequence, after=2)
    assert found["mapping"] == "<dict: cannot be recorded: RuntimeError>"
    assert found["sequence"] == ["did None", 2, 1]
    assert (found["before"], found["after"]) == (1, 2)


def test_a_mapping_that_other_threads_change_meanwhile_hurts_nobody(registry: RunRegistry) -> None:
    shared: dict[int, Any] = {}
    stop = threading.Event()

    def change() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            shared[number % 500] = [number]
            shared.pop((number * 7) % 500, None)

    thread = threading.Thread(target=change)
    thread.start()
    try:
        with start_run("run") as run:
            for _ in range(100):
                run.step("step", shared=shared)
    finally:
        stop.set()
        thread.join()
    assert len(registry.events(run.id)) == 102


class Array:
    """What an array of numpy looks like."""

    shape = (2, 2)
    dtype = "float64"

    def item(self) -> Any:
        raise ValueError("can only convert an array of size 1 to a Python scalar")

    def __repr__(self) -> str:
        return "array([[0., 1.],\n       [2., 3.]])"

    def __bool__(self) -> bool:
        raise ValueError("the truth value of an array with more than one element is ambiguous")

    def __eq__(self, other: object) -> Any:
        return self

    __hash__ = None  # type: ignore[assignment]


def test_an_array_is_recorded_as_it_shows_itself_and_its_scalar_by_its_value() -> None:
    found = recorded(array=Array(), inside=[Array(), {"a": Array()}], scalar=Scalar(7), integer=HostileInt(7))
    assert found["array"] == "array([[0., 1.],\n       [2., 3.]])"
    assert found["inside"] == [found["array"], {"a": found["array"]}]
    assert (found["scalar"], found["integer"]) == (7, 7)


# How long a line can get ----------------------------------------------------------------------------------------------

MOST_BYTES = 7 * MAX_TEXT + 128 * MAX_VALUES
"""A character takes seven bytes at the most, and what is said of a cut less than the rest."""

LONG: dict[str, Any] = {
    "control characters": "\x00" * 10**6,
    "halves of characters": "\udc80" * 10**6,
    "rare characters": "\U0001f600" * 10**6,
    "many texts": ["\udc80" * 100] * 10**5,
    "many numbers": [-(2**63)] * 10**5,
    "many floats": [-1.2345678901234567e-300] * 10**5,
    "many keys": {f"{number:050}": number for number in range(10**5)},
    "many empty mappings": [{}] * 10**5,
    "much nested": [[[["x" * 30]]]] * 10**5,
}


@pytest.mark.parametrize("kind", list(LONG))
def test_an_event_is_a_line_of_three_megabytes_at_the_most_and_says_what_was_cut(
    kind: str, registry: RunRegistry
) -> None:
    """Whatever all of its fields are."""
    value = LONG[kind]
    run = start_run(
        str(value)[: 10**6], kind=str(value)[: 10**6], input=value, tags=[str(value)] * 3, attributes={"a": value}
    )
    run.step("step", a=value, b=value)
    run.decide("question", options=[value] * 5, chosen=value, why=value)
    run.update(output=value, attributes={"a": value})
    run.end(error=ValueError(value), output=value)
    [path] = journals_of(registry.directory)
    header, *lines = path.read_bytes().splitlines()
    assert len(lines) == 5
    assert max(map(len, lines)) < MOST_BYTES < 3_200_000
    assert all(event.data["cuts"] > 0 for event in registry.events(run.id))
    assert b"cut: " in lines[0]
    assert header


# Names on a terminal --------------------------------------------------------------------------------------------------

NAMES = [
    "two\nlines",
    "\x1b[2J\x1b[31mred",
    "\x1b]0;title\x07",
    "a\rb",
    "\u202egnp.exe",
    "half \udc80",
    "tab\tbell\x07",
    "\x9b31m",
]


@pytest.mark.parametrize("name", NAMES, ids=ascii)
@pytest.mark.parametrize("command", ["ls", "tree", "show"])
def test_a_hostile_name_is_shown_on_one_line_and_does_nothing_to_a_terminal(
    command: str, name: str, registry: RunRegistry
) -> None:
    with start_run(name, kind=name, user_id=name, input={name: name}) as run:
        run.step(name, value=name)
        run.decide(name, options=[name], chosen=name, why=name)
    said = answer(command, *([] if command == "ls" else [run.id.value]))
    assert is_harmless(said)
    assert run.id.value[:8] in said
    if command == "ls":
        assert len(said.splitlines()) == 1
