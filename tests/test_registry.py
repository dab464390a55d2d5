"""The registry: every question about runs, answered from whatever was recorded of them."""

from __future__ import annotations

import os
import tempfile
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent_run_id import ROOT, RunId, RunNotFound, RunRecord, RunRegistry, child_env, start_run
from tests.journal_programs.journals import crafted, held, started, write_journal
from tests.journal_programs.programs import Program
from tests.journal_programs.worlds import World, worlds

if TYPE_CHECKING:
    from collections.abc import Callable

# Look-up --------------------------------------------------------------------------------------------------------------

FORMS: dict[str, Callable[[RunId], RunId | str]] = {
    "a RunId": lambda run: run,
    "a bare RunId": lambda run: RunId(run.value),
    "its text": str,
    "its token": lambda run: run.token,
    "without hyphens": lambda run: run.value.replace("-", ""),
    "upper case": lambda run: run.value.upper(),
    "a URN": lambda run: f"urn:uuid:{run.value}",
    "in braces": lambda run: f"{{{run.value}}}",
    "its short form": lambda run: run.short(),
    "with white space": lambda run: f" {run.short()}\n",
    "four characters": lambda run: run.value[:4],
    "up to a hyphen": lambda run: run.value[:9],
    "beyond a hyphen": lambda run: run.value[:12],
    "an odd number of digits": lambda run: run.value.replace("-", "")[:13],
    "all but one character": lambda run: run.value[:-1],
    "upper case beginning": lambda run: run.value[:13].upper(),
}


@pytest.mark.parametrize("form", list(FORMS))
def test_a_run_is_found_by_its_id_in_any_form_or_by_how_it_begins(form: str, tmp_path: Path) -> None:
    root = RunId("abcdef01-2345-4789-8abc-def012345678")
    child = RunId.from_token(f"12345678-9abc-4ef0-8234-56789abcdef0.{root}.{root}.1")
    other = RunId("abcdee01-2345-4789-8abc-def012345678")
    crafted(tmp_path, [started(root), started(child)])
    with RunRegistry(tmp_path) as registry:
        for run in (root, child):
            assert registry.get(FORMS[form](run)).run_id.token == run.token
    crafted(tmp_path, [started(other)], name="two", process="b" * 32)
    with RunRegistry(tmp_path) as registry:
        assert registry.get(FORMS[form](child)).id == child.value
        if form == "four characters":
            with pytest.raises(RunNotFound):
                registry.get(FORMS[form](root))
        else:
            assert registry.get(FORMS[form](root)).id == root.value


@pytest.mark.parametrize(
    "reference",
    ["", " ", "-", "zzzz", "abcd%", "____", "@first", "abcd-", str(uuid.UUID(int=5)), str(uuid.UUID(int=0)),
     "0" * 40, "é", "\0", "a.b.c.d", "12345678-9abc-4ef0-8234-56789abcdef0.x.y.1", RunId(str(uuid.UUID(int=9)))],
    ids=repr,
)  # fmt: skip
def test_what_is_no_run_is_not_found(reference: Any, tmp_path: Path) -> None:
    """It is a `LookupError` that says what was looked for."""
    crafted(tmp_path, [started(RunId("12345678-9abc-4ef0-8234-56789abcdef0"))])
    with RunRegistry(tmp_path) as registry:
        for ask in (registry.get, registry.children, registry.ancestors, registry.tree, registry.events):
            with pytest.raises(LookupError) as caught:
                ask(reference)
            assert isinstance(caught.value, RunNotFound)
            assert caught.value.reference == str(reference)
            assert caught.value.candidates == ()


def test_a_beginning_of_several_runs_names_them(tmp_path: Path) -> None:
    runs = [RunId(f"abcd{number:04x}-0000-4000-8000-000000000000") for number in range(7)]
    crafted(tmp_path, [started(run) for run in reversed(runs)])
    with RunRegistry(tmp_path) as registry, pytest.raises(RunNotFound, match="could be any of 7 runs") as caught:
        registry.get("ABCD00")
    assert caught.value.candidates == tuple(run.value for run in runs)
    assert runs[0].value in str(caught.value)


def test_the_last_is_the_root_that_started_latest(registry: RunRegistry) -> None:
    with pytest.raises(RunNotFound):
        registry.get("@last")
    with start_run("first", parent=ROOT):
        pass
    with start_run("second", parent=ROOT):
        start_run("a child").end()
    assert registry.get("@last").name == "second"
    assert registry.tree("@last").record.name == "second"
    start_run("under a run nobody recorded", parent=RunId.generate()).end()
    assert registry.get("@last").name == "under a run nobody recorded"


