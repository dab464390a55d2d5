"""Testing: `capture_runs` shows what a piece of code records, and leaves no trace."""

from __future__ import annotations

import contextlib
import contextvars
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from agent_run_id import RunRegistry, child_env, configure, current_run_id, settings, start_run
from agent_run_id.journal import current_journal
from agent_run_id.testing import assert_tree, capture_runs
from tests.journal_programs.programs import FORKS_WITH_THREADS, run_program


def names(registry: RunRegistry) -> list[str | None]:
    return [record.name for record in registry.find(order="oldest")]


def test_what_is_recorded_inside_is_there_and_nowhere_else(registry: RunRegistry) -> None:
    """`registry` is the capture around this test."""
    with start_run("before"), capture_runs() as captured:
        with start_run("inside"):
            pass
        assert names(captured) == ["inside"]
    with start_run("after"):
        pass
    assert names(registry) == ["before", "after"]


def test_recording_goes_on_in_the_very_same_journal() -> None:
    start_run("before").end()
    journal, configured = current_journal(), settings.configured_directory()
    process = journal.process_id
    with capture_runs() as captured:
        assert current_journal() is not journal
        assert settings.directory() == captured.directory
    assert current_journal() is journal
    assert settings.configured_directory() == configured
    start_run("after").end()
    assert current_journal().process_id == process


def test_a_run_that_began_before_goes_on_where_it_was(registry: RunRegistry) -> None:
    with start_run("before") as run, capture_runs() as captured:
        run.step("step")
        with start_run("inside") as inside:
            assert inside.id.parent_id == run.id.value
        assert_tree(captured.tree(run.id), "(not recorded) unknown\n  inside")
    assert [event.type for event in registry.events(run.id)] == ["run.started", "run.step", "run.ended"]


def test_afterwards_nothing_is_left() -> None:
    with capture_runs() as captured:
        start_run("inside")
        directory = Path(captured.directory)
        assert captured.find()
        assert (directory / "journal").is_dir()
    assert not directory.exists()


def test_a_block_that_raises_leaves_nothing_either(registry: RunRegistry) -> None:
    with contextlib.suppress(KeyError), capture_runs() as captured:
        start_run("inside")
        directory = Path(captured.directory)
        raise KeyError
    assert not directory.exists()
    start_run("after").end()
    assert names(registry) == ["after"]


def test_it_costs_no_descriptor() -> None:
    place = Path("/proc/self/fd")
    if not place.exists():
        pytest.skip("counts the descriptors in /proc")
    before = len(list(place.iterdir()))
    for _ in range(5):
        with capture_runs() as captured, capture_runs():
            start_run("inside")
            captured.find()
    assert len(list(place.iterdir())) == before


def test_it_nests() -> None:
    with capture_runs() as outer:
        start_run("one")
        with capture_runs() as inner:
            start_run("two")
            with capture_runs() as innermost:
                start_run("three")
                assert [names(outer), names(inner), names(innermost)] == [["one"], ["two"], ["three"]]
            start_run("four")
            assert names(inner) == ["two", "four"]
        start_run("five")
        assert names(outer) == ["one", "five"]


def test_it_holds_for_threads() -> None:
    with capture_runs() as captured, start_run("outer") as outer:
        run = contextvars.copy_context().run
        threads = [
            threading.Thread(target=run, args=(lambda: start_run("thread").end(),)),
            threading.Thread(target=lambda: start_run("root").end()),
        ]
        for thread in threads:
            thread.start()
            thread.join()
        assert names(captured) == ["outer", "thread", "root"]
        assert [child.name for child in captured.children(outer.id)] == ["thread"]
    assert current_run_id() is None


def test_it_holds_for_children_that_get_the_environment() -> None:
    with capture_runs() as captured, start_run("outer") as outer:
        program = "import agent_run_id\nwith agent_run_id.start_run('child'): pass"
        subprocess.run([sys.executable, "-c", program], env=child_env(), check=True)
        assert_tree(captured.tree(outer.id), "outer running\n  child")


def test_it_holds_for_forked_children(tmp_path: Path) -> None:
    """And the process records where it did when they are gone."""
    program = """
import os
from agent_run_id import start_run
from agent_run_id.testing import capture_runs
with start_run("before"), capture_runs() as captured:
    with start_run("outer") as outer:
        if os.fork() == 0:
            start_run("child").end()
            os._exit(0)
        os.wait()
    print([(node.record.name, node.record.status) for node in captured.tree(outer.id)])
"""
    said = run_program(program, directory=tmp_path, options=FORKS_WITH_THREADS)
    assert said.strip() == "[('outer', 'succeeded'), ('child', 'succeeded')]"
    with RunRegistry(tmp_path) as registry:
        assert [(record.name, record.status) for record in registry.find()] == [("before", "succeeded")]


def test_a_forked_child_that_leaves_the_block_takes_nothing_from_its_parent(tmp_path: Path) -> None:
    program = """
import os, sys
from agent_run_id import start_run
from agent_run_id.testing import capture_runs
child = None
with capture_runs() as runs:
    start_run("in the parent").end()
    child = os.fork()
    if child:
        assert os.waitpid(child, 0)[1] == 0
        start_run("in the parent, afterwards").end()
        print(sorted(record.name for record in runs.find()), os.path.exists(runs.directory))
if child:
    print(os.path.exists(runs.directory))
"""
    said = run_program(program, directory=tmp_path).splitlines()
    assert said == ["['in the parent', 'in the parent, afterwards'] True", "False"]


def test_what_is_recorded_in_a_run_of_the_block_after_the_block_is_lost_without_a_sound(tmp_path: Path) -> None:
    """Nor does it make the directory again."""
    with capture_runs() as captured:
        run = start_run("inside")
    with capture_runs() as another:
        run.step("late")
        run.end()
        assert another.find() == []
    assert not Path(captured.directory).exists()


def test_where_recording_is_off_it_captures_and_then_is_off_again(tmp_path: Path) -> None:
    program = """
import os
from agent_run_id import start_run
from agent_run_id.testing import capture_runs
from agent_run_id.journal import current_journal
with capture_runs() as captured:
    start_run("inside")
    print(len(captured.find()))
print(current_journal().records)
"""
    assert run_program(program, env={"HOME": str(tmp_path), "AGENT_RUN_DIR": "off"}).split() == ["1", "False"]
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_is_configured_inside_is_forgotten_outside(registry: RunRegistry) -> None:
    with tempfile.TemporaryDirectory() as directory:
        with capture_runs() as captured:
            configure(directory=directory)
            start_run("elsewhere").end()
            assert captured.find() == []
        start_run("after").end()
        assert names(registry) == ["after"]
        with RunRegistry(directory) as elsewhere:
            assert names(elsewhere) == ["elsewhere"]
    assert not os.path.exists(directory)  # noqa: PTH110
