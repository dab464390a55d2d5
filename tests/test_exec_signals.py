"""``runid exec`` and signals: the program gets what it would get without it, and so does whoever waits for it."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.commands import EXEC, environment
from tests.programs import run_program
from tests.terminals import SHELL, Started, Terminal, afresh, stopped

if TYPE_CHECKING:
    from pathlib import Path

    from agent_run_id import RunRegistry
    from agent_run_id.schema import RunRecord

# Each is ended by the kernel if nobody else ends it.
WAITS = ("sh", "-c", "ulimit -c 0; echo ready; exec sleep 300")
ASKS = ("sh", "-c", 'printf "name? "; read name; echo "hello $name"; exit 6')
CATCHES = """
import os, select, signal, sys
signal.alarm(300)
caught = []
reader, writer = os.pipe()
os.set_blocking(writer, False)
signal.set_wakeup_fd(writer)  # or a signal just before a read is caught only after it
def say(*words):  # not print, which a handler may find in the middle of itself
    os.write(1, f"{' '.join(map(str, words))}\\n".encode())
def catch(number, frame):
    caught.append(number)
    say("caught", signal.Signals(number).name)
def wait():
    while 0 not in select.select([0, reader], [], [])[0]:
        os.read(reader, 99)
    os.read(0, 99)
for name in sys.argv[1:]:
    signal.signal(getattr(signal, name), catch)
say("ready")
wait()
say("in all", len(caught))
"""


def only(registry: RunRegistry) -> RunRecord:
    """The one run that was recorded."""
    (record,) = registry.find()
    return record


# Sent to us alone -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "status"),
    [
        (signal.SIGINT, "cancelled"),
        (signal.SIGTERM, "cancelled"),
        (signal.SIGHUP, "cancelled"),
        (signal.SIGQUIT, "cancelled"),
        (signal.SIGUSR1, "failed"),
        (signal.SIGALRM, "failed"),
    ],
)
def test_a_program_that_leaves_a_signal_alone_dies_of_it_and_so_do_we(
    number: signal.Signals, status: str, registry: RunRegistry
) -> None:
    with Started(*EXEC, *WAITS) as started:
        assert started.hear() == "ready"
        os.kill(started.pid, number)
        assert started.ending() == -number
        assert started.hear() == ""  # nobody has the other end any more: the program has died too
    record = only(registry)
    assert (record.status, record.attributes) == (status, {"signal": number.name})
    assert record.error is not None
    assert record.error.message == f"died of {number.name}"


@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR2", "SIGWINCH", "SIGCONT"])
def test_a_program_that_handles_a_signal_gets_it_once_and_goes_on(name: str, registry: RunRegistry) -> None:
    with Started(*EXEC, sys.executable, "-c", CATCHES, name) as started:
        assert started.hear() == "ready"
        os.kill(started.pid, getattr(signal, name))
        assert started.hear() == f"caught {name}"
        started.tell("go on")
        assert started.hear() == "in all 1"
        assert started.ending() == 0
    assert only(registry).status == "succeeded"


def test_what_the_program_sends_to_its_whole_group_does_not_come_back_to_it() -> None:
    program = CATCHES.replace('say("ready")', 'say("ready")\nwait()\nos.kill(0, signal.SIGTERM)')
    with Started(*EXEC, sys.executable, "-c", program, "SIGTERM", "SIGWINCH") as started:
        assert started.hear() == "ready"
        with stopped(started.pid):  # so that a second one would be a second one, and not be one with the first
            started.tell("kill")
            assert started.hear() == "caught SIGTERM"
        os.kill(started.pid, signal.SIGWINCH)  # taken after the other, which has the lower number
        assert started.hear() == "caught SIGWINCH"
        started.tell("go on")
        assert started.hear() == "in all 2"
        assert started.ending() == 0


def test_what_comes_before_there_is_a_program_is_for_the_program() -> None:
    program = """
        import os, signal
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        from agent_run_id.cli.programs import Job
        job = Job()
        os.kill(os.getpid(), signal.SIGTERM)
        print(*job.run(["sleep", "300"], os.environ))
    """
    assert run_program(program).split() == ["None", str(int(signal.SIGTERM)), "True"]


def test_where_nobody_tells_who_sent_a_signal_it_is_passed_on_too(registry: RunRegistry) -> None:
    program = """