def test_a_record_tells_everything_that_was_recorded(registry: RunRegistry) -> None:
    other = RunId.generate()
    before = datetime.now(UTC)
    with start_run(
        "name", kind="agent", input={"a": [1]}, key="k", user_id="u", session_id="s", summary="z", tags=["t"],
        attributes={"x": None, "y": 2.5}, links=[other, "name of another"],
    ) as run:  # fmt: skip
        run.decide("q", options=["a", "b"], chosen="a", why="w", confidence=0.5).outcome("o")
        run.usage(model="m", input_tokens=1, cost=0.25, call_id="c")
        run.update(output=1, tags=["u"], attributes={"y": 3})
        run.end(output=None, error=ValueError("e"))
    record = registry.get(run.id)
    assert (record.name, record.kind, record.input, record.status) == ("name", "agent", {"a": [1]}, "failed")
    assert (record.key, record.user_id, record.session_id, record.summary) == ("k", "u", "s", "z")
    assert (record.tags, record.attributes, record.output) == (("t", "u"), {"x": None, "y": 3}, None)
    assert record.links == (other.token, "name of another")
    assert record.error is not None
    assert (record.error.type, record.error.message) == ("ValueError", "e")
    [decision] = record.decisions
    assert (decision.question, decision.options, decision.chosen, decision.why) == ("q", ("a", "b"), "a", "w")
    assert (decision.confidence, decision.outcome) == (0.5, "o")
    [usage] = record.usage
    assert (usage.model, usage.input_tokens, usage.output_tokens, usage.cost, usage.currency) == (
        "m",
        1,
        None,
        0.25,
        "USD",
    )
    assert record.started_at is not None
    assert record.ended_at is not None
    assert before - timedelta(milliseconds=1) <= record.started_at <= record.ended_at <= datetime.now(UTC)
    assert record.elapsed is not None
    assert record.elapsed >= timedelta(0)
    assert record.process is not None
    assert (record.process.pid, record.process.state) == (os.getpid(), "alive")
    assert RunRecord.model_validate_json(record.model_dump_json()) == record


def test_what_another_process_recorded_a_moment_ago_is_there(registry: RunRegistry) -> None:
    """Also while it runs."""
    program = """
import sys
from agent_run_id import current_run_id, start_run
for line in sys.stdin:
    with start_run(line.strip()) as run:
        print(run.id.token, flush=True)
        sys.stdin.readline()
    print("ended", flush=True)
"""
    with start_run("parent") as parent:
        env = child_env()
        with Program(program, directory=registry.directory, env={"AGENT_RUN_ID": env["AGENT_RUN_ID"]}) as child:
            for name in ("one", "two"):
                child.tell(name)
                run = RunId.from_token(child.hear())
                assert registry.get(run).status == "running"
                assert registry.get(run).name == name
                child.tell()
                child.hear()
                assert registry.get(run).status == "succeeded"
            child.finish()
        assert [found.name for found in registry.children(parent.id)] == ["one", "two"]


def test_a_run_of_another_host_is_running_as_long_as_nobody_says_otherwise(tmp_path: Path) -> None:
    """Its process cannot be seen from here: neither its life nor its death."""
    run = RunId.generate()
    path = crafted(tmp_path, [started(run)], host="elsewhere")
    with RunRegistry(tmp_path) as registry:
        for _ in range(2):
            record = registry.get(run)
            assert record.status == "running"
            assert record.process is not None
            assert record.process.state == "unknown"
            assert "last heard of" in str(registry.tree(run))
        with held(path):
            assert registry.get(run).status == "running"


# Search ---------------------------------------------------------------------------------------------------------------

FILTERS: dict[str, Callable[[RunRecord, Any], bool]] = {
    "status": lambda record, value: record.status == value,
    "kind": lambda record, value: record.kind == value,
    "name": lambda record, value: record.name == value,
    "key": lambda record, value: record.key == value,
    "user_id": lambda record, value: record.user_id == value,
    "session_id": lambda record, value: record.session_id == value,
    "tag": lambda record, value: value in record.tags,
}
CHOICES = {
    "status": ["running", "lost", "succeeded", "failed", "cancelled"],
    "kind": ["agent", "tool", "none"],
    "name": ["run 0", "run 1", "run"],
    "key": ["k1", "k2"],
    "user_id": ["ann", "bob", "eve"],
    "session_id": ["s1", "s2"],
    "tag": ["t1", "t2", "t"],
}


@settings(max_examples=25)
@given(worlds(), st.data())
def test_what_is_found_is_what_meets_every_condition(world: World, data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        for place, part in enumerate(world.parts):
            write_journal(Path(temporary), part.lines, name=str(place), process=part.process, segment=part.segment)
        with RunRegistry(temporary) as registry:
            everyone = registry.find(limit=None)
            for _ in range(10):
                given: dict[str, Any] = data.draw(
                    st.fixed_dictionaries({}, optional={name: st.sampled_from(of) for name, of in CHOICES.items()})
                )
                limit = data.draw(st.none() | st.integers(0, 4))
                expected = [
                    record.id for record in everyone if all(FILTERS[name](record, of) for name, of in given.items())
                ]
                assert [record.id for record in registry.find(**given, limit=limit)] == expected[:limit]
                oldest = registry.find(**given, limit=limit, order="oldest")
                assert [record.id for record in oldest] == expected[::-1][:limit]


def test_by_default_the_hundred_latest_are_found(registry: RunRegistry) -> None:
    for number in range(103):
        start_run(str(number)).end()
    assert [record.name for record in registry.find()] == [str(number) for number in range(102, 2, -1)]
    assert len(registry.find(limit=None)) == 103
    assert [record.name for record in registry.find(limit=2, order="oldest")] == ["0", "1"]


def test_only_roots_are_found_when_only_roots_are_wanted(registry: RunRegistry) -> None:
    for name in ("one", "two"):
        with start_run(name), start_run("child"):
            pass
    assert [record.name for record in registry.find(root_only=True)] == ["two", "one"]
