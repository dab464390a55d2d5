"""Carriers: nothing that comes in raises, makes a run of what is none, or takes more memory than its bound."""

from __future__ import annotations

import tracemalloc
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest.mock import MagicMock, Mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent_run_id import RunId, SigningKeys, carriers
from agent_run_id.carriers import fields
from tests.carriers_table import CARRIERS
from tests.hostile_values import (
    Handed,
    HostileDict,
    HostileEverything,
    HostileText,
    HostileType,
    HurtError,
    hostile_values,
    hurt,
)
from tests.strategies import broken_tokens

if TYPE_CHECKING:
    from collections.abc import Callable

KEYS = SigningKeys({"k1": "0123456789abcdef"})
NAMES = ["traceparent", "tracestate", "x-run-id", "run_id", "run_id_sig", "agent_run", "AGENT_RUN_ID", "TRACEPARENT"]
NAMES += ["TRACESTATE", "HTTP_TRACEPARENT", "HTTP_X_RUN_ID", "headers", "_meta", "sig"]
TOKEN = RunId.generate(RunId.generate()).token
DEEPEST = RunId.from_token(f"{TOKEN[:36]}.{RunId.generate()}.{RunId.generate()}.65535")
each_carrier = pytest.mark.parametrize("carrier", CARRIERS, ids=lambda carrier: carrier.__name__.rpartition(".")[2])


class HalfText(str):
    """A text that can be looked at, and not used."""

    __slots__ = ()
    __getitem__ = hurt
    encode = hurt  # type: ignore[assignment]
    strip = hurt
    lower = hurt
    partition = hurt
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        return str.__eq__(self, other)


class Endless:
    """Every attribute is another one of it."""

    def __getattr__(self, name: str) -> Any:
        return Endless()


class Itself:
    def __getattr__(self, name: str) -> Any:
        return self

    def __call__(self, *args: Any) -> Any:
        return self


class Deep:
    def __getattr__(self, name: str) -> Any:
        return getattr(self, name + name[:1])


class RaisingDict(dict[Any, Any]):
    get = hurt
    __contains__ = hurt
    __getitem__ = hurt


class RaisingLater:
    """Gives a run, and then raises."""

    def items(self) -> Any:
        yield "x-run-id", TOKEN[:36]
        yield "run_id", TOKEN
        raise HurtError


CYCLE: dict[Any, Any] = {}
CYCLE.update(dict.fromkeys(NAMES, CYCLE))
LIST: list[Any] = []
LIST.append(LIST)
JUNK: list[Any] = [
    MagicMock(),
    Mock(),
    Mock(side_effect=HurtError),
    MagicMock(**{"items.side_effect": HurtError, "get.side_effect": HurtError}),
    MagicMock(**{"items.return_value": MagicMock(), "get.return_value": HalfText(TOKEN[:-1])}),
    Endless(),
    Itself(),
    Deep(),
    RaisingDict(x=1),
    HostileDict({"agent_run": 1}),
    RaisingLater(),
    HostileEverything(),
    HostileType,
    CYCLE,
    LIST,
    [[[[]]]],
    [("x-run-id",), ("x-run-id", 1, 2), "ab", b"ab", 1],
    {HalfText("x-run-id"): TOKEN[:-1], "traceparent": "x", "tracestate": "y"},
    {1: 2, "traceparent": "00", "tracestate": "runid=1"},
    "{" * 100_000,
    '{"agent_run":' * 10_000,
    '{"agent_run":{"run_id":' + "9" * 5000 + "}}",
    "[" * 500_000,
    "\ud800?run_id=\udfff",
    '{"agent_run":{"run_id":"\udc80"}}',
    b"\xff\xfe{",
    b"\xef\xbb\xbf{}",
    bytearray(b"?run_id=\r\n"),
    memoryview(b"run_id=1"),
    "a\r\nx-run-id: 1",
    range(3),
    iter([("x-run-id", "1")]),
    type("Empty", (), {}),
    10**5000,
    float("nan"),
]
VALUES: list[Any] = [
    *JUNK,
    None,
    "",
    b"",
    HalfText(TOKEN[:-1]),
    HostileText(TOKEN[:-1]),
    "x" * 100_000,
    ["x" * 100_000] * 3,
    {"run_id": HostileText(TOKEN[:-1])},
    {"run_id": HalfText(TOKEN[:-1]), "sig": HostileText("s")},
    {"run_id": HostileEverything()},
    RaisingDict(run_id=TOKEN),
    "\r\n",
    TOKEN + "\n",
    f"runid={TOKEN}\r\nx: y",
]
junk = hostile_values | st.integers(0, len(JUNK) - 1).map(lambda place: Handed(JUNK[place]))
values = junk | st.integers(0, len(VALUES) - 1).map(lambda place: Handed(VALUES[place])) | broken_tokens().map(Handed)


