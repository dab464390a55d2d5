"""Answers: counts, figures of a directory, links, other names and usage are those of a plain look at every run."""

from __future__ import annotations

import contextlib
import tempfile
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent_run_id import RunId, RunNotFound, RunRegistry, Stats, child_env, start_run
from tests.journal_programs.indexes import SEEN, index_of, started
from tests.journal_programs.journals import T0, crafted, encode, event, journals_of, write_journal
from tests.journal_programs.model import EPOCH, Model
from tests.journal_programs.programs import run_program
from tests.journal_programs.worlds import ALIASES, Part, World, worlds
from tests.test_index_model import shown, write

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def written(parts: tuple[Part, ...]) -> Iterator[tuple[Path, RunRegistry]]:
    with tempfile.TemporaryDirectory() as temporary, contextlib.ExitStack() as locks:
        for place, part in enumerate(parts):
            write(Path(temporary), part, f"{place:02}", locks)
        with RunRegistry(temporary) as registry:
            yield Path(temporary), registry


@settings(max_examples=40)
@given(worlds(), st.data())
def test_links_lead_both_ways(world: World, data: st.DataObject) -> None:
    """By id or by token; to runs that are there, and from those that link to one that is not."""
    parts = tuple(part for part in world.parts if data.draw(st.booleans()))
    model = Model(parts)
    with written(parts) as (_, registry):
        registry.find()
        for run in model.runs:
            found = registry.links(RunId(run))
            assert {other.id for other in found.outgoing} == model.links(run)
            assert {other.id for other in found.incoming} == {
                other for other in model.runs if run in model.links(other)
            }
            for other in (*found.outgoing, *found.incoming):
                assert shown(other) == model.record(other.id)


@settings(max_examples=40)
@given(worlds())
def test_a_run_is_found_by_every_name_it_has_elsewhere(world: World) -> None:
    """A name of several runs names them all."""
    model = Model(world.parts)
    with written(world.parts) as (_, registry):
        for alias in ALIASES:
            known = {run for run in model.runs if alias in model.record(run)["aliases"]}
            known = known or {run for run in model.runs if alias == "0" and run.startswith("0")}
            if len(known) == 1:
                assert {registry.get(alias).id} == known
            else:
                with pytest.raises(RunNotFound) as caught:
                    registry.get(alias)
                assert set(caught.value.candidates) == known


@settings(max_examples=40)
@given(worlds())
def test_the_figures_of_a_directory_are_those_of_all_its_runs(world: World) -> None:
    model = Model(world.parts)
    records = [model.record(run) for run in model.runs]
    starts = [record["started_at"] for record in records if record["started_at"] is not None]
    events = {(event.process, event.seq) for said in model.said.values() for event in said}
    with written(world.parts) as (directory, registry):
        found = registry.stats()
        assert found.by_status == Counter(record["status"] for record in records if record["status"] is not None)
        assert found.runs == sum(found.by_status.values())
        assert found.by_kind == Counter(record["kind"] for record in records if record["kind"] is not None)
        assert found.roots == len(model.roots())
        assert found.events == len(events)
        processes = {part.process for part in world.parts}
        states = Counter("alive" if process in model.alive else "dead" for process in processes)
        assert found.processes == states
        assert (found.journals, found.unreadable) == (len(world.parts), 0)
        assert found.journal_bytes == sum(path.stat().st_size for path in journals_of(directory))
        assert (found.first_start, found.last_start) == (min(starts, default=None), max(starts, default=None))
        assert found.index_bytes == index_of(directory).stat().st_size


@settings(max_examples=40)
@given(worlds())
def test_usage_is_that_of_the_tree(world: World) -> None:
    with written(world.parts) as (_, registry):
        registry.find()
        for run in Model(world.parts).runs:
            report, tree = registry.usage(RunId(run)), registry.tree(RunId(run))
            assert report.subtree == tree.usage()
            assert report.own == registry.usage(RunId(run)).own
            assert sum(model.calls for model in report.by_model.values()) == report.subtree.calls
            assert sum(model.input_tokens or 0 for model in report.by_model.values()) == (
                report.subtree.input_tokens or 0
            )


