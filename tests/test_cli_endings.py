"""The ends of `runid`: whatever goes wrong is one line and a code of its own, and never a traceback."""

from __future__ import annotations

import signal
import subprocess
import sys
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from agent_run_id import RunId, start_run
from agent_run_id.cli.app import COMMANDS
from tests.commands import environment, is_harmless, runid, without

if TYPE_CHECKING:
    from agent_run_id import RunRegistry


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["lss"], '"ls"'),
        (["help"], "Available commands: ls, find, show, tree, "),
        (["ls", "--al"], "Did you mean --all?"),
        (["ls", "--limit", "many"], "--limit"),
        (["ls", "--limit", "0"], "from 1"),
        (["ls", "--status", "broken"], '"failed"'),
        (["ls", "surplus"], "surplus"),
        (["tree"], "REF"),
        (["show", "one", "two"], "two"),
        (["--json", "ls"], "command comes first"),
    ],
)
def test_what_is_not_understood_ends_with_2_and_says_what_to_type(arguments: list[str], hint: str) -> None:
    done = runid(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("runid: ")
    assert hint in done.stderr
    assert done.stderr.count("\n") == 1
    assert "--help` tells what can be typed" in done.stderr


@pytest.mark.parametrize("command", ["tree", "show"])
@pytest.mark.parametrize(
    "reference", ["@last", "0123abcd", "nonsense", "", "0b5ce1a4-5a5c-4b7e-9d2e-6f0c1a2b3c4d", "\x1b[31m"]
)
def test_what_is_not_found_ends_with_5(command: str, reference: str) -> None:
    done = runid(command, reference)
    assert (done.returncode, done.stdout) == (5, "")
    assert done.stderr.count("\n") == 1
    assert is_harmless(done.stderr)


@pytest.mark.open_runs
def test_an_ambiguous_reference_ends_with_5_and_lists_the_candidates(registry: RunRegistry) -> None:
    ids = [RunId(f"abcdef00-0000-4000-8000-00000000000{digit}") for digit in "12"]
    for run_id in ids:
        registry.start(run_id)
    done = runid("show", "abcdef")
    assert done.returncode == 5
    assert all(run_id.value in done.stderr for run_id in ids)


def test_a_directory_that_cannot_be_read_ends_with_1(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    some = (("ls",), ("tree", "@last"), ("show", "@last"), ("events", "@last"), ("usage",), ("stats",), ("where",))
    for command in some:
        done = runid(*command, "--dir", str(tmp_path / "file"))
        assert (done.returncode, done.stdout) == (1, "")
        assert str(tmp_path / "file") in done.stderr
        assert done.stderr.count("\n") == 1
    off = runid("ls", AGENT_RUN_DIR="off")
    assert off.returncode == 1
    assert "recording is off" in off.stderr


def test_a_missing_directory_is_an_empty_list_with_a_hint_how_to_record(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    done = runid("ls", "--dir", str(missing))
    assert (done.returncode, done.stdout) == (0, "")
    assert str(missing) in done.stderr
    assert "start_run" in done.stderr
    assert runid("tree", "@last", "--dir", str(missing)).returncode == 5
    assert not missing.exists()


def test_help_and_version_end_with_0_and_so_does_runid_alone() -> None:
    bare, told = runid(), runid("--help")
    assert (bare.returncode, bare.stdout) == (0, told.stdout)
    assert all(name in told.stdout for name in COMMANDS)
    assert runid("--version").stdout == f"agent-run-id {version('agent-run-id')}\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_documents_its_json_and_begins_as_the_list_of_commands_says(name: str) -> None:
    room, text = COMMANDS[name]
    command = getattr(import_module(f"agent_run_id.cli.{room}"), name)
    assert command.__doc__.startswith(f"{text}\n")
    told = runid(name, "--help")
    assert told.returncode == 0
    assert text in told.stdout
    if "--json" in told.stdout:
        assert "With --json: an" in told.stdout or "With --json: the" in told.stdout
    else:
        assert name in ("export", "completion")


def test_ctrl_c_ends_it_with_130_and_without_a_traceback() -> None:
    with start_run("long", input="text\n" * 100_000):
        pass
    # The handler is set, because whoever runs these tests may ignore the signal, and a child inherits that.
    program = (
        "import signal, sys\nfrom agent_run_id.cli import main\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\nsys.exit(main())"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, "show", "@last", "--all"],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.read(1)  # it writes, and cannot end before somebody reads
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=300)
    assert (process.returncode, errors) == (130, b"")


def test_a_full_disk_ends_it_with_1_and_one_line() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "agent_run_id.cli", "where"],
            env=environment(),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1


def test_without_standard_output_it_ends_with_0() -> None:
    done = subprocess.run(
        ["sh", "-c", 'exec "$0" -m agent_run_id.cli where >&-', sys.executable],
        env=environment(),
        stderr=subprocess.PIPE,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("missing", [("cyclopts", "rich"), ("rich",)])
def test_without_the_extra_it_says_what_to_install_and_ends_with_2(missing: tuple[str, ...]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", without(missing), "--help"],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert 'pip install "agent-run-id[cli]"' in done.stderr
    assert done.stderr.count("\n") == 1
