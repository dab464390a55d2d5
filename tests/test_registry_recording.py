"""A registry records and reads in one directory, which it keeps, and ends the runs of nobody else."""

from __future__ import annotations

import shutil
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from agent_run_id import RunContext, RunId, RunRegistry, StoreError, start_run
from agent_run_id.testing import assert_tree
from tests.journal_programs.journals import journals_of
from tests.journal_programs.programs import run_program
from tests.journal_programs.worlds import everything
from tests.programs import run_program as run_child

if TYPE_CHECKING:
    from collections.abc import Callable

# Recording through it -------------------------------------------------------------------------------------------------


def test_a_run_that_is_started_here_is_recorded_in_the_directory_of_the_registry(
    registry: RunRegistry, tmp_path: Path
) -> None:
    """Not where the process records otherwise; with the id it was given."""
    run_id = RunId.generate()
    with RunRegistry(tmp_path) as other:
        run = other.start(
            run_id,
            name="n",
            kind="agent",
            user_id="u",
            session_id="s",
            summary="z",
            input=[1],
            key="k",
            attributes={"x": 1},
        )
        assert run.id.token == run_id.token
        assert other.get(run_id).status == "running"
        run.step("step")
        other.finish(run_id, output={"done": True})
        record = other.get(run_id)
        assert (record.status, record.output, record.input) == ("succeeded", {"done": True}, [1])
        assert (record.name, record.kind, record.key, record.summary) == ("n", "agent", "k", "z")
        assert (record.user_id, record.session_id, record.attributes) == ("u", "s", {"x": 1})
        assert [e.type for e in other.events(run_id)] == ["run.started", "run.step", "run.ended"]
    assert registry.find() == []


def test_the_id_everybody_began_with_is_enough(tmp_path: Path) -> None:
    """A bare id, made anywhere and read from a text; its children know their parent."""
    run_id = RunId.from_string(str(uuid.uuid4()).upper())
    with RunRegistry(tmp_path) as registry:
        registry.start(run_id, user_id="u", summary="task")
        with RunContext(run_id):
            child = registry.start(RunId.generate(parent=run_id), name="child")
        child.end(error="boom")
        registry.finish(run_id, status="cancelled")
        assert_tree(registry, "run cancelled user_id=u\n  child failed user_id=u error=boom")


def test_only_the_first_end_counts_and_only_a_status_there_is(tmp_path: Path) -> None:
    run_id = RunId.generate()
    with RunRegistry(tmp_path) as registry:
        registry.start(run_id)
        with pytest.raises(ValueError, match="succeeded, failed, cancelled"):
            registry.finish(run_id, status="lost")  # type: ignore[arg-type]
        registry.finish(run_id, error=KeyError("k"))
        registry.finish(run_id, status="succeeded")
        record = registry.get(run_id)
        assert (record.status, record.error and record.error.type, record.refused_ends) == ("failed", "KeyError", 0)


def test_another_process_cannot_end_a_run(registry: RunRegistry) -> None:
    """It is told nothing; the registry refuses its end and counts it."""
    with start_run("mine") as run:
        run_child(f"""
            import agent_run_id
            agent_run_id.RunRegistry().finish(agent_run_id.RunId("{run.id}"), status="failed")
        """)
        assert (registry.get(run.id).status, registry.get(run.id).refused_ends) == ("running", 1)
    assert (registry.get(run.id).status, registry.get(run.id).refused_ends) == ("succeeded", 1)


def test_reading_records_nothing(registry: RunRegistry) -> None:
    with start_run("run") as run:
        pass
    sizes = {path: path.stat().st_size for path in journals_of(registry.directory)}
    everything(registry)
    registry.find(user_id="u", tag="t")
    assert {path: path.stat().st_size for path in journals_of(registry.directory)} == sizes
    assert registry.get(run.id).name == "run"


# Which directory ------------------------------------------------------------------------------------------------------


def test_by_default_it_reads_where_the_process_records(tmp_path: Path) -> None:
    program = """
from agent_run_id import RunRegistry, start_run
start_run("run").end()
with RunRegistry() as registry:
    print(registry.directory, len(registry.find()))
"""
    assert run_program(program, directory=tmp_path).split() == [str(tmp_path), "1"]


def test_where_recording_is_off_there_is_nothing_to_read_by_default() -> None:
    program = """
from agent_run_id import RunRegistry, StoreError
try:
    RunRegistry()
except StoreError as error:
    print(error)
"""
    assert "give RunRegistry a directory" in run_program(program)
    assert issubclass(StoreError, OSError)


def test_a_relative_directory_stays_where_it_was(tmp_path: Path) -> None:
    program = """
import os, sys
from agent_run_id import RunId, RunRegistry
os.chdir(sys.argv[1])
registry = RunRegistry("runs")
os.chdir("/")
registry.start(RunId.generate(), name="run")
print(registry.directory, len(registry.find()))
"""
    assert run_program(program, str(tmp_path)).split() == [str(tmp_path / "runs"), "1"]


def test_a_registry_goes_on_in_a_forked_child(tmp_path: Path) -> None:
    program = """
import os
from agent_run_id import RunRegistry, start_run
registry = RunRegistry()
with start_run("parent") as parent:
    registry.find()
    if os.fork() == 0:
        with start_run("child") as child:
            print(registry.get(child.id).status, registry.get(parent.id).status, flush=True)
        print(registry.get(child.id).status, flush=True)
        os._exit(0)
    os.wait()
    print(sorted(record.status for record in registry.find()))
registry.close()
print(sorted(record.status for record in registry.find()))
"""
    assert run_program(program, directory=tmp_path).splitlines() == [
        "running running",
        "succeeded",
        "['running', 'succeeded']",
        "['succeeded', 'succeeded']",
    ]


def test_what_happened_in_between_is_told_whether_it_was_seen_at_once_or_by_and_by(
    registry: RunRegistry, tmp_path: Path
) -> None:
    """Of a run that was whole when it was first seen, it is kept as it was recorded."""
    run = start_run("run", summary="at first", tags=["t"])
    seen = registry.get(run.id)
    acts: list[Callable[[], object]] = [
        lambda: run.update(summary="now", output=1, attributes={"a": 1}),
        lambda: run.decide("which", options=["x", "y"], chosen="x", why="so").outcome("well"),
        lambda: run.usage(model="m", input_tokens=1, call_id="c"),
        lambda: run.usage(model="m", output_tokens=2, call_id="c"),
        run.end,
    ]
    for act in acts:
        act()
        seen = registry.get(run.id)
    shutil.copytree(Path(registry.directory) / "journal", tmp_path / "journal")
    with RunRegistry(tmp_path) as other:
        record = other.get(run.id)
        assert other.usage(run.id) == registry.usage(run.id)
    assert (record.summary, record.output, record.attributes) == ("now", 1, {"a": 1})
    assert [(decision.chosen, decision.outcome) for decision in record.decisions] == [("x", "well")]
    assert [(report.input_tokens, report.output_tokens) for report in record.usage] == [(1, 2)]
    told = {"process": None}  # of a copy nobody can tell whether its process lives
    assert record.model_copy(update=told) == seen.model_copy(update=told)
