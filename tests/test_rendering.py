"""Rendering: a line for every run, and nothing recorded can do anything to the terminal that shows it."""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_run_id import RunRecord, RunRegistry, start_run
from agent_run_id.rendering import SYMBOLS, clean, duration, state, tokens
from agent_run_id.schema import DecisionRecord, ErrorRecord, ProcessRecord, UsageRecord, UsageTotal
from agent_run_id.tree import grow
from agent_run_id.usage import total

NOW = datetime(2026, 1, 2, 12, tzinfo=UTC)
ID = "0a1b2c3d-0000-4000-8000-000000000000"
NASTY = "\x1b\x9b\r\n\t\b\x00\u202e\u2066\u061c\u200b\u2028\ufeff\ud800\udfff"
any_text = st.lists(st.text(max_size=4) | st.sampled_from([*NASTY, "\x1b[31m"]), max_size=5).map("".join)


def dangerous(text: str) -> set[str]:
    """Controls, what turns or hides or ends a line, and what cannot be encoded."""
    bidirectional = set("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
    return {char for char in text if unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp") or char in bidirectional}


def a_record(**fields: Any) -> RunRecord:
    return RunRecord(id=ID, root_id=ID, **fields)


@given(any_text)
def test_cleaned_text_is_harmless_and_what_was_harmless_stays(text: str) -> None:
    assert not dangerous(clean(text))
    assert clean(clean(text)) == clean(text)
    if text.isprintable():
        assert clean(text) == text
    clean(text).encode()


@given(st.data())
def test_whatever_is_recorded_a_run_and_a_decision_are_one_harmless_line_each(data: st.DataObject) -> None:
    def text() -> str:
        return data.draw(any_text)

    decisions = tuple(
        DecisionRecord(id=text(), question=text(), options=(text(),), chosen=text(), why=text(), outcome=text())
        for _ in range(data.draw(st.integers(0, 2)))
    )
    records = [
        RunRecord(
            id=f"{number:08x}-0000-4000-8000-000000000000",
            root_id=ID,
            parent_id=None if number == 0 else "00000000-0000-4000-8000-000000000000",
            name=text(),
            kind=text(),
            key=text(),
            summary=text(),
            status=data.draw(st.sampled_from([status for status in SYMBOLS if status])),
            error=ErrorRecord(type=text(), message=text(), traceback=text()),
            usage=(UsageRecord(model=text(), cost=0.5, currency=text()),),
            process=ProcessRecord(id=text(), program=text(), host=text(), state="unknown"),
            decisions=decisions,
            started_at=NOW,
            last_event_at=NOW,
        )
        for number in range(3)
    ]
    shown = str(grow(records[0], records[1:]))
    lines = shown.split("\n")
    assert not dangerous("".join(lines))
    assert len(lines) == len(records) * (1 + len(decisions))


@pytest.mark.fixed_runs
def test_the_tree_of_what_was_recorded_says_what_happened(registry: RunRegistry) -> None:
    with start_run("agent \x1b[31m", kind="agent") as agent:
        agent.decide("which\n", options=[1, 2], chosen={"a": 1}, why="w").outcome("well")
        tool = start_run("tool", key="k")
        tool.usage(model="m", input_tokens=1204, cost=0.0042)
        tool.end(error=ValueError("bad\nand worse"))
    assert str(registry.tree(agent.id)).split("\n") == [
        r"✓ agent \x1b[31m [35c839bb] agent succeeded in 6.0 s · 1,204 → ? tokens, 0.0042 USD",
        r'│ ◆ which\x0a → {"a": 1}: w ⇒ well',
        "└─ ✗ tool [736fcc5f] failed in 2.0 s key=k · 1,204 → ? tokens, 0.0042 USD · ValueError: bad",
    ]


@pytest.mark.parametrize(
    ("elapsed", "expected"),
    [
        (timedelta(0), "0 µs"),
        (timedelta(microseconds=340), "340 µs"),
        (timedelta(microseconds=999), "999 µs"),
        (timedelta(milliseconds=1), "1 ms"),
        (timedelta(milliseconds=12), "12 ms"),
        (timedelta(seconds=1), "1.0 s"),
        (timedelta(seconds=3.2), "3.2 s"),
        (timedelta(seconds=60), "1 m 00 s"),
        (timedelta(seconds=245), "4 m 05 s"),
        (timedelta(hours=2, minutes=10), "2 h 10 m"),
    ],
)
def test_a_length_of_time_is_told_in_the_unit_that_suits_it(elapsed: timedelta, expected: str) -> None:
    assert duration(elapsed) == expected


@given(st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=2000)))
def test_no_length_of_time_is_told_in_a_unit_it_is_too_long_for(elapsed: timedelta) -> None:
    """So there is never a "60.0 s" or a "1000 ms"."""
    words = duration(elapsed).split()
    limits = {"µs": 1000, "ms": 1000, "s": 60, "m": 60, "h": 48}
    assert all(float(number) < limits.get(unit, 10**6) for number, unit in zip(words[::2], words[1::2], strict=True))


