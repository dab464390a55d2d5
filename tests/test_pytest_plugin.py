"""The plugin of pytest: `runs` shows what a test recorded, and it is in nobody's way who does not ask for it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    Run = Callable[..., pytest.RunResult]

pytest_plugins = ["pytester"]

MODULES = """
import sys

def pytest_sessionfinish(session):
    if not hasattr(session.config, "workerinput"):
        loaded = {name.partition(".")[0] for name in sys.modules} & {"agent_run_id", "pydantic", "sqlite3"}
        print("\\nloaded:", sorted(loaded), "_agent_run_id_pytest" in sys.modules)
"""


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a file of tests as a user does, in a process of its own, with nothing loaded but us and what is asked for."""
    for name in [name for name in os.environ if name.startswith(("AGENT_RUN_", "COV_CORE"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")

    def run(tests: str, *arguments: str, ours: str = "agent_run_id", conftest: str = "") -> pytest.RunResult:
        pytester.makeconftest(conftest)
        pytester.makepyfile(f"import pytest\nimport agent_run_id as ari\n{tests}" if "runs" in tests else tests)
        plugins = [word for name in filter(None, [ours]) for word in ("-p", name)]
        strict = ["-W", "error", "--strict-markers", "--strict-config"]
        return pytester.runpytest_subprocess("-p", "no:cacheprovider", *plugins, *strict, *arguments)

    return run


def test_what_a_test_records_is_there_and_nowhere_else(run: Run, pytester: pytest.Pytester) -> None:
    said = run(
        """
from agent_run_id.testing import assert_tree

def work():
    with ari.start_run("plan"), ari.start_run("search"):
        pass

def test_one(runs):
    assert runs.find() == []
    work()
    assert_tree(runs, "plan\\\\n  search")

def test_two(runs):
    work()
    work()
    assert len(runs.find()) == 4
""".replace("\\\\n", "\\n")
    )
    said.assert_outcomes(passed=2)
    assert not list(pytester.path.rglob("*.jsonl"))


def test_a_run_that_is_left_open_is_an_error_that_says_which(run: Run) -> None:
    said = run(
        """
def test_open(runs):
    top = ari.start_run("plan")
    with top:
        ari.start_run("ends").end()
        ari.start_run("search \x1b[31m")

def test_several(runs):
    for number in range(12):
        ari.start_run(f"run {number}")

def test_closed(runs):
    with ari.start_run("plan"):
        pass
    with ari.start_run("waits") as run:
        run.pause("a person")
"""
    )
    said.assert_outcomes(passed=3, errors=2)
    said.stdout.re_match_lines(
        [
            r".*ERROR at teardown of test_open",
            r"the test left a run open:",
            r"  search \\x1b\[31m \[[0-9a-f]{8}\], below plan$",
            r"End what start_run began, .* @pytest\.mark\.open_runs\.$",
            r".*ERROR at teardown of test_several",
            r"the test left 12 runs open:",
            r"  run 0 \[[0-9a-f]{8}\]$",
        ]
    )
    said.stdout.fnmatch_lines(["  and 2 more"])
    said.stdout.no_fnmatch_line("*Traceback*")


def test_a_test_may_say_that_it_leaves_runs_open(run: Run) -> None:
    said = run(
        """
@pytest.mark.open_runs
def test_open(runs):
    ari.start_run("plan")
"""
    )
    said.assert_outcomes(passed=1)
    markers = run("", "--markers").stdout
    markers.fnmatch_lines(["@pytest.mark.open_runs: *", "@pytest.mark.fixed_runs(seed=0, *"])


def test_the_report_of_a_failure_shows_what_was_recorded_and_complains_of_nothing_else(run: Run) -> None:
    said = run(
        """
def test_fails(runs):
    with ari.start_run("plan", kind="agent") as plan:
        plan.decide("what now", options=[1], chosen=1, why="it is late")
        ari.start_run("left open")
    assert "this" == "that"

def test_passes(runs):
    with ari.start_run("not shown"):
        pass

def test_fails_without_runs(runs):
    raise KeyError("nothing was recorded")

@pytest.fixture
def broken(runs):
    with ari.start_run("prepares"):
        raise LookupError("not there")

def test_cannot_begin(broken):
    pass

@pytest.mark.xfail
def test_is_expected_to_fail(runs):
    with ari.start_run("not shown"):
        raise ValueError
"""
    )
    said.assert_outcomes(passed=1, failed=2, errors=1, xfailed=1)
    said.stdout.re_match_lines(
        [
            r"-+ Recorded runs -+",
            r"✗ prepares \[[0-9a-f]{8}\] failed in .* LookupError: not there",
            r"-+ Recorded runs -+",
            r"✓ plan \[[0-9a-f]{8}\] agent succeeded in .*",
            r"│ ◆ what now → 1: it is late",
            r"└─ ▶ left open \[[0-9a-f]{8}\] running for .*",
        ]
    )
    assert said.stdout.str().count("Recorded runs") == 2
    said.stdout.no_fnmatch_line("*not shown*")
    said.stdout.no_fnmatch_line("*the test left*")


def test_what_a_report_shows_is_bounded(run: Run) -> None:
    said = run(
        """
def test_fails(runs):
    for number in range(150):
        with ari.start_run("n" * 1000):
            for _ in range(30):
                ari.start_run("below").end()
    assert False
"""
    )
    said.assert_outcomes(failed=1)
    shown = said.stdout.str().partition("Recorded runs")[2]
    assert 5_000 < len(shown) < 40_000
    said.stdout.re_match_lines([r"└╌ … 10 more runs", r"… 2,100 more lines"])


def test_what_cannot_be_shown_does_not_hide_the_failure(run: Run) -> None:
    said = run(
        """
def test_fails(runs, monkeypatch):
    def broken(registry):
        raise OSError("the disk is gone")
    monkeypatch.setattr("agent_run_id.pytest_plugin.trees_in", broken)
    raise KeyError("the failure")
"""
    )
    said.assert_outcomes(failed=1)
    said.stdout.fnmatch_lines(["*KeyError: 'the failure'", "They cannot be shown: OSError('the disk is gone')"])


def test_the_same_ids_and_times_where_a_test_is_marked_so(run: Run) -> None:
    said = run(
        """
seen = []

@pytest.mark.fixed_runs
@pytest.mark.parametrize("again", range(2))
def test_same(runs, again):
    with ari.start_run("plan"):
        pass
    seen.append(str(runs.tree("@last")))
    assert seen[-1] == seen[0] == "✓ plan [35c839bb] succeeded in 1.0 s"

@pytest.mark.fixed_runs(seed=1)
def test_other(runs):
    with ari.start_run("plan") as run:
        assert run.id.short() != "35c839bb"
"""
    )
    said.assert_outcomes(passed=3)


# In nobody's way ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ours", ["agent_run_id", "no:agent_run_id"])
def test_a_session_that_does_not_ask_for_it_loads_nothing_of_it(run: Run, ours: str) -> None:
    said = run("def test_something(): pass", ours=ours, conftest=MODULES)
    said.assert_outcomes(passed=1)
    said.stdout.fnmatch_lines([f"loaded: [[]] {ours == 'agent_run_id'}"])


def test_it_is_found_where_plugins_are_loaded_by_themselves(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """As an entry point of the distribution; and one that is switched off leaves the fixture's name to others."""
    monkeypatch.delenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD")
    uses = "def test_it(runs):\n    with ari.start_run('plan'):\n        pass\n    assert len(runs.find()) == 1\n"
    run(uses, ours="").assert_outcomes(passed=1)
    gone = run(uses, ours="no:agent_run_id")
    gone.assert_outcomes(errors=1)
    gone.stdout.fnmatch_lines(["*fixture 'runs' not found"])


def test_a_fixture_of_the_users_own_with_that_name_wins(run: Run) -> None:
    said = run("@pytest.fixture\ndef runs():\n    return 'mine'\n\ndef test_it(runs):\n    assert runs == 'mine'\n")
    said.assert_outcomes(passed=1)


def test_it_works_in_workers_and_in_any_order(run: Run) -> None:
    tests = """
@pytest.mark.parametrize("number", range(20))
def test_many(runs, number):
    with ari.start_run(f"run {number}"):
        pass
    assert [run.name for run in runs.find()] == [f"run {number}"]

def test_open(runs):
    ari.start_run("left open")

def test_fails(runs):
    with ari.start_run("plan"):
        pass
    raise KeyError
"""
    said = run(tests, "-p", "xdist", "-n", "2", "-p", "randomly", ours="agent_run_id")
    said.assert_outcomes(passed=21, failed=1, errors=1)
    said.stdout.re_match_lines_random(
        [r"  left open \[[0-9a-f]{8}\]$", r"-+ Recorded runs -+", r"✓ plan \[[0-9a-f]{8}\] succeeded in .*"]
    )


def test_tests_that_are_coroutines_use_it_likewise(run: Run) -> None:
    tests = """
import anyio

@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request):
    return request.param

@pytest.fixture
async def prepared(runs):
    with ari.start_run("prepares"):
        await anyio.lowlevel.checkpoint()
    return runs

@pytest.mark.anyio
async def test_concurrent(prepared, runs):
    async def agent(name):
        async with ari.start_run(name):
            await anyio.lowlevel.checkpoint()
    async with anyio.create_task_group() as group:
        for name in "ab":
            group.start_soon(agent, name)
    assert prepared is runs
    assert sorted(run.name for run in runs.find()) == ["a", "b", "prepares"]

@pytest.mark.anyio
async def test_open(runs):
    ari.start_run("left open")
"""
    said = run(tests, "-p", "anyio")
    said.assert_outcomes(passed=4, errors=2)


def test_threads_and_processes_that_go_on_are_no_trouble_to_the_next_test(run: Run) -> None:
    """What they have open is told, and of another process which it is."""
    tests = '''
import subprocess, sys, threading

PROGRAM = """
import sys, agent_run_id as ari
with ari.start_run("child"):
    print("begun", flush=True)
    sys.stdin.read()
"""
go_on, began, workers, children = threading.Event(), threading.Event(), [], []

def work():
    with ari.start_run("in a thread") as run:
        began.set()
        go_on.wait()
        run.step("late")
    for _ in range(100):
        ari.start_run("later").end()

def test_begins(runs):
    workers.append(threading.Thread(target=work))
    workers[0].start()
    began.wait()

def test_goes_on(runs):
    assert runs.find() == []
    with ari.start_run("another"):
        pass
    assert len(runs.find()) == 1

@pytest.mark.open_runs
def test_ends(runs):
    go_on.set()
    workers[0].join()
    assert {run.name for run in runs.find()} == {"later"}

def test_child(runs):
    child = subprocess.Popen([sys.executable, "-c", PROGRAM], env=ari.child_env(), stdin=-1, stdout=-1, text=True)
    children.append(child)
    assert child.stdout.readline() == "begun\\n"

def test_without_the_child(runs):
    children[0].communicate()
    assert runs.find() == []
'''
    said = run(tests)
    said.assert_outcomes(passed=5, errors=2)
    said.stdout.re_match_lines_random(
        [r"  in a thread \[[0-9a-f]{8}\]$", r"  child \[[0-9a-f]{8}\], in process \d+ \(.+\)$"]
    )
