"""Events: whatever a program hands over becomes a bounded line of JSON, and never hurts the program."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import itertools
import json
import pathlib
import uuid
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, RootModel, SecretStr

from agent_run_id import RunId, RunRegistry, start_run
from agent_run_id.events import MAX_TEXT, MAX_VALUES, plain
from tests.hostile_values import (
    ODD_VALUES,
    Handed,
    HostileDict,
    HostileEverything,
    HostileRepr,
    HostileStrError,
    HostileText,
    HostileType,
    Odd,
    Pair,
    Plain,
    Point,
    Scalar,
    any_text,
    hostile_values,
    recorded,
)

# Hostile values -------------------------------------------------------------------------------------------------------


@given(st.dictionaries(st.sampled_from(["input", "output", "data", "attributes", "tags"]), hostile_values))
def test_any_value_becomes_a_line_of_json(fields: dict[str, Handed]) -> None:
    found = recorded(**{name: handed.value for name, handed in fields.items()})
    assert found.keys() - {"cuts"} == {name for name, handed in fields.items() if handed.value is not None}


def recorded_in(place: int, name: str) -> Any:
    """What is recorded of something that holds an odd value; pytest cannot show all of these, so it gets none."""
    odd = ODD_VALUES[place]
    beside: dict[str, Any] = {
        "field": {"odd": odd, "beside": 1},
        "list": {"list": ["before", odd, "after"]},
        "mapping": {"mapping": {"before": 1, "odd": odd, "after": 2}},
    }
    problem = ""
    try:
        return recorded(**beside[name])
    except Exception as error:
        problem = repr(error)
    pytest.fail(problem, pytrace=False)


@pytest.mark.parametrize("place", range(len(ODD_VALUES)))
def test_an_odd_value_costs_itself_alone(place: int) -> None:
    """What stands beside it is recorded."""
    assert recorded_in(place, "field").keys() - {"cuts"} == {"odd", "beside"}
    before, _, after = recorded_in(place, "list")["list"]
    assert (before, after) == ("before", "after")
    assert recorded_in(place, "mapping")["mapping"].keys() == {"before", "odd", "after"}


@given(hostile_values)
def test_what_is_plain_is_recorded_as_it_is(handed: Handed) -> None:
    value = plain(handed.value)
    assert json.loads(json.dumps(value, ensure_ascii=False)) == value == plain(value)


def test_no_value_hurts_the_program_that_records_it(registry: RunRegistry) -> None:
    hostile = [HostileRepr(), HostileStrError(), HostileDict(a=1), HostileType(), HostileEverything()]
    with start_run("run", input=hostile, attributes={"a": hostile}) as run:
        run.step("step", value=hostile)
        run.decide("which", options=hostile, chosen=hostile[0], why="none is good")
        run.update(output=hostile)
        run.end(error=HostileStrError())
    record = registry.get(run.id)
    assert record.status == "failed"
    assert len(record.decisions[0].options) == len(hostile)


def test_a_value_that_contains_itself_is_cut_there() -> None:
    loop: list[Any] = [1]
    loop.append(loop)
    mapping: dict[str, Any] = {"a": {"deeper": loop}}
    mapping["a"]["back"] = mapping
    point = Point(loop)
    point.y = [point]
    found = recorded(a=loop, b=mapping, c=point)
    assert found["a"] == [1, "… [cut: contains itself]"]
    assert found["b"]["a"]["back"] == "… [cut: contains itself]"
    assert found["c"]["y"] == ["… [cut: contains itself]"]
    assert found["cuts"] == 5


def test_a_value_that_is_there_twice_contains_nothing_of_itself() -> None:
    shared = [1]
    assert recorded(a=[shared, shared, {"x": shared}]) == {"a": [[1], [1], {"x": [1]}]}


def test_what_is_nested_too_deep_is_cut_there() -> None:
    deep: Any = "bottom"
    for _ in range(100_000):
        deep = [deep]
    found = recorded(a=deep, b={"c": deep})
    assert found["cuts"] == 2
    assert "cut: nested too deep" in json.dumps(found["a"], ensure_ascii=False)


def characters_of(value: Any) -> int:
    if isinstance(value, str):
        return len(value)
    if isinstance(value, dict):
        return sum(len(key) + characters_of(item) for key, item in value.items())
    return sum(map(characters_of, value)) if isinstance(value, list) else 0


def values_of(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + sum(map(values_of, value.values()))
    return 1 + sum(map(values_of, value)) if isinstance(value, list) else 1


@pytest.mark.parametrize("size", [MAX_TEXT - 1, MAX_TEXT, MAX_TEXT + 1, 100_000_000])
def test_a_long_text_is_cut_and_says_so(size: int) -> None:
    found = recorded(output="x" * size)
    if size <= MAX_TEXT:
        assert found == {"output": "x" * size}
    else:
        assert found["output"] == f"{'x' * MAX_TEXT}… [cut: {size - MAX_TEXT} more characters]"
        assert found["cuts"] == 1


LARGE = {
    "a list": range(200_000),
    "texts": ["x" * 1000] * 5_000,
    "a mapping": range(200_000),
    "a mapping of texts": ["x" * 100] * 20_000,
    "empty texts": [""] * 200_000,
    "nested": [[number] for number in range(100_000)],
    "keys": ["x"] * 100_000,
}


@pytest.mark.parametrize("kind", list(LARGE))
def test_a_large_value_is_bounded_and_says_how_often_it_was_cut(kind: str) -> None:
    values = LARGE[kind]
    if kind == "keys":
        value: Any = {f"{number:0100}": item for number, item in enumerate(values)}
    elif "mapping" in kind:
        value = dict(enumerate(values))
    else:
        value = list(values)
    found = recorded(data=value)
    assert found["cuts"] >= 1
    assert "cut: " in json.dumps(found["data"], ensure_ascii=False)
    assert values_of(found["data"]) <= MAX_VALUES + 10
    assert characters_of(found) <= MAX_TEXT + 64 * found["cuts"] + 64 * MAX_VALUES


class Endless(Mapping[int, int]):
    """A mapping without an end; it ends here to let the test fail."""

    def __init__(self) -> None:
        self.given = 0

    def __getitem__(self, key: int) -> int:
        return key

    def __iter__(self) -> Iterator[int]:
        while self.given < 1_000_000:
            self.given += 1
            yield self.given

    def __len__(self) -> int:
        return 1


class EndlessList(list[int]):
    def __iter__(self) -> Iterator[int]:
        return itertools.count()


def test_a_value_without_an_end_is_left_in_time() -> None:
    endless = Endless()
    recorded(data=endless)
    assert endless.given <= MAX_VALUES + 1
    assert len(recorded(data=EndlessList())["data"]) <= MAX_VALUES + 2


def test_a_large_input_leaves_whose_run_it_is_as_it_was(registry: RunRegistry) -> None:
    """Names by which a run is found are not what has to give way."""
    many = start_run("many", input=list(range(50_000)), user_id="u", session_id="s", key="k", tags=["t"], summary="z")
    long = start_run("long", input="x" * 500_000, user_id="u", session_id="s", key="k", tags=["t"], summary="z")
    many.end(output=list(range(50_000)), error="e")
    long.end(output="x" * 500_000, error="e")
    for run in (many, long):
        record = registry.get(run.id)
        assert (record.user_id, record.session_id, record.key) == ("u", "s", "k")
        assert (record.tags, record.summary, record.status) == (("t",), "z", "failed")
        assert record.error is not None
        assert record.error.message == "e"
    assert len(registry.find(user_id="u", session_id="s", key="k", tag="t")) == 2


# What each kind of value becomes --------------------------------------------------------------------------------------


class Secrets(BaseModel):
    name: str = "shown"
    password: SecretStr = SecretStr("hunter2")
    token: str = Field(default="hunter2", repr=False)
    key: str = Field(default="hunter2", exclude=True)


@dataclasses.dataclass
class Credentials:
    user: str = "shown"
    password: str = dataclasses.field(default="hunter2", repr=False)


@dataclasses.dataclass(frozen=True, slots=True)
class WithPseudoFields:
    x: int
    seed: dataclasses.InitVar[int]
    every: ClassVar[list[int]]


class Ordered(BaseModel):
    zeta: int = 1
    alpha: int = 2
    mid: int = 3
    beta: int = 4
    omega: int = 5
    first: int = 6


def test_what_a_model_does_not_show_is_not_recorded() -> None:
    found = recorded(a=Secrets(), b=[Credentials()], c={"d": Secrets()})
    assert "hunter2" not in json.dumps(found)
    assert found["a"].keys() == {"name", "password"}
    assert "*" in found["a"]["password"]
    assert found["b"] == [{"user": "shown"}]


def test_the_fields_of_a_model_are_recorded_in_their_order() -> None:
    assert list(recorded(a=Ordered())["a"]) == list(Ordered.model_fields)


def test_of_a_dataclass_only_its_fields_are_recorded() -> None:
    """An `InitVar` and a `ClassVar` are none."""
    assert recorded(a=WithPseudoFields(1, 2)) == {"a": {"x": 1}}


def test_a_dataclass_that_shows_itself_in_its_own_way_is_recorded_in_that_way() -> None:
    @dataclasses.dataclass(repr=False)
    class Quiet:
        password: str

        def __repr__(self) -> str:
            return "Quiet(…)"

    assert recorded(a=Quiet("hunter2")) == {"a": "Quiet(…)"}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (float("nan"), "NaN"),
        (float("-inf"), "-Infinity"),
        (2**63 - 1, 2**63 - 1),
        (-(2**63), -(2**63)),
        (2**63, str(2**63)),
        (10**5000, "<int of 16610 bits>"),
        (b"\x80a", "<2 bytes: b'\\x80a'>"),
        ((1, (2,)), [1, [2]]),
        ({1}, [1]),
        ({1: 1, None: 2, (1, 2): 3}, {"1": 1, "None": 2, "[1, 2]": 3}),
        (Pair(1, 2), [1, 2]),
        (Odd.HALF, 0.5),
        (Plain.A, [1, "x"]),
        (enum.IntEnum("I", "ONE").ONE, 1),  # type: ignore[attr-defined]
        (enum.StrEnum("S", {"A": "a"}).A, "a"),  # type: ignore[attr-defined]
        (Scalar(1.5), 1.5),
        (Scalar(float("inf")), "Infinity"),
        (dt.date(2026, 1, 2), "2026-01-02"),
        (decimal.Decimal("1.50"), "1.50"),
        (pathlib.PurePosixPath("/a/b"), "/a/b"),
        (uuid.UUID(int=7), str(uuid.UUID(int=7))),
        (ValueError("wrong"), {"type": "ValueError", "message": "wrong"}),
        (RootModel[list[int]]([1]), {"root": [1]}),
        (HostileText("text"), "text"),
        (HostileRepr(), "<HostileRepr: cannot be recorded: HurtError>"),
        ("half \udc80", "half \\udc80"),
        ("a\nb\x00", "a\nb\x00"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_becomes_of_a_value(value: Any, expected: Any) -> None:
    assert recorded(a=value) == {"a": expected}


def test_a_run_id_is_recorded_with_its_lineage() -> None:
    run_id = RunId.generate(RunId.generate())
    assert recorded(a=[run_id]) == {"a": [run_id.token]}


def test_what_is_none_is_left_out() -> None:
    assert recorded(a=None, b=[None], c=0, d="", e=False) == {"b": [None], "c": 0, "d": "", "e": False}


@given(any_text)
def test_a_text_comes_back_as_it_was_but_for_half_characters(text: str) -> None:
    whole = "".join(rf"\u{ord(char):04x}" if 0xD800 <= ord(char) <= 0xDFFF else char for char in text)
    assert recorded(a=text) == {"a": whole}
    assert recorded(a={text: 1}) == {"a": {whole: 1}}
