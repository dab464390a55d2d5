"""What a program may say of its runs: whatever the parameters are annotated with, however hostile it is."""

from __future__ import annotations

import asyncio
import contextlib
import decimal
import enum
from collections import OrderedDict, UserDict, deque
from typing import Any

from hypothesis import strategies as st

from agent_run_id import ROOT, Run, accept, accept_batch, current_run, hand_off, resume, start_run
from agent_run_id.testing import run_ids
from tests.hostile_values import (
    Handed,
    HostileDict,
    HostileFloat,
    HostileInt,
    HostileStrError,
    HostileText,
    any_text,
    hostile_values,
)

__all__ = ["anything", "mistyped", "record", "typed"]


class Word(enum.StrEnum):
    A = "agent"


anything = hostile_values
texts = any_text | st.sampled_from([HostileText("hostile"), Word.A, "\udc80", "\x00\u2028"])
some_texts = st.one_of(
    st.lists(texts, max_size=4),
    st.lists(texts, max_size=4).map(tuple),
    st.lists(texts, max_size=4).map(deque),
    st.lists(texts, max_size=4).map(lambda items: (item for item in items)),
    st.sets(any_text, max_size=4),
    texts,
)
some_runs = st.lists(run_ids() | texts, max_size=4)
mappings = st.one_of(
    st.dictionaries(any_text, anything, max_size=4),
    st.dictionaries(any_text, anything, max_size=4).map(OrderedDict),
    st.dictionaries(any_text, anything, max_size=4).map(UserDict),
    st.just(HostileDict(a=1)),
)
integers = st.integers() | st.sampled_from([HostileInt(7), HostileInt(2**70), 10**5000, 2**63 - 1, 2**63, -(2**63)])
numbers = st.floats() | st.integers() | st.sampled_from([HostileFloat(0.5), decimal.Decimal("0.0042")])
errors = st.one_of(
    st.none(),
    texts,
    texts.map(ValueError),
    st.lists(texts.map(ValueError), min_size=1, max_size=120).map(lambda leaves: ExceptionGroup("some", leaves)),
    st.sampled_from([HostileStrError(), KeyboardInterrupt(), SystemExit(1), asyncio.CancelledError()]),
)

_BEGUN: dict[str, st.SearchStrategy[Any]] = {
    **dict.fromkeys(("kind", "key", "user_id", "session_id", "summary"), texts),
    **dict.fromkeys(("tags", "aliases"), some_texts),
    "links": some_runs,
    "attributes": mappings,
    "input": anything,
}
_EXPECTED = {"expected": st.sampled_from([(), ValueError, (Exception,), BaseException])}
_GIVEN: dict[str, tuple[dict[str, st.SearchStrategy[Any]], dict[str, st.SearchStrategy[Any]]]] = {
    "start": ({"name": texts}, {**_BEGUN, **_EXPECTED}),
    "hand_off": ({"name": texts, "payload": anything}, _BEGUN),
    "accept": ({"message": anything}, {"headers": anything, "attempt": integers, "name": texts, "kind": texts}),
    "accept_batch": ({"messages": st.lists(anything, max_size=3)}, {"name": texts, "kind": texts, **_EXPECTED}),
    "resume": ({"run_id": run_ids()}, {"name": texts, "kind": texts, **_EXPECTED}),
    "pause": ({"reason": texts}, {}),
    "step": ({"name": texts}, {"data": mappings.filter(lambda data: type(data) is dict)}),
    "decide": (
        {"question": texts, "why": texts, "chosen": anything, "options": st.lists(anything, max_size=4) | some_texts},
        {"confidence": numbers, "outcome": texts},
    ),
    "usage": (
        {"model": texts},
        {
            **{f"{kind}_tokens": integers for kind in ("input", "output", "cache_read", "cache_write", "reasoning")},
            "cost": numbers,
            "currency": texts,
            "call_id": texts,
            "inclusive": st.booleans(),
        },
    ),
    "update": (
        {},
        {
            "summary": texts,
            **dict.fromkeys(("tags", "aliases"), some_texts),
            "links": some_runs,
            "attributes": mappings,
            "output": anything,
        },
    ),
    "end": ({}, {"status": st.sampled_from(["succeeded", "failed", "cancelled"]), "output": anything, "error": errors}),
}


@st.composite
def typed(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    """A call, each argument of its type."""
    verb = draw(st.sampled_from(sorted(_GIVEN)))
    always, sometimes = _GIVEN[verb]
    return verb, draw(st.fixed_dictionaries(always, optional=sometimes).map(lambda given: _shown(given)))


@st.composite
def mistyped(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    """A call, each argument of any type, where the call itself has no say in it."""
    verb = draw(st.sampled_from(sorted(_GIVEN)))
    always, sometimes = _GIVEN[verb]
    kept = {"data", "expected", "status", "inclusive", "error", "run_id", "messages"}
    both = {name: kind if name in kept else anything | kind for name, kind in {**always, **sometimes}.items()}
    fixed = {name: both.pop(name) for name in always}
    return verb, draw(st.fixed_dictionaries(fixed, optional=both).map(lambda given: _shown(given)))


def _shown(given: dict[str, Any]) -> dict[str, Handed]:
    return {name: value if isinstance(value, Handed) else Handed(value) for name, value in given.items()}


def record(calls: list[tuple[str, dict[str, Any]]]) -> None:
    """Do what the calls say, in a run of its own or, after a start, in that which was started."""
    with start_run("first", parent=ROOT), contextlib.ExitStack() as stack:
        for verb, given in calls:
            arguments = {name: handed.value for name, handed in given.items()}
            if verb == "start":
                stack.enter_context(start_run(arguments.pop("name"), **arguments))
            else:
                _VERBS[verb](current_run(), arguments)


def _step(run: Run, arguments: dict[str, Any]) -> None:
    data = {name: value for name, value in arguments.get("data", {}).items() if name != "self"}
    run.step(arguments["name"], **data)


def _decide(run: Run, arguments: dict[str, Any]) -> None:
    question, outcome = arguments.pop("question"), arguments.pop("outcome", None)
    decision = run.decide(question, **arguments)
    if outcome is not None:
        decision.outcome(outcome)


def _hand_off(run: Run, arguments: dict[str, Any]) -> None:
    """And accept it as it came, twice."""
    message = hand_off(arguments.pop("name"), arguments.pop("payload"), **arguments)
    with accept(message), accept(message):
        pass


_VERBS: dict[str, Any] = {
    "hand_off": _hand_off,
    "accept": lambda run, arguments: accept(arguments.pop("message"), **arguments).end(),
    "accept_batch": lambda run, arguments: accept_batch(arguments.pop("messages"), **arguments).end(),
    "resume": lambda run, arguments: resume(arguments.pop("run_id"), **arguments).end(),
    "pause": lambda run, arguments: run.pause(**arguments),
    "step": _step,
    "decide": _decide,
    "usage": lambda run, arguments: run.usage(**arguments),
    "update": lambda run, arguments: run.update(**arguments),
    "end": lambda run, arguments: run.end(**arguments),
}
