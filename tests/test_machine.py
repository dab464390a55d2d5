"""The machine: programs that nobody wrote see and record what they must, and every planted fault is found by them.

A process of its own runs them, since they fork, patch and leave workers behind. Here are a few of each; all faults and
thousands of programs are run before a change lands (`python -m tests.machine`).
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import Counter

import pytest

from agent_run_id import RunId
from tests.machine.comparing import compare
from tests.machine.faults import FAULTS
from tests.machine.walls import GENERATORS, WALLS
from tests.machine.writing import ExpectedRun, Program, Writer


def machine(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-m", "tests.machine", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_programs_nobody_wrote_see_and_record_what_they_must() -> None:
    done = machine("--programs", "40")
    assert done.returncode == 0, done.stdout + done.stderr
    found = re.match(r"(\d+) programs in ", done.stdout)
    assert found is not None
    assert int(found[1]) >= 40


@pytest.mark.parametrize("fault", ["set if unset", "early end of a generator", "index offset off by one"])
def test_a_planted_fault_is_found(fault: str) -> None:
    done = machine("--programs", "300", "--fault", fault)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{fault}: found by program" in done.stdout


def test_there_are_faults_enough_and_each_says_what_it_does_wrong() -> None:
    assert len(FAULTS) >= 10
    assert all(plant.__doc__ for plant in FAULTS.values())


# What the writer writes -----------------------------------------------------------------------------------------------


def test_each_wall_is_written_as_a_program_that_python_reads() -> None:
    for backend in (None, "asyncio", "trio"):
        for wall in WALLS:
            writer = Writer(backend)
            if writer.can_cross(wall):
                writer.start_run()
                writer.cross(wall)
                ast.parse(writer.finished().text)
        for generator in GENERATORS:
            if generator.is_async and backend is None:
                continue
            writer = Writer(backend)
            writer.generate(generator)
            ast.parse(writer.finished().text)


def test_every_wall_can_be_crossed_somewhere() -> None:
    writers = [Writer(None), Writer("asyncio")]
    assert [wall.name for wall in WALLS if not any(writer.can_cross(wall) for writer in writers)] == []
    assert max(Counter(wall.name for wall in WALLS).values()) == 1


def test_what_is_raised_ends_the_runs_up_to_where_it_is_caught() -> None:
    writer = Writer(None)
    writer.start_run()
    writer.catch()
    writer.start_run()
    writer.start_run()
    writer.throw()
    program = writer.finished()
    assert program.runs == {
        "r1": ExpectedRun(None, "succeeded"),
        "r2": ExpectedRun("r1", "failed"),
        "r3": ExpectedRun("r2", "failed"),
    }


def test_what_is_cancelled_ends_the_runs_up_to_where_it_was_asked_for() -> None:
    writer = Writer("asyncio")
    writer.cancellable()
    writer.start_run()
    writer.cross(next(wall for wall in WALLS if wall.name == "task group"))
    writer.start_run()
    assert writer.can_cancel()
    writer.cancel()
    assert [run.status for run in writer.finished().runs.values()] == ["cancelled", "cancelled"]


# What the judge says --------------------------------------------------------------------------------------------------

ROOT = RunId.from_string("11111111-0000-4000-8000-000000000000")
CHILD = RunId.from_token(f"22222222-0000-4000-8000-000000000000.{ROOT.value}.{ROOT.value}.1")


def judged(seen: list[str], *, parent: str | None = "r1", child: RunId = CHILD, status: str = "succeeded") -> list[str]:
    runs = {"r1": ExpectedRun(None, "succeeded"), "r2": ExpectedRun(parent, "succeeded")}
    program = Program("", None, {1: "r2", 2: None}, frozenset(), runs, frozenset(), composed=False)
    found = {"r1": (ROOT, "succeeded"), "r2": (child, status)}
    return compare(program, found, [line.split(" ", 1) for line in seen])


def test_the_judge_says_nothing_where_all_is_as_it_must_be() -> None:
    assert judged([f"1 {CHILD.token}", "2 -"]) == []


@pytest.mark.parametrize(
    ("seen", "says"),
    [
        ([f"1 {ROOT.token}", "2 -"], "see(1, 'r2') saw 'r1'"),
        ([f"1 {CHILD.value}", "2 -"], f"see(1, 'r2') saw '{CHILD.value}'"),
        ([f"1 {CHILD.token}", f"2 {CHILD.token}"], "see(2, None) saw 'r2'"),
        ([f"1 {CHILD.token}"], "see(2, …) was reached 0 times"),
        ([f"1 {CHILD.token}", "2 -", "2 -"], "see(2, …) was reached 2 times"),
    ],
)
def test_the_judge_says_what_was_seen_instead(seen: list[str], says: str) -> None:
    assert judged(seen) == [says]


def test_the_judge_says_what_was_recorded_instead() -> None:
    seen = [f"1 {CHILD.token}", "2 -"]
    assert judged(seen, status="failed") == ["r2 is recorded as failed, not as succeeded"]
    assert judged(seen, parent=None)[0].startswith("r2 is recorded below r1, not below None")
    bare = RunId(CHILD.value)  # the same id, without its lineage
    assert judged([f"1 {bare.value}", "2 -"], child=bare)[0].startswith("r2 is recorded below None, not below r1")