@pytest.mark.open_runs
def test_what_is_counted_by_model_is_counted_once(registry: RunRegistry) -> None:
    """A call that two runs report, and a total that includes what was reported below it."""
    with start_run("top") as top:
        top.usage(model="sum", input_tokens=30, inclusive=True)
        with start_run("one") as one:
            one.usage(model="small", input_tokens=10, call_id="c")
            one.usage(model="large", input_tokens=None)
        with start_run("two") as two:
            two.usage(model="small", input_tokens=10, call_id="c")
            two.usage(model="small", input_tokens=20)
    report = registry.usage(top.id)
    assert {name: (total.calls, total.input_tokens) for name, total in report.by_model.items()} == {
        "small": (2, 30),
        "large": (1, None),
    }
    assert (report.subtree.calls, report.subtree.input_tokens, report.subtree.unknown["input_tokens"]) == (3, 30, 1)
    assert (report.own.calls, report.own.input_tokens) == (0, None)
    nothing = registry.usage(start_run("idle").id)
    assert (nothing.subtree.calls, nothing.subtree.input_tokens, nothing.by_model) == (0, None, {})


def test_nothing_is_known_of_an_empty_directory(tmp_path: Path) -> None:
    with RunRegistry(tmp_path) as registry:
        found = registry.stats()
        assert (found.runs, found.roots, found.events, found.journals, found.by_status) == (0, 0, 0, 0, {})
        assert (found.first_start, found.last_start) == (None, None)
        assert registry.roots() == []
        assert Stats.model_validate_json(found.model_dump_json()) == found


def test_what_could_not_be_read_is_in_the_figures(tmp_path: Path) -> None:
    torn = encode(event(3, "run.step", SEEN))[:30]
    write_journal(tmp_path, [started(name="run"), b"garbage\n", torn])
    with RunRegistry(tmp_path) as registry:
        found = registry.stats()
        assert (found.unreadable, found.events) == (2, 1)
        assert found.first_start == EPOCH + timedelta(microseconds=T0)


# Names elsewhere ------------------------------------------------------------------------------------------------------


def test_another_name_is_given_to_a_run_by_anyone_and_kept_with_its_others(registry: RunRegistry) -> None:
    with start_run("run", aliases=["T-1"]) as run:
        pass
    registry.alias(run.id.short(), "chatcmpl-Abc", "https://tickets.example/7?x=1#y")
    registry.alias("chatcmpl-Abc", "T-1", "T-2")
    record = registry.get("https://tickets.example/7?x=1#y")
    assert record.aliases == ("T-1", "chatcmpl-Abc", "https://tickets.example/7?x=1#y", "T-2")
    assert record.status == "succeeded"
    for name in record.aliases:
        assert registry.get(name) == record


@pytest.mark.open_runs
def test_a_name_that_two_runs_have_says_so(registry: RunRegistry) -> None:
    one, two = start_run("one", aliases=["T-1"]), start_run("two", aliases=["T-1"])
    with pytest.raises(RunNotFound, match="could be any of 2 runs") as caught:
        registry.get("T-1")
    assert set(caught.value.candidates) == {one.id.value, two.id.value}
    registry.alias(one.id, "T-2")
    assert registry.get("T-2").name == "one"


@pytest.mark.open_runs
def test_a_name_that_also_begins_an_id_says_so(registry: RunRegistry) -> None:
    other = start_run("other")
    run = start_run("run", aliases=[other.id.short()])
    with pytest.raises(RunNotFound) as caught:
        registry.get(other.id.short())
    assert set(caught.value.candidates) == {run.id.value, other.id.value}


