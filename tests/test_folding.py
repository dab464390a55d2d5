"""Folding: what a run is follows from what was recorded of it, in whatever order that is read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st

from agent_run_id.folding import FOLDED, FoldedRun, StoredEvent, fold, in_order
from agent_run_id.tenures import HANDING
from agent_run_id.testing.strategies import json_values
from tests.journal_programs.worlds import OTHERS, STARTS

if TYPE_CHECKING:
    from collections.abc import Sequence

OWNER, OTHER = "a" * 32, "b" * 32
KINDS: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "run.started": st.fixed_dictionaries({"name": st.text(max_size=5)}, optional=STARTS),
    **OTHERS,
}


STAYS = sorted(KINDS.keys() - HANDING)
"""What is recorded of a run that stays where it started, and never waits."""


@st.composite
def histories(
    draw: st.DrawFn, data: st.SearchStrategy[dict[str, Any]] | None = None, kinds: Sequence[str] = tuple(sorted(KINDS))
) -> list[StoredEvent]:
    """What a few processes recorded of one run, with clocks that agree in nothing."""
    events: list[StoredEvent] = []
    for process in draw(st.lists(st.sampled_from([OWNER, OTHER, "c" * 32]), min_size=1, max_size=3, unique=True)):
        for seq in range(1, draw(st.integers(1, 6))):
            kind = draw(st.sampled_from(kinds))
            fields = draw(KINDS[kind] if data is None else data)
            events.append(StoredEvent(process, seq, draw(st.integers(0, 9)), kind, fields))
    return events


def state(run: FoldedRun) -> dict[str, Any]:
    return {name: getattr(run, name) for name in FoldedRun.__slots__}


@given(histories(), st.data())
def test_the_order_in_which_events_are_read_does_not_matter(events: list[StoredEvent], data: st.DataObject) -> None:
    assert state(fold(data.draw(st.permutations(events)))) == state(fold(events))


@given(histories(), st.data())
def test_events_have_one_order_which_keeps_the_sequence_of_every_process(
    events: list[StoredEvent], data: st.DataObject
) -> None:
    """Whatever its clock did; and where the clocks only go forward it is the order of time."""
    ordered = in_order(data.draw(st.permutations(events)))
    assert ordered == in_order(events)
    assert sorted(ordered) == sorted(events)
    for process in {event.process for event in events}:
        sequence = [event.seq for event in ordered if event.process == process]
        assert sequence == sorted(sequence)
    steady = [event._replace(time=event.seq) for event in events]
    assert [event.time for event in in_order(steady)] == sorted(event.time for event in steady)


ANY = [*STARTS, "name", "status", "elapsed", "decision", "call_id", "hand", "after", "attempt", "reason", "retry_of"]


@given(histories(st.dictionaries(st.sampled_from(ANY), json_values)))
def test_any_fields_are_folded(events: list[StoredEvent]) -> None:
    """What a later version, or a writer of another kind, put into them cannot stop a reader."""
    fold(events)


@given(histories(kinds=STAYS))
def test_only_the_first_end_by_the_owner_counts(events: list[StoredEvent]) -> None:
    run = fold(events)
    folded = [event for event in events if event.type in FOLDED]  # no others take part in the order of these
    ends = [event for event in in_order(folded) if event.type == "run.ended"]
    accepted = [event for event in ends if run.owner in (None, event.process)]
    assert run.details.get("refused_ends", 0) == len(ends) - len(accepted)
    if accepted:
        assert (run.status, run.ended_at) == (accepted[0].data["status"], accepted[0].time)
    else:
        assert run.status == (None if run.owner is None else "running")
        assert run.ended_at is None
    assert run.last_event_at == max((event.time for event in events), default=None)


@given(histories(kinds=STAYS))
def test_the_owner_is_the_process_that_started_the_run(events: list[StoredEvent]) -> None:
    folded = [event for event in events if event.type in FOLDED]
    starts = [event for event in in_order(folded) if event.type == "run.started"]
    run = fold(events)
    assert run.owner == (starts[0].process if starts else None)
    assert run.name == (starts[0].data["name"] if starts else None)


def of_owner(*events: tuple[str, dict[str, Any]]) -> FoldedRun:
    return fold(StoredEvent(OWNER, seq, 10 + seq, kind, data) for seq, (kind, data) in enumerate(events, 1))


def test_a_run_that_was_updated_has_the_last_output_and_all_tags_and_attributes() -> None:
    run = of_owner(
        ("run.started", {"name": "n", "tags": ["a"], "attributes": {"x": 1, "y": 1}}),
        ("run.updated", {"output": 1, "tags": ["b", "a"]}),
        ("run.updated", {"output": None, "attributes": {"y": 2}, "summary": "s"}),
        ("run.updated", {"tags": ["c"]}),
    )
    assert run.details == {"tags": ["a", "b", "c"], "attributes": {"x": 1, "y": 2}, "output": None}
    assert run.summary == "s"


def test_the_output_of_an_end_is_the_last_word() -> None:
    run = of_owner(
        ("run.started", {"name": "n"}),
        ("run.updated", {"output": 1}),
        ("run.ended", {"status": "failed", "output": 2, "error": {"message": "e"}, "elapsed": 7}),
        ("run.ended", {"status": "succeeded", "output": 3}),
    )
    assert (run.status, run.elapsed, run.details["output"]) == ("failed", 7, 2)
    assert run.details["error"]["message"] == "e"


def test_an_outcome_belongs_to_its_decision() -> None:
    run = of_owner(
        ("run.decision", {"decision": "1", "question": "q", "options": [1, 2], "chosen": 0, "why": "w"}),
        ("run.decision", {"decision": "2", "question": "r"}),
        ("run.decision.outcome", {"decision": "2", "outcome": "well"}),
        ("run.decision.outcome", {"decision": "3", "outcome": "whose?"}),
    )
    first, second = run.details["decisions"]
    assert first.items() >= {"id": "1", "question": "q", "options": [1, 2], "chosen": 0, "why": "w"}.items()
    assert second.items() >= {"id": "2", "question": "r", "outcome": "well"}.items()
    assert first.get("outcome") is None


def test_a_call_that_is_reported_twice_counts_once() -> None:
    run = of_owner(
        ("run.usage", {"model": "m", "call_id": "1", "input_tokens": 5}),
        ("run.usage", {"model": "m", "call_id": "1", "input_tokens": 5}),
        ("run.usage", {"model": "m", "input_tokens": 5}),
        ("run.usage", {"model": "m", "input_tokens": 5}),
    )
    assert [report.get("call_id") for report in run.details["usage"]] == ["1", None, None]


def test_what_a_second_report_of_a_call_knows_is_added_to_the_first() -> None:
    """A stream tells first what went in, and what came out when it is over."""
    run = of_owner(
        ("run.usage", {"model": "m", "call_id": "1", "input_tokens": 5}),
        (
            "run.usage",
            {"model": "m", "call_id": "1", "input_tokens": 6, "output_tokens": 7, "cost": 0.1, "currency": "EUR"},
        ),
    )
    [report] = run.details["usage"]
    assert report.items() >= {"input_tokens": 5, "output_tokens": 7, "cost": 0.1, "currency": "EUR"}.items()


def test_a_run_nobody_started_is_known_by_what_else_is_said_of_it() -> None:
    run = of_owner(("run.step", {"name": "s"}))
    assert (run.status, run.name, run.started_at, run.last_event_at) == (None, None, None, 11)
    assert not run.is_open
    ended = of_owner(("run.ended", {"status": "succeeded"}))
    assert (ended.status, ended.ended_at, ended.owner) == ("succeeded", 11, None)


def test_nothing_folds_to_nothing() -> None:
    assert state(fold([])) == state(FoldedRun())


def test_an_end_that_only_a_later_version_knows_is_no_success() -> None:
    assert of_owner(("run.started", {"name": "n"}), ("run.ended", {"status": "abandoned"})).status == "failed"


def told(process: str, seq: int, time: int, kind: str, **data: Any) -> StoredEvent:
    return StoredEvent(process * 32, seq, time, kind, data)


def test_who_took_a_run_before_it_waited_has_nothing_whatever_the_clocks_say() -> None:
    """By the numbers of the changes of hands; and who took it after that has it."""
    early = [
        told("a", 1, 0, "run.started", name="n"),
        told("a", 2, 10, "run.paused", hand=2),
        told("b", 1, 20, "run.resumed", hand=1),
    ]
    run = fold(early)
    assert (run.owner, run.status) == ("a" * 32, "paused")
    run = fold([*early, told("c", 1, 15, "run.resumed", hand=3, after="paused", owner="a" * 32)])
    assert (run.owner, run.status) == ("c" * 32, "running")
    assert [segment["process"][0] for segment in run.details["segments"]] == ["a", "a", "c"]


def test_what_is_queued_does_not_wait_for_anything_else() -> None:
    run = fold([told("a", 1, 0, "run.queued", name="n"), told("a", 2, 1, "run.paused", reason="r")])
    assert (run.status, [segment["status"] for segment in run.details["segments"]]) == ("queued", ["queued"])
