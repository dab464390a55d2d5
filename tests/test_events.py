"""Events: whatever a program hands over becomes a bounded line of JSON, and never hurts the program."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import itertools
import json
import pathlib
import re
import uuid
from collections import OrderedDict, UserDict, deque
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, NamedTuple, NoReturn

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field, RootModel, SecretStr

from agent_run_id import RunId, RunRegistry, start_run
from agent_run_id.events import MAX_TEXT, MAX_VALUES, encode_fields, encode_line, plain, set_scrub
from tests.strategies import run_ids


def refuse(constant: str) -> NoReturn:
    raise AssertionError(f"{constant} is no JSON")


def recorded(**fields: Any) -> dict[str, Any]:
    """What a strict reader of JSON finds in the line."""
    line = encode_line(f'{{"v":1{encode_fields(fields)}}}')
    assert b"\n" not in line
    found = json.loads(line.decode(), parse_constant=refuse)
    assert isinstance(found, dict)
    assert found.pop("v") == 1
    return found


# Hostile values -------------------------------------------------------------------------------------------------------


class HurtError(Exception):
    pass


def hurt(*args: Any) -> NoReturn:
    raise HurtError


class HostileRepr:
    __repr__ = hurt


class HostileStrError(Exception):
    __str__ = hurt


class HostileList(list[Any]):
    __iter__ = hurt


class HostileDict(dict[Any, Any]):
    items = hurt
    keys = hurt


class HostileText(str):
    __slots__ = ()
    __str__ = hurt
    __len__ = hurt
    __getitem__ = hurt
    __format__ = hurt
    encode = hurt  # type: ignore[assignment]


class HostileInt(int):
    __int__ = hurt
    __lt__ = hurt
    __le__ = hurt


class HostileFloat(float):
    __float__ = hurt


class HostileEverything:
    __getattribute__ = hurt
    __repr__ = hurt
    __eq__ = hurt
    __hash__ = object.__hash__


class HostileName(type):
    @property
    def __name__(cls) -> str:  # type: ignore[override]
        raise HurtError

    @property
    def __module__(cls) -> str:  # type: ignore[override]
        raise HurtError


class HostileType(metaclass=HostileName):
    __repr__ = hurt


class HostilePairs(UserDict[Any, Any]):
    def items(self) -> Any:
        return [1, 2, 3]


class Odd(float, enum.Enum):
    HALF = 0.5
    NAN = float("nan")


class Plain(enum.Enum):
    A = (1, "x")


class Scalar:
    """What a scalar of numpy looks like."""

    shape = ()
    dtype = "float64"

    def __init__(self, value: Any) -> None:
        self._value = value

    def item(self) -> Any:
        return self._value


class EndlessScalar(Scalar):
    def __init__(self) -> None:
        super().__init__(self)


@dataclasses.dataclass
class Point:
    x: Any
    y: Any = None


class Model(BaseModel):
    anything: Any = None


class Pair(NamedTuple):
    first: Any
    second: Any


class Handed:
    """A value that can be shown whatever it is, for the report of a failure."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __repr__(self) -> str:
        try:
            return ascii(self.value)
        except Exception:
            return object.__repr__(self.value)


ODD_VALUES: list[Any] = [
    10**5000,
    HostileRepr(),
    HostileStrError(),
    HostileList([1]),
    HostileDict(a=1),
    HostileText("text"),
    HostileInt(7),
    HostileInt(2**70),
    HostileFloat(0.5),
    HostileEverything(),
    HostileType(),
    HostilePairs(a=1),
    HostileEverything,
    Odd.HALF,
    Odd.NAN,
    Plain.A,
    Point,
    Scalar(1.5),
    EndlessScalar(),
    pathlib.Path("a\udc80"),
    re.compile("x"),
    re.match("x", "x"),
    ValueError("\udc80"),
    KeyError(1),
    ExceptionGroup("g", [ValueError(1)]),
    memoryview(b"x"),
    bytearray(b"\x80"),
    lambda: None,
    print,
    int,
    object(),
    itertools.count(),
    Ellipsis,
    NotImplemented,
    "a\nb\r\u2028\x00",
]

halves = st.text(st.characters(categories=["Cs"]), min_size=1, max_size=2)
any_text = st.lists(st.text(max_size=5) | halves, max_size=4).map("".join)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    any_text,
    st.binary(max_size=20),
    st.decimals(),
    st.datetimes(),
    st.uuids(),
    st.complex_numbers(),
    run_ids,
    st.integers(0, len(ODD_VALUES) - 1).map(lambda place: ODD_VALUES[place]),  # their repr may raise
)
hashable = st.one_of(any_text, st.integers(), st.none(), st.booleans(), st.floats(), st.binary(max_size=4), run_ids)
hostile_values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.lists(inner, max_size=4).map(deque),
        st.dictionaries(hashable, inner, max_size=4),
        st.dictionaries(hashable, inner, max_size=4).map(OrderedDict),
        st.dictionaries(hashable, inner, max_size=4).map(UserDict),
        st.sets(hashable, max_size=4),
        st.frozensets(hashable, max_size=4),
        st.builds(Point, inner, inner),
        st.builds(Pair, inner, inner),
        st.builds(Scalar, inner),
        inner.map(lambda value: Model.model_construct(anything=value)),
        inner.map(ValueError),
    ),
    max_leaves=15,
).map(Handed)


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


