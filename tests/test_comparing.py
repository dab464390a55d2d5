"""Comparing: values are compared as JSON, whatever Python thinks of them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given

from agent_run_id import diff
from agent_run_id.comparing import canonical, masked, same
from agent_run_id.schema import DecisionRecord, ErrorRecord
from agent_run_id.testing.strategies import json_values
from tests.strategies import Plan

if TYPE_CHECKING:
    from pydantic import JsonValue


@given(json_values, json_values)
def test_two_values_are_the_same_when_their_texts_are(one: JsonValue, other: JsonValue) -> None:
    assert same(one, one)
    assert same(one, other) == (canonical(one) == canonical(other))


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (1, 1.0, True),
        ([10**16], [1e16], True),
        (0, -0.0, True),
        ({"a": 1, "b": [2]}, {"b": [2.0], "a": 1}, True),
        (math.nan, math.nan * 1, True),
        (1, True, False),
        ([0], [False], False),
        (None, False, False),
        (None, "", False),
        ([], {}, False),
        ("1", 1, False),
        ([1, 2], [2, 1], False),
        ({"a": None}, {}, False),
        ({"a": 1}, {"b": 1}, False),
        ("\ud800", "\ud801", False),
    ],
)
def test_numbers_are_numbers_and_truth_is_not(one: JsonValue, other: JsonValue, *, expected: bool) -> None:
    assert same(one, other) == same(other, one) == expected
    assert (canonical(one) == canonical(other)) == expected


def test_what_is_masked_makes_no_difference_where_it_is_ignored() -> None:
    one: dict[str, JsonValue] = {"at": "2026-01-01T00:00:00Z", "n": 1}
    other: dict[str, JsonValue] = {"at": "2026-01-02T10:00:00Z", "n": 1}
    assert not same(one, other)
    assert same(one, other, volatile=False)
    assert not same(one, {**other, "n": 2}, volatile=False)


@pytest.mark.parametrize("text", ["invoice 4711", "deadbeef", "0x10", "/usr/share/x", "3.14", "2026-01-01", "tmpfile"])
def test_what_means_something_is_not_masked(text: str) -> None:
    assert masked(text) == text


def changed(**fields: tuple[Any, Any]) -> tuple[str, ...]:
    a, b = ({name: two[side] for name, two in fields.items()} for side in (0, 1))
    below = [Plan({}, (Plan({"key": "k", **one}),)).carried_out() for one in (a, b)]
    return diff(*below).pairs[1].changed


def test_each_field_that_tells_what_a_run_did_is_compared() -> None:
    assert changed() == ()
    assert changed(name=("a", "b"), kind=("tool", "llm")) == ("kind", "name")
    assert changed(input=(1, 2), output=(1, 2), status=("succeeded", "lost")) == ("input", "output", "status")
    assert changed(error=(None, ErrorRecord(message="m"))) == ("error",)
    leaf = ErrorRecord(message="leaf")
    assert changed(error=(ErrorRecord(), ErrorRecord(leaves=(leaf,)))) == ("error",)


def test_how_it_is_told_is_not() -> None:
    """Line numbers change with every edit, and a model gives its reasons anew."""
    assert changed(error=(ErrorRecord(traceback="line 1"), ErrorRecord(traceback="line 2"))) == ()
    made = DecisionRecord(id="1", question="which?", chosen="a", outcome="good")

    def other(**update: Any) -> tuple[str, ...]:
        return changed(decisions=((made,), (made.model_copy(update=update),)))

    assert other(id="2", why="because", confidence=0.5) == ()
    assert other(chosen="b") == other(question="who?") == other(options=("b",)) == ("decisions",)
    assert other(outcome="bad") == ("outcomes",)
