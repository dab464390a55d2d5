"""Telling: what differs, in a few lines, and nothing that was recorded plays with the terminal."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from unicodedata import category

from hypothesis import given
from hypothesis import strategies as st

from agent_run_id import diff
from agent_run_id.schema import DecisionRecord, ErrorRecord, UsageRecord
from tests.strategies import Plan, plans

any_plan = plans(keys=st.none() | st.sampled_from("jk"))


def planned(*below: Plan, **fields: Any) -> Plan:
    return Plan(fields, below)


def told(a: Plan, b: Plan, **options: Any) -> list[str]:
    return diff(a.carried_out(), b.carried_out(first=0x100)).render(**options).split("\n")


def test_trees_that_did_the_same_take_three_lines() -> None:
    assert told(planned(planned()), planned(planned())) == [
        "a  ✓ step [00000001] tool succeeded",
        "b  ✓ step [00000100] tool succeeded",
        "2 alike",
    ]


def test_each_sort_of_difference_has_its_lines() -> None:
    used = (UsageRecord(model="m", input_tokens=1000, output_tokens=5, cost=0.5, currency="USD"),)
    more = (
        UsageRecord(model="m", input_tokens=2234, cost=0.25, currency="USD"),
        UsageRecord(model="m", input_tokens=1000, cost=1, currency="EUR"),
    )
    second = timedelta(seconds=1)
    a = planned(
        planned(key="1", name="pay"), planned(key="2", name="pay", status="failed", error=ErrorRecord(message="no")),
        planned(key="3", elapsed=second), planned(key="4", elapsed=3 * second), planned(planned(), key="5"),
        planned(name="left out"), planned(name="llm", decisions=(DecisionRecord(id="1", question="q", chosen="x"),)),
        elapsed=2 * second, usage=used,
    )  # fmt: skip
    b = planned(
        planned(key="1", name="pay", status="failed", error=ErrorRecord(type="ValueError", message="no")),
        planned(key="2", name="pay"), planned(key="3", elapsed=3 * second), planned(key="4", elapsed=second),
        planned(key="6"), planned(planned(planned()), name="put in"), planned(name="llm"),
        elapsed=second, usage=more,
    )  # fmt: skip
    assert told(a, b)[2:] == [
        "   +2,234 → ? tokens, ? EUR, -0.2500 USD",
        "first: pay key=1 [00000002]: status ✓ succeeded → ✗ failed, error none → ValueError: no",
        "newly failed: 1",
        "  pay key=1 [00000002]: status ✓ succeeded → ✗ failed, error none → ValueError: no",
        "fixed: 1",
        "  pay key=2 [00000003]: status ✗ failed → ✓ succeeded, error no → none",
        "slower: 1",
        "  step key=3 [00000004]: 1.0 s → 3.0 s",
        "faster: 1",
        "  step key=4 [00000005]: 3.0 s → 1.0 s",
        "missing: 1",
        "  step key=5 [00000006] and 1 below it",
        "new: 1",
        "  step key=6 [00000105]",
        "changed: 1",
        "  llm [00000009]: decisions q → x → none, outcomes [null] → []",
        "only in a: 1",
        "  left out [00000008]",
        "only in b: 1",
        "  put in [00000106] and 2 below it",
        "3 alike",
    ]


def test_of_many_differences_a_few_are_listed() -> None:
    many = [planned(*(planned(key=str(n), output=side) for n in range(1_234))) for side in (0, 1)]
    lines = told(*many, limit=2)
    assert lines[3] == "changed: 1,234"
    assert lines[6:] == ["  … and 1,232 more", "1 alike"]
    assert len(told(*many)) == 4 + 20 + 2


def test_what_changed_places_and_what_keys_repeat_is_said() -> None:
    a = planned(planned(input=1), planned(input=2), planned(key="k"), planned(key="k"))
    b = planned(planned(input=2), planned(input=1), planned(key="k"), planned(key="k"))
    assert told(a, b)[2:] == ["repeated key: k, 2 in a and 2 in b", "5 alike, 1 in another place"]


def test_long_values_are_shown_where_they_differ() -> None:
    def line(*outputs: Any) -> str:
        return told(*(planned(planned(output=output)) for output in outputs))[2]

    same = "x" * 100
    assert line(f"{same}one{same}", f"{same}two") == (
        f"first: step [00000002]: output …{'x' * 12}one{'x' * 33}… → …{'x' * 12}two"
    )
    assert line(same, None) == f"first: step [00000002]: output {'x' * 48}… → none"
    assert line(same, f"{same}!").endswith(f"output …{'x' * 12} → …{'x' * 12}!")
    assert line("1", 1).endswith('output "1" → 1')


def test_deep_places_are_told_by_the_nearest_runs() -> None:
    def deep(output: int) -> Plan:
        plan = planned(name="leaf", output=output)
        for name in "edcba":
            plan = planned(plan, name=name)
        return plan

    assert told(deep(1), deep(2))[2] == "first: … / d / e / leaf [00000006]: output 1 → 2"


@given(any_plan, any_plan)
def test_any_two_trees_can_be_told(one: Plan, other: Plan) -> None:
    lines = told(one, other)
    found = diff(one.carried_out(), other.carried_out(first=0x100))
    assert lines[-1].startswith(f"{found.alike:,} alike")
    assert any(line.startswith("first: ") for line in lines) == bool(found)


@given(st.text(), st.text())
def test_nothing_recorded_controls_the_terminal(one: str, other: str) -> None:
    made = (DecisionRecord(id="1", question=one, chosen=other),)
    a = planned(planned(name=one, key=other, output=one, decisions=made), planned(key=one), planned(key=one), name=one)
    b = planned(planned(name=other, key=other, output=other, error=ErrorRecord(type=one, message=other)), name=other)
    for line in told(a, b):
        assert not any(category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp") for char in line)
