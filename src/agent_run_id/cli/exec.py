"""``runid exec``: any program as a run.

It stands before programs that start in a millisecond, so its options are parsed by hand, and nothing is loaded but what
records.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from agent_run_id.cli.programs import Ending, Job, die_of, signal_name
from agent_run_id.errors import AgentRunError, RunDepthError
from agent_run_id.processes import child_env
from agent_run_id.starting import start_run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent_run_id.outcomes import Ending as Status
    from agent_run_id.runs import Run

__all__ = ["SUMMARY", "execute"]

SUMMARY: Final = "Run any program as a run."
"""What the list of commands says of it."""

_HELP: Final = f"""\
Usage: runid exec [OPTIONS] [--] PROGRAM [ARGUMENTS...]

{SUMMARY}

The run begins before the program and ends with it, below the run of whoever starts it. What the program starts in turn
nests below it, as far as it imports agent_run_id or is started by another `runid exec`. Terminal, descriptors, process
group and signals are the program's own. Its arguments are not recorded: they may hold keys.

Options:
  --name NAME  What the run is called; by default as the program.
  --kind KIND  What kind of run it is; by default process.
  --key KEY    Names it within its parent, the same from one day's run to the next.
  --tag TAG    A word to find it by; may be repeated.
  --help       Print this.

Exit status: that of the program, and a signal it died of is died of again. 127 there is no such program, 126 it cannot
be run, 2 the command was not understood.
"""

_OPTIONS: Final = ("--name", "--kind", "--key", "--tag")
_USAGE: Final = 2
_CANNOT_BE_RUN: Final = 126
_NOT_FOUND: Final = 127

# A signal of these asks a program to end; what ends it otherwise is a crash or a kill.
_REQUESTS: Final = ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT")


class _UsageError(AgentRunError, ValueError):
    """The command line was not understood."""


def execute(arguments: Sequence[str]) -> int:
    """Run one command line, without ``runid exec``, and give its exit status.

    Dies, instead of returning, of the signal that the program died of.
    """
    try:
        options, command = _parsed(arguments)
    except _UsageError as error:
        _complain(f"{error} `runid exec --help` tells what can be typed.")
        return _USAGE
    if "--help" in options:
        print(_HELP, end="", flush=True)  # noqa: T201 - the command talks to its user
        return 0
    job = Job()
    try:
        run = _started(options, command[0])
    except RunDepthError as error:
        _complain(error)
        return _CANNOT_BE_RUN
    with run:
        try:
            ending = job.run(command, _environment())
        except OSError as error:
            return _not_started(run, command[0], error)
        _end(run, ending)
    if ending.signal is not None:
        die_of(ending.signal)
        return 128 + ending.signal
    return ending.status or 0


def _parsed(arguments: Sequence[str]) -> tuple[dict[str, list[str]], list[str]]:
    """The options with what was given for each, and the command: what follows the first word that is no option.

    Raises:
        _UsageError: says what was wrong.
    """
    options: dict[str, list[str]] = {}
    rest = list(arguments)
    while rest and rest[0].startswith("-") and rest[0] != "--":
        name, equals, value = rest.pop(0).partition("=")
        if name in ("--help", "-h") and not equals:
            return {"--help": []}, []
        if name not in _OPTIONS:
            raise _UsageError(f"There is no option {name!r}.")
        if not equals:
            if not rest:
                raise _UsageError(f"{name} needs a value.")
            value = rest.pop(0)
        options.setdefault(name, []).append(value)
    command = rest[1:] if rest and rest[0] == "--" else rest
    if not command:
        raise _UsageError("There is no program to run.")
    return options, command


def _started(options: dict[str, list[str]], program: str) -> Run:
    """Start the run.

    Raises:
        RunDepthError: it would be deeper than `configure(max_depth=…)` allows.
    """

    def last(name: str, default: str) -> str:
        return options.get(name, [default])[-1]

    return start_run(
        last("--name", os.path.basename(program) or program),  # noqa: PTH119 - pathlib costs 5 ms to import
        kind=last("--kind", "process"),
        key=options["--key"][-1] if "--key" in options else None,
        tags=options.get("--tag", ()),
    )


def _environment() -> dict[str, str]:
    """What the program is to find in its environment: ours, and the run."""
    env = child_env()
    # In the C locale, as under cron, Python sets it for itself; only there it is not in what we were given.
    if env.get("LC_CTYPE") in ("C.UTF-8", "C.utf8", "UTF-8"):
        try:
            with open("/proc/self/environ", "rb") as file:  # noqa: PTH123
                given = file.read()
        except OSError:  # not Linux: a program that looks at it gets UTF-8
            return env
        if b"\0LC_CTYPE=" not in b"\0" + given:
            del env["LC_CTYPE"]
    return env


def _end(run: Run, ending: Ending) -> None:
    if ending.signal is None:
        run.update(attributes={"exit_status": ending.status})
        run.end(error=f"exited with status {ending.status}" if ending.status else None)
        return
    name = signal_name(ending.signal)
    run.update(attributes={"signal": name})
    status: Status = "cancelled" if ending.asked and name in _REQUESTS else "failed"
    run.end(status=status, error=f"died of {name}")


def _not_started(run: Run, program: str, error: OSError) -> int:
    """End the run of a program that there never was, and give the exit status."""
    status = _NOT_FOUND if isinstance(error, FileNotFoundError) else _CANNOT_BE_RUN
    run.update(attributes={"exit_status": status})
    run.end(error=f"cannot be started: {error.strerror}")
    _complain(f"{program!r} cannot be started: {error.strerror}")
    return status


def _complain(message: object) -> None:
    from agent_run_id.cli.output import complain  # here, because hardly anybody needs it

    complain(message)
