"""Values that hurt whoever looks at them, strategies of them, and what is recorded of any value."""

from __future__ import annotations

import dataclasses
import enum
import itertools
import json
import pathlib
import re
from collections import OrderedDict, UserDict, deque
from typing import Any, NamedTuple, NoReturn

from hypothesis import strategies as st
from pydantic import BaseModel

from agent_run_id.events import encode_fields, encode_line
from agent_run_id.testing import run_ids

__all__ = [
    "ODD_VALUES",
    "Handed",
    "HostileDict",
    "HostileEverything",
    "HostileRepr",
    "HostileStrError",
    "HostileText",
    "HostileType",
    "Model",
    "Odd",
    "Pair",
    "Plain",
    "Point",
    "Scalar",
    "any_text",
    "hostile_values",
    "recorded",
]


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
    run_ids(),
    st.integers(0, len(ODD_VALUES) - 1).map(lambda place: ODD_VALUES[place]),  # their repr may raise
)
hashable = st.one_of(any_text, st.integers(), st.none(), st.booleans(), st.floats(), st.binary(max_size=4), run_ids())
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