def test_a_length_of_time_below_zero_is_none() -> None:
    """The clock was set back."""
    assert duration(timedelta(seconds=-5)) == "0 µs"


def test_the_state_of_a_run_is_told_in_words() -> None:
    seen = NOW - timedelta(seconds=90)
    started = NOW - timedelta(hours=2)
    silent = ProcessRecord(id="a", state="unknown")
    alive = ProcessRecord(id="a", state="alive")
    told = {
        "never": state(a_record(), NOW),
        "running": state(a_record(status="running", started_at=started, last_event_at=seen, process=alive), NOW),
        "silent": state(a_record(status="running", started_at=started, last_event_at=seen, process=silent), NOW),
        "lost": state(a_record(status="lost", started_at=started, last_event_at=seen), NOW),
        "ended": state(a_record(status="succeeded", elapsed=timedelta(seconds=3.21)), NOW),
        "cancelled": state(a_record(status="cancelled"), NOW),
        "paused": state(a_record(status="paused", started_at=started), NOW),
    }
    assert told["never"] == "never started here"
    assert told["running"] == "running for 2 h 00 m"
    assert told["silent"].startswith("running for 2 h 00 m, last heard of ")
    assert told["lost"].startswith("lost, last heard of ")
    assert told["lost"].endswith("1 m 30 s ago")
    assert (told["ended"], told["cancelled"], told["paused"]) == ("succeeded in 3.2 s", "cancelled", "paused")


def test_what_is_not_known_of_usage_is_a_question_mark_and_no_report_is_nothing() -> None:
    assert tokens(UsageTotal()) == ""
    assert tokens(UsageTotal(calls=1)) == "? → ? tokens"
    assert tokens(UsageTotal(calls=2, input_tokens=1204, output_tokens=0)) == "1,204 → 0 tokens"
    assert tokens(UsageTotal(calls=1, cost={"USD": 0.5, "EUR": 1})) == "? → ? tokens, 0.5000 USD, 1.0000 EUR"


def test_a_sum_to_which_not_every_call_added_is_marked_as_the_least_it_can_be() -> None:
    known = UsageRecord(model="m", input_tokens=5, output_tokens=7, cost=0.5, currency="USD")
    assert tokens(total([known, UsageRecord(model="m", input_tokens=5)])) == "10 → 7+ tokens, 0.5000+ USD"
    assert tokens(total([known, known])) == "10 → 14 tokens, 1.0000 USD"
    assert tokens(total([UsageRecord(model="m", input_tokens=5)])) == "5 → ? tokens"


def test_every_status_has_a_symbol_of_its_own() -> None:
    assert len(set(SYMBOLS.values())) == len(SYMBOLS)
    assert set(RunRecord.model_fields["status"].annotation.__args__[0].__args__) == {name for name in SYMBOLS if name}  # type: ignore[union-attr]