def extract(carrier: Any, given: Any) -> None:
    """Under every policy, with and without keys: no run, nothing remembered, nothing raised."""
    for policy in ("trust", "link", "ignore"):
        for keys in (None, KEYS):
            found = carrier.extract(given, policy=policy, keys=keys)
            assert (found.run_id, found.link, found.trace) == (None, None, None)
            repr(found)


@each_carrier
@pytest.mark.parametrize("place", range(len(JUNK)))
def test_junk_is_no_run_and_raises_nothing(carrier: Any, place: int) -> None:
    extract(carrier, JUNK[place])


@each_carrier
@pytest.mark.parametrize("place", range(len(VALUES)))
def test_junk_under_a_name_of_ours_is_no_run_and_raises_nothing(carrier: Any, place: int) -> None:
    for name in NAMES:
        extract(carrier, {name: VALUES[place]})


@each_carrier
@settings(max_examples=settings().max_examples // 4)
@given(given_value=hostile_values)
def test_no_value_of_any_type_is_a_run(carrier: Any, given_value: Handed) -> None:
    extract(carrier, given_value.value)


@each_carrier
@settings(max_examples=settings().max_examples // 4)
@given(items=st.lists(st.tuples(st.sampled_from(NAMES), values), min_size=1, max_size=4))
def test_no_value_under_a_name_of_ours_is_a_run(carrier: Any, items: list[tuple[str, Handed]]) -> None:
    pairs = [(name, handed.value) for name, handed in items]
    for given_carrier in (dict(pairs), pairs, tuple(pairs), SimpleNamespace(**dict(pairs)), HostileDict(pairs)):
        extract(carrier, given_carrier)


@each_carrier
@given(text=st.text() | st.binary() | broken_tokens())
def test_no_text_is_a_run(carrier: Any, text: Any) -> None:
    shown: Any = text if isinstance(text, str) else text.decode("latin-1")
    forms: list[Any] = [
        text,
        f"?run_id={shown}",
        f'{{"agent_run": {shown}}}',
        f'{{"agent_run": {{"run_id": "{shown}"}}}}',
    ]
    for form in forms:
        found = carrier.extract(form)
        assert (found.run_id, found.trace) == (None, None) or "?" in form or "agent_run" in form
        assert found.run_id is None or found.run_id.token in form


def test_of_what_raises_half_way_nothing_is_kept() -> None:
    assert repr(carriers.headers.extract(RaisingLater())) == repr(carriers.query.extract(RaisingLater())) == "Inbound()"


BAD: list[Any] = ["x", "a=b=c", "A=1", "a=\x00", b"\xff", "x" * 40_000, "x" * 70_000, b"x" * 70_000, 1, ["a=1"] * 101]


def test_a_tracestate_counts_as_a_whole_over_all_its_headers() -> None:
    run_id = RunId.generate(RunId.generate())
    pairs = list(carriers.headers.inject({}, run_id).items())
    for place in range(len(pairs) + 1):
        for value in (None, "", b" \t", [], *BAD):
            found = carriers.headers.extract([*pairs[:place], ("tracestate", value), *pairs[place:]])
            assert found.run_id is not None
            # Without its state only the bare id is left.
            assert found.run_id.token == (run_id.value if value in BAD else run_id.token)


@pytest.mark.parametrize("count", [2, 50, 5000])
def test_what_is_there_twice_and_differs_is_ambiguous_and_what_is_the_same_is_not(count: int) -> None:
    same, other = RunId.generate().value, RunId.generate().value
    many = [("x-run-id", same)] * count
    assert (carriers.headers.extract([*many, ("x-run-id", other)]).refused or "").startswith("ambiguous")
    assert carriers.headers.extract([("x-run-id", same), ("X-Run-Id", same)]).run_id == RunId(same)
    for query in ([("run_id", same)] * count, {"run_id": [same] * count}, "&".join([f"run_id={same}"] * count)):
        assert (carriers.query.extract(query).refused or "").startswith(("ambiguous", "malformed")) or len(
            query
        ) > 65_536
    body = "{" + ",".join([f'"agent_run":{{"run_id":"{same}"}}'] * count) + "}"
    assert (carriers.body.extract(body).refused or "").startswith("ambiguous")


# Bounds ---------------------------------------------------------------------------------------------------------------

MEGABYTES = 10_000_000
BOUND = 262_144
"""More than this nothing that comes in can take, however long it is."""

LONG: dict[str, Callable[[str], Any]] = {
    "text": lambda name: {name: "x" * MEGABYTES},
    "white space": lambda name: {**carriers.headers.inject({}, DEEPEST), name: " " * MEGABYTES + "x"},
    "bytes": lambda name: {name: b"x" * MEGABYTES},
    "list": lambda name: {name: [b"x" * 65_536] * 150},
    "long list": lambda name: {name: ["a"] * 1_000_000},
    "often": lambda name: [(name, b"x" * 65_536)] * 150,
    "very often": lambda name: [(name, "a")] * 60_000,
    "object": lambda name: {name: {"run_id": TOKEN, "sig": "k1." + "x" * MEGABYTES}},
}
WHOLE: dict[str, Callable[[], Any]] = {
    "text": lambda: "x" * MEGABYTES,
    "bytes": lambda: b"x" * MEGABYTES,
    "braces": lambda: "{" * MEGABYTES,
    "brackets": lambda: b"[" * MEGABYTES,
    "query": lambda: "?" + "run_id=a&" * (MEGABYTES // 9),
    "body": lambda: b'{"agent_run":"' + b"x" * MEGABYTES,
    "bytearray": lambda: bytearray(MEGABYTES),
    "one name": lambda: {"x" * MEGABYTES: "1"} | carriers.headers.inject({}, DEEPEST),
    "a name of bytes": lambda: {b"x" * MEGABYTES: b"1"},
    "names": lambda: dict.fromkeys(map(str, range(60_000)), "1") | carriers.headers.inject({}, DEEPEST),
    "token": lambda: {"run_id": DEEPEST.token, "run_id_sig": "k1." + "x" * MEGABYTES},
}


def peak_of(carrier: Any, long: Any, keys: SigningKeys | None) -> int:
    tracemalloc.start()
    try:
        found = carrier.extract(long, keys=keys)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        assert found.run_id is None


@pytest.mark.parametrize("name", ["traceparent", "tracestate", "x-run-id", "run_id", "agent_run", "AGENT_RUN_ID"])
@pytest.mark.parametrize("make", LONG.values(), ids=LONG)
def test_ten_megabytes_under_a_name_of_ours_take_no_more_memory_than_the_bound(
    name: str, make: Callable[[str], Any]
) -> None:
    long = make(name)
    assert {carrier.__name__: peak for carrier in CARRIERS if (peak := peak_of(carrier, long, KEYS)) > BOUND} == {}


@pytest.mark.parametrize("make", WHOLE.values(), ids=WHOLE)
def test_ten_megabytes_take_no_more_memory_than_the_bound(make: Callable[[], Any]) -> None:
    long = make()
    for keys in (None, KEYS):
        assert {carrier.__name__: peak for carrier in CARRIERS if (peak := peak_of(carrier, long, keys)) > BOUND} == {}


def test_what_is_remembered_is_bounded_in_number_and_in_size() -> None:
    for number in range(2000):
        run_id = RunId.generate()
        carriers.headers.extract(carriers.headers.inject({}, run_id))
        state = f"a={number}," + ",".join(f"k{place}={'v' * 250}" for place in range(10))
        carriers.headers.extract({"traceparent": f"00-{'1' * 32}-{'1' * 16}-01", "tracestate": state})
    assert fields._remembered.cache_info().currsize <= 256
    assert len(fields._written) <= 256
    assert fields._MAX_REMEMBERED * 256 <= BOUND
