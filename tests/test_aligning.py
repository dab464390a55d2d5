"""Aligning: the longest common order, found the same from either side, and within bounds."""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_run_id.aligning import Aligner, By, common
from tests.strategies import Plan

if TYPE_CHECKING:
    from agent_run_id import Tree

texts = st.lists(st.sampled_from([b"x", b"y", b"z"]), max_size=12)


def longest(a: list[bytes], b: list[bytes]) -> int:
    @cache
    def of(i: int, j: int) -> int:
        if i == len(a) or j == len(b):
            return 0
        return max(of(i + 1, j), of(i, j + 1), 1 + of(i + 1, j + 1) if a[i] == b[j] else 0)

    return of(0, 0)


def check(a: list[bytes], b: list[bytes]) -> list[tuple[int, int]]:
    pairs = common(a, b)
    assert all(a[i] == b[j] for i, j in pairs)
    assert all(i < k and j < n for (i, j), (k, n) in pairwise(pairs))
    assert common(b, a) == [(j, i) for i, j in pairs]
    return pairs


@given(texts, texts)
def test_what_is_common_is_in_order_and_nothing_longer_is(a: list[bytes], b: list[bytes]) -> None:
    assert len(check(a, b)) == longest(a, b)


@given(st.lists(st.sampled_from([b"x", b"y"]), max_size=60), st.lists(st.sampled_from([b"x", b"y"]), max_size=60))
def test_where_little_is_tried_what_is_found_is_still_common(a: list[bytes], b: list[bytes]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("agent_run_id.aligning._TRIES", 0)
        patch.setattr("agent_run_id.aligning._ALWAYS", 0)
        patch.setattr("agent_run_id.aligning._NEAR", 1)
        pairs = check(a, b)
    assert bool(pairs) == bool(set(a) & set(b))


def test_ten_thousand_repetitions_are_within_bounds() -> None:
    a = [b"x", b"y", b"z"] * 3_333
    b = [b"y", b"x", b"z", b"x"] * 2_500
    assert len(check(a, b)) > 5_000


# Siblings -------------------------------------------------------------------------------------------------------------


def aligned(a: list[dict[str, Any]], b: list[dict[str, Any]]) -> list[tuple[Any, Any, By | None]]:
    """Of each match the outputs of the two, and what they were paired by."""

    def tree(steps: list[dict[str, Any]]) -> Tree:
        return Plan({}, tuple(Plan({"output": number, **step}) for number, step in enumerate(steps))).carried_out()

    one, other = tree(a), tree(b)
    matches = Aligner(one, other).siblings(one.children, other.children).matches
    return [(m.a and m.a.record.output, m.b and m.b.record.output, m.by) for m in matches]


def step(given: Any = None, **fields: Any) -> dict[str, Any]:
    return {"name": "search", "input": given, **fields}


def test_a_step_put_in_moves_no_other() -> None:
    assert aligned([step("p"), step("q")], [step("p"), step("new"), step("q")]) == [
        (0, 0, "input"),
        (None, 1, None),
        (1, 2, "input"),
    ]


def test_steps_whose_inputs_differ_are_paired_by_kind_and_name_between_surer_pairs() -> None:
    a = [step("p"), step("mine", name="read"), step("q")]
    b = [step("p"), step("theirs", name="read"), step("q")]
    assert aligned(a, b)[1] == (1, 1, "name")
    assert aligned(a, [*b[:1], step("mine", name="write"), *b[2:]])[1:3] == [(1, None, None), (None, 1, None)]
    assert aligned(a, [*b[:1], step("theirs", name="read", kind="llm"), *b[2:]])[1:3] == [
        (1, None, None),
        (None, 1, None),
    ]


@pytest.mark.parametrize(
    "two",
    [
        ("/tmp/tmp3k2j5h1x/", "/tmp/work-9/"),
        ("/private/var/folders/zz/a1b2/T/tmpq/", "/var/folders/yy/c3d4/T/tmpz/"),
        ("3f2a8c1d-0e94-4b6f-8d27-71c35ea8f0b2", "e2768f09-5b1c-4f73-9e08-a4d6c2170b95"),
        ("3f2a8c1d0e944b6f8d2771c35ea8f0b2", "e2768f095b1c4f739e08a4d6c2170b95"),
        ("2026-11-23T03:14:07.147077+01:00", "2026-11-24 18:00:00Z"),
        ("<Client object at 0x7f3a12b4c5d0>", "<Client object at 0x7fffeb123410>"),
        ("tmp3k2j5h1x", "tmpaz_9bc81"),
    ],
)
def test_what_differs_from_run_to_run_by_nature_does_not_stop_the_alignment(two: tuple[str, str]) -> None:
    """Without masking, each would be paired with the one before it."""
    a = [step({"in": f"{two[0]} {letter}"}) for letter in "xy"]
    b = [step({"in": f"{two[1]} {letter}"}) for letter in "wxy"]
    assert aligned(a, b) == [(None, 0, None), (0, 1, "masked"), (1, 2, "masked")]


def test_steps_that_changed_places_are_paired() -> None:
    found = aligned([step("p"), step("q"), step("r")], [step("r"), step("p"), step("q")])
    assert found == [(0, 1, "input"), (1, 2, "input"), (2, 0, "moved")]


def test_keyed_siblings_are_paired_by_their_key_alone() -> None:
    a = [step("p", key="1"), step("q", key="2"), step("q")]
    b = [step("q", key="2", name="other", kind="llm"), step("q"), step("new", key="1")]
    assert aligned(a, b) == [(0, 2, "key"), (1, 0, "key"), (2, 1, "input")]


def test_a_keyed_run_is_not_paired_with_one_that_has_no_key() -> None:
    assert aligned([step("p", key="1")], [step("p")]) == [(0, None, None), (None, 0, None)]


def test_repetitions_of_a_key_are_paired_in_order() -> None:
    a = [step("p", key="1"), step("q", key="1")]
    b = [step("p", key="1"), step("new", key="1"), step("q", key="1"), step("r", key="1")]
    assert aligned(a, b) == [(0, 0, "key"), (None, 1, None), (1, 2, "key"), (None, 3, None)]
    assert aligned(a, [step("r", key="1"), step("s", key="1")]) == [(0, 0, "key"), (1, 1, "key")]