@pytest.mark.parametrize("name", ["0", "4711", "4711aBc"])
def test_a_name_counts_for_more_than_an_abbreviation_no_log_line_has(name: str, tmp_path: Path) -> None:
    """Numbers are names too, and among many runs each short one begins somebody's id."""
    other, run = (RunId(f"{digits}-0000-4000-8000-000000000000") for digits in (name.lower().ljust(8, "0"), "ffffffff"))
    lines = [event(0, "run.started", other, name="other"), event(0, "run.started", run, name="run", aliases=[name])]
    crafted(tmp_path, lines)
    with RunRegistry(tmp_path) as registry:
        assert registry.get(name).name == "run"
        assert registry.get(other.short()).name == "other"


@pytest.mark.open_runs
def test_no_run_can_take_the_id_of_another_for_a_name(registry: RunRegistry) -> None:
    """But the id of one that nobody recorded is a name like any other: others number what they do by UUIDs too."""
    other, elsewhere = start_run("other"), RunId.generate()
    start_run("run", aliases=[other.id.value, elsewhere.value])
    for ref in (other.id, other.id.value, other.id.value.upper()):
        assert registry.get(ref).name == "other"
    assert registry.get(elsewhere.value).name == "run"


@pytest.mark.open_runs
def test_a_name_that_begins_the_id_of_its_own_run_names_that(registry: RunRegistry) -> None:
    run = start_run("run")
    run.update(aliases=[run.id.short(), str(run.id)])
    assert registry.get(run.id.short()).name == registry.get(run.id.value).name == "run"


def test_a_run_of_another_process_is_given_a_name_and_keeps_its_owner(registry: RunRegistry) -> None:
    program = """
import agent_run_id as ari
with ari.start_run("theirs") as run:
    print(run.id)
"""
    env: dict[str, Any] = {"AGENT_RUN_ID": child_env().get("AGENT_RUN_ID")}
    theirs = run_program(program, directory=registry.directory, env=env).strip()
    owner = registry.get(theirs).process
    registry.alias(theirs, "T-9")
    assert (registry.get("T-9").id, registry.get("T-9").process) == (theirs, owner)
    with pytest.raises(RunNotFound):
        registry.alias("ffffffff", "T-10")


def test_no_name_and_no_run_is_no_name(registry: RunRegistry) -> None:
    """An id that nobody recorded can be given a name all the same: its start may come yet."""
    unseen = RunId.generate()
    registry.alias(unseen, "T-1")
    assert registry.get("T-1").id == unseen.value
    assert registry.get("T-1").status is None


# Links ----------------------------------------------------------------------------------------------------------------


@pytest.mark.open_runs
def test_a_link_is_seen_from_both_ends_and_what_is_no_run_is_kept_as_it_was(registry: RunRegistry) -> None:
    first = start_run("first")
    with start_run("second", links=[first.id, "https://example/run/1"]) as second:
        pass
    third = start_run("third", links=[str(first.id)])
    third.update(links=[second.id])
    assert [run.name for run in registry.links(first.id).incoming] == ["second", "third"]
    assert registry.links(first.id).outgoing == ()
    assert [run.name for run in registry.links(third.id).outgoing] == ["first", "second"]
    assert registry.get(second.id).links == (first.id.token, "https://example/run/1")
    assert [run.name for run in registry.links(second.id).outgoing] == ["first"]


def test_a_link_to_a_run_that_comes_later_leads_to_it_then(tmp_path: Path) -> None:
    later = RunId.generate()
    write_journal(tmp_path, [started(name="early", links=[later.token])])
    with RunRegistry(tmp_path) as registry:
        assert registry.links(SEEN).outgoing == ()
        write_journal(tmp_path, [event(1, "run.started", later, name="later")], name="two", process="b" * 32)
        assert [run.name for run in registry.links(SEEN).outgoing] == ["later"]
        assert [run.name for run in registry.links(later).incoming] == ["early"]
