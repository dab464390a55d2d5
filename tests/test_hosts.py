"""Hosts: what tells one process from every other."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from agent_run_id import RunRegistry
from agent_run_id.hosts import boot_id, describe_process, host_name, pid_namespace, process_start
from tests.journal_programs.journals import journals_of, read_lines
from tests.journal_programs.programs import run_program

if TYPE_CHECKING:
    from pathlib import Path

ON_LINUX = sys.platform == "linux"


def test_a_process_is_described_the_same_each_time_and_without_its_arguments() -> None:
    described = describe_process()
    assert described == describe_process()
    assert described["pid"] == os.getpid()
    assert described["host"] == host_name() == os.uname().nodename
    assert not any(argument in str(described) for argument in sys.argv[1:] if len(argument) > 8)


@pytest.mark.skipif(not ON_LINUX, reason="not every system tells when a process began")
def test_a_process_that_has_the_pid_of_another_began_at_another_time() -> None:
    assert process_start(os.getpid()) == process_start(os.getpid()) is not None
    assert process_start(os.getpid()) != process_start(1)
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    assert process_start(process.pid) is None


@pytest.mark.skipif(not ON_LINUX, reason="the names of processes are read from /proc")
def test_the_name_of_a_program_cannot_mislead_about_when_it_began(tmp_path: Path) -> None:
    """The system puts the name, whatever it is, before the numbers on the same line."""
    odd = tmp_path / ") R 1 (1 2) ("
    odd.symlink_to("/bin/sleep")
    with subprocess.Popen([odd, "60"]) as process:
        began = process_start(process.pid)
        process.kill()
    assert began is not None
    assert began.isdigit()
    assert int(began) >= int(process_start(os.getpid()) or 0)


@pytest.mark.skipif(not ON_LINUX, reason="not every system has boot ids and pid namespaces")
def test_the_boot_and_the_namespace_are_the_same_for_every_process_here() -> None:
    program = "from agent_run_id.hosts import *\nprint(boot_id(), pid_namespace(), host_name())"
    assert run_program(program).split() == [boot_id(), pid_namespace(), host_name()]


ODD_PROGRAMS = {
    "a path": "sys.argv[0] = '/opt/secret place/agent.py'",
    "no name": "sys.argv[:] = []",
    "an empty name": "sys.argv[0] = ''",
    "no arguments at all": "del sys.argv",
    "a long name": "sys.argv[0] = 'x' * 200_000",
    "half a character": "sys.argv[0] = 'a\\udc80\\nb'",
    "no text": "sys.argv[0] = None",
}


@pytest.mark.parametrize("program", list(ODD_PROGRAMS))
def test_a_program_of_any_name_leaves_a_journal_that_can_be_read(program: str, tmp_path: Path) -> None:
    run_program(
        f"import sys\nfrom agent_run_id import start_run\n{ODD_PROGRAMS[program]}\nstart_run('run').end()",
        "--api-key",
        "secret",
        directory=tmp_path,
    )
    with RunRegistry(tmp_path) as registry:
        record = registry.get("@last")
    assert record.status == "succeeded"
    assert record.process is not None
    assert record.process.program
    [path] = journals_of(tmp_path)
    assert "secret" not in path.read_text()
    assert len(path.read_bytes().splitlines()[0]) < 65_536
    assert read_lines(path)[0]["pid"] == record.process.pid