import sys, types
from agent_run_id.cli import exec, programs
programs.sys = types.SimpleNamespace(platform="darwin")
sys.exit(exec.execute(sys.argv[1:]))
"""
    with Started(sys.executable, "-c", program, *WAITS) as started:
        assert started.hear() == "ready"
        os.kill(started.pid, signal.SIGTSTP)  # counts as typed, and only we have got it
        os.kill(started.pid, signal.SIGTERM)
        assert started.ending() == -signal.SIGTERM
    assert only(registry).status == "cancelled"


def test_stopping_us_stops_the_program_and_going_on_goes_on_with_it(registry: RunRegistry) -> None:
    with Started(*EXEC, sys.executable, "-c", CATCHES, "SIGCONT") as started:
        assert started.hear() == "ready"
        for _ in range(2):
            os.kill(started.pid, signal.SIGTSTP)
            _, status = os.waitpid(started.pid, os.WUNTRACED)  # we stop when the program has
            assert os.WIFSTOPPED(status)
            assert os.WSTOPSIG(status) == signal.SIGTSTP
            os.kill(started.pid, signal.SIGCONT)
            assert started.hear() == "caught SIGCONT"
        started.tell("go on")
        assert started.hear() == "in all 2"
        assert started.ending() == 0
    assert only(registry).status == "succeeded"


# What the program dies of by itself -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["SEGV", "KILL", "TERM", "ABRT"])
def test_what_dies_of_a_signal_nobody_sent_has_failed_and_we_die_of_it_too(name: str, registry: RunRegistry) -> None:
    done = subprocess.run(
        afresh(*EXEC, "sh", "-c", f"ulimit -c 0; kill -{name} $$"),
        env=environment(),
        capture_output=True,
        timeout=300,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (-getattr(signal, f"SIG{name}"), b"", b"")
    record = only(registry)
    assert (record.status, record.attributes) == ("failed", {"signal": f"SIG{name}"})


@pytest.mark.skipif(resource.getrlimit(resource.RLIMIT_CORE)[1] == 0, reason="there are no core dumps here")
def test_we_leave_no_core_dump_of_our_own(tmp_path: Path) -> None:
    command = afresh("sh", "-c", 'ulimit -c $(ulimit -H -c); exec "$@"', "sh", *EXEC, "sh", "-c", "kill -SEGV $$")
    with subprocess.Popen(command, env=environment(), cwd=tmp_path) as process:
        _, status = os.waitpid(process.pid, 0)
        process.returncode = -os.WTERMSIG(status)
    assert os.WTERMSIG(status) == signal.SIGSEGV
    assert not os.WCOREDUMP(status)


# What it inherits -----------------------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform == "darwin", reason="it is read from /proc")
@pytest.mark.parametrize("ignoring", [(), (signal.SIGHUP,), (signal.SIGINT, signal.SIGQUIT), (signal.SIGCHLD,)])
def test_the_program_finds_signals_ignored_and_blocked_as_we_found_them(ignoring: tuple[int, ...]) -> None:
    command = ("grep", "^Sig[BIC]", "/proc/self/status")
    bare, run = (
        subprocess.run(
            afresh(*before, *command, ignoring=ignoring, blocking=(signal.SIGUSR1, signal.SIGCHLD)),
            env=environment(),
            stdout=subprocess.PIPE,
            text=True,
            timeout=300,
            check=True,
        ).stdout
        for before in ((), EXEC)
    )
    assert run == bare


def test_a_signal_that_is_ignored_stays_ignored_by_both(registry: RunRegistry) -> None:
    with Started(*EXEC, *ASKS, ignoring=(signal.SIGHUP, signal.SIGINT)) as started:
        assert started.process.stdout is not None
        assert started.process.stdout.read(6) == "name? "
        os.kill(started.pid, signal.SIGHUP)
        os.killpg(started.pid, signal.SIGINT)
        started.tell("Ada")
        assert started.hear() == "hello Ada"
        assert started.ending() == 6
    assert only(registry).attributes == {"exit_status": 6}


def test_how_it_ended_is_known_where_the_signal_of_that_is_ignored(registry: RunRegistry) -> None:
    with Started(*EXEC, "sh", "-c", "exit 7", ignoring=(signal.SIGCHLD,)) as started:
        assert started.ending() == 7
    assert only(registry).attributes == {"exit_status": 7}


# Killed ---------------------------------------------------------------------------------------------------------------


def test_when_we_are_killed_the_run_is_lost_and_the_program_goes_on(registry: RunRegistry) -> None:
    with Started(*EXEC, *ASKS) as started:
        assert started.process.stdout is not None
        assert started.process.stdout.read(6) == "name? "
        assert only(registry).status == "running"
        os.kill(started.pid, signal.SIGKILL)
        assert started.ending() == -signal.SIGKILL
        assert only(registry).status == "lost"
        started.tell("Ada")
        assert started.hear() == "hello Ada"


# On a terminal --------------------------------------------------------------------------------------------------------


def test_a_program_can_ask_on_a_terminal() -> None:
    with Terminal(*EXEC, *ASKS) as terminal:
        terminal.hear("name? ")
        terminal.tell("Ada\n")
        terminal.hear("hello Ada")
        assert terminal.ending() == 6


@pytest.mark.parametrize(("key", "number"), [("\x03", signal.SIGINT), ("\x1c", signal.SIGQUIT)])
def test_a_key_that_ends_the_program_cancels_the_run(key: str, number: signal.Signals, registry: RunRegistry) -> None:
    with Terminal(*EXEC, *WAITS) as terminal:
        terminal.hear("ready")
        terminal.tell(key)
        assert terminal.ending() == -number
    record = only(registry)
    assert (record.status, record.attributes) == ("cancelled", {"signal": number.name})


def test_a_program_that_handles_ctrl_c_gets_it_once_and_we_survive_it(registry: RunRegistry) -> None:
    with Terminal(*EXEC, sys.executable, "-c", CATCHES, "SIGINT", "SIGWINCH") as terminal:
        terminal.hear("ready")
        with stopped(terminal.process.pid):
            terminal.tell("\x03")
            terminal.hear("caught SIGINT")
        os.kill(terminal.process.pid, signal.SIGWINCH)  # as above
        assert "caught" not in terminal.hear("caught SIGWINCH")
        terminal.tell("go on\n")
        terminal.hear("in all 2")
        assert terminal.ending() == 0
    assert only(registry).status == "succeeded"


def test_ctrl_z_stops_both_and_the_shell_goes_on_with_both(registry: RunRegistry) -> None:
    with Terminal(sys.executable, "-c", SHELL, *EXEC, sys.executable, "-c", CATCHES, "SIGCONT") as terminal:
        terminal.hear("ready")
        terminal.tell("\x1a")  # once: nobody types it again in the microseconds in which we go on
        terminal.hear("shell: stopped by SIGTSTP ")
        terminal.tell("fg\n")
        terminal.hear("caught SIGCONT")
        terminal.tell("go on\n")
        terminal.hear("in all 1")
        terminal.hear("shell: ended with 0")
        assert terminal.ending() == 0
    assert only(registry).status == "succeeded"


def test_hanging_up_ends_the_program_and_cancels_the_run(registry: RunRegistry) -> None:
    with Terminal(*EXEC, *WAITS) as terminal:
        terminal.hear("ready")
        terminal.hang_up()
        assert terminal.ending() == -signal.SIGHUP
    record = only(registry)
    assert (record.status, record.attributes) == ("cancelled", {"signal": "SIGHUP"})