# The seam for the redactor --------------------------------------------------------------------------------------------


class Scrubbing:
    def __init__(self, scrub: Any) -> None:
        self._scrub = scrub

    def __enter__(self) -> None:
        set_scrub(self._scrub)

    def __exit__(self, *exc_info: object) -> None:
        set_scrub(None)


def test_every_recorded_text_passes_the_scrub(registry: RunRegistry) -> None:
    """Names, keys, values, errors, and what is made of objects: nowhere is the secret left."""

    class HunterError(Exception):
        pass

    class Shown:
        def __repr__(self) -> str:
            return "hunter2"

    with Scrubbing(lambda text: text.replace("hunter2", "***")):
        run = start_run(
            "hunter2",
            kind="hunter2",
            input={"hunter2": ["hunter2", {"k": ("hunter2",)}], "b": b"hunter2", "o": Shown(), "p": Point("hunter2")},
            key="hunter2",
            user_id="hunter2",
            session_id="hunter2",
            summary="hunter2",
            tags=["hunter2"],
            attributes={"hunter2": "hunter2", "path": pathlib.Path("hunter2"), "model": Model(anything="hunter2")},
            links=["hunter2"],
        )
        run.step("hunter2", hunter2="hunter2", error=ValueError("hunter2"))
        run.decide("hunter2", options=["hunter2"], chosen="hunter2", why="hunter2").outcome("hunter2")
        run.usage(model="hunter2", call_id="hunter2", cost=1.0, currency="hunter2")
        run.update(output="hunter2", summary="hunter2", tags="hunter2", attributes={"hunter2": 1})
        error = HunterError("hunter2")
        error.__cause__ = ExceptionGroup("hunter2", [ValueError("hunter2")])
        run.end(output=HostileText("hunter2"), error=error)
    events = registry.events(run.id)
    text = json.dumps([event.data for event in events])
    assert "hunter2" not in text
    assert text.count("***") > 25


@pytest.mark.parametrize("scrub", [lambda text: 1 / 0, lambda text: None, lambda text: text.encode()])
def test_what_the_scrub_cannot_handle_is_not_recorded(scrub: Any) -> None:
    with Scrubbing(scrub):
        found = recorded(a="secret", b=["secret"], c={"secret": "secret"}, d=ValueError("secret"), e=Point("secret"))
    assert "secret" not in json.dumps(found)
    assert found["a"].startswith("<not recorded: scrub ")


def test_a_scrub_that_removes_what_looks_like_a_key_leaves_journals_readable(registry: RunRegistry) -> None:
    """The id of a process is 32 hexadecimal digits, as many a key is; without it none could be told from another."""
    digits = re.compile(r"[0-9a-f]{16,}|[0-9a-f-]{36}")
    with Scrubbing(lambda text: digits.sub("[removed]", text)), start_run("run", input="0123456789abcdef" * 2) as run:
        pass
    record = registry.get(run.id)
    assert (record.status, record.input) == ("succeeded", "[removed]")
    assert record.process is not None
    assert len(bytes.fromhex(record.process.id)) == 16
    assert record.process.state == "alive"


def test_a_scrub_that_fails_leaves_the_tree_of_runs(registry: RunRegistry) -> None:
    """It fails closed: what the program said is not recorded, that there were runs and how they ended is."""
    with Scrubbing(lambda text: 1 / 0), start_run("outer") as outer, start_run("inner"):
        outer.decide("secret", options=[], chosen="secret", why="secret").outcome("secret")
    tree = registry.tree(outer.id)
    assert [node.record.status for node in tree] == ["succeeded", "succeeded"]
    assert tree.record.process is not None
    assert tree.record.process.state == "alive"


@settings(max_examples=50)
@given(hostile_values)
def test_with_a_scrub_any_value_becomes_a_line_of_json(handed: Handed) -> None:
    with Scrubbing(lambda text: "*" * len(text)):
        found = recorded(a=[handed.value])
    texts = [found["a"]]
    while texts:
        top = texts.pop()
        if isinstance(top, dict):
            texts.extend([*top.keys(), *top.values()])
        elif isinstance(top, list):
            texts.extend(top)
        elif isinstance(top, str):
            ours = {"NaN", "Infinity", "-Infinity", "type", "message"}
            assert set(top) <= {"*"} or top in ours or "cut: " in top or "-" in top


def test_a_dataclass_that_shows_itself_in_its_own_way_is_recorded_in_that_way() -> None:
    @dataclasses.dataclass(repr=False)
    class Quiet:
        password: str

        def __repr__(self) -> str:
            return "Quiet(…)"

    assert recorded(a=Quiet("hunter2")) == {"a": "Quiet(…)"}


def test_a_secret_at_the_cut_is_scrubbed_before_it_is_cut() -> None:
    with Scrubbing(lambda text: text.replace("hunter2", "*******")):
        found = recorded(a="x" * (MAX_TEXT - 4) + "hunter2" + "y" * 100_000)
    assert "hunt" not in found["a"]
    assert "cut: " in found["a"]
