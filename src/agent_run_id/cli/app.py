"""The application: the commands, and the exit status of everything that can go wrong."""

from __future__ import annotations

import os
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from cyclopts import App, CycloptsError, UnusedCliTokensError

from agent_run_id.cli.exec import SUMMARY, execute
from agent_run_id.cli.output import abandon, complain
from agent_run_id.errors import RunNotFound

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

__all__ = ["COMMANDS", "application", "run"]

_FOUND: Final = 0
_UNREADABLE: Final = 1
_USAGE: Final = 2
_NOT_FOUND: Final = 5

_TROUBLE: Final = {"diff": _USAGE}
"""What cannot be read ends these otherwise: their 1 is an answer, and a script must know it from none."""

COMMANDS: Final = {
    "ls": ("listing", "List the latest runs."),
    "find": ("finding", "Find runs by what they are and by what they said."),
    "show": ("showing", "Tell what one run was, did and came to."),
    "tree": ("trees", "Draw a run with everything below it."),
    "events": ("happenings", "Tell everything recorded of a run, in order."),
    "tail": ("tailing", "Tell what was recorded last, of everything or of one run and all below it."),
    "watch": ("watching", "Watch a run and everything below it until it has ended."),
    "usage": ("usages", "Tell what runs used: tokens and cost, by model, by user, by day."),
    "diff": ("differing", "Tell what differs between two runs with everything below them."),
    "alias": ("naming", "Give a run other names, by which it is found from then on."),
    "export": ("export", "Write a run with everything below it into a file."),
    "stats": ("inventory", "Tell how much is recorded: runs, events, processes, journals."),
    "where": ("places", "Tell where runs are recorded, and why there."),
    "doctor": ("doctor", "Check that runs cross every wall here, and that they can be recorded."),
    "prune": ("pruning", "Remove what is recorded and too old or too much."),
    "reindex": ("indexing", "Make the index anew from the journals."),
    "completion": ("completing", "Print what makes a shell complete runid."),
}

_NO_LAST: Final = (
    "no root like {} is recorded; `runid ls` lists the latest, `runid where` tells which directory was looked into"
)
_UTC: Final = "--utc"
_EPILOGUE: Final = (
    "Exit status: 0 found, 1 the directory cannot be used or the file not be written, or the doctor found something"
    " wrong, or diff a difference, 2 the command was not understood, 5 no such run or more than one. Colour follows the"
    " terminal, NO_COLOR and FORCE_COLOR; times are local, with --utc and in JSON they are UTC."
)


def run(arguments: Sequence[str]) -> int:
    """Run one command line, and give its exit status.

    Raises:
        BrokenPipeError: whoever reads standard output has gone.
    """
    with _times(utc=_UTC in arguments):
        return _run([argument for argument in arguments if argument != _UTC])


@contextmanager
def _times(*, utc: bool) -> Generator[None]:
    """Let all times that people are shown be in UTC: the local time of this process is."""
    before = os.environ.get("TZ")
    if not utc:
        yield
        return
    os.environ["TZ"] = "UTC"
    time.tzset()
    try:
        yield
    finally:
        if before is None:
            del os.environ["TZ"]
        else:
            os.environ["TZ"] = before
        time.tzset()


def _run(arguments: Sequence[str]) -> int:
    app = application(typed=arguments[0] if arguments else None)
    try:
        status = app(list(arguments))
        if sys.stdout is not None:
            sys.stdout.flush()  # here, where a reader that has gone and a disk that is full are still told apart
    except CycloptsError as error:
        complain(f"{_mistake(error, arguments)} `{_help_for(arguments)}` tells what can be typed.")
        return _USAGE
    except RunNotFound as error:
        complain(_NO_LAST.format(error.reference) if error.reference.startswith("@last") else error)
        return _NOT_FOUND
    except BrokenPipeError:
        raise
    except OSError as error:
        complain(error)
        abandon()
        return _TROUBLE.get(arguments[0], _UNREADABLE)
    return status if isinstance(status, int) else _FOUND


def application(typed: str | None = None) -> App:
    """The application, with the rooms of its commands still shut: only that of the `typed` one will be opened."""
    app = App(
        name="runid",
        help="See what agents did: runs, the trees they make, and everything recorded in them.",
        help_format="markdown",
        help_epilogue=_EPILOGUE,
        version=_version,
        result_action="return_value",
        print_error=False,
        exit_on_error=False,
        suppress_keyboard_interrupt=False,
    )
    for name, (room, text) in COMMANDS.items():
        # A text given here stands in the list of commands, but also in the way of the command's own docstring.
        app.command(f"agent_run_id.cli.{room}:{name}", name=name, help=None if name == typed else text)
    app.command(_exec, name="exec", help=SUMMARY)
    return app


def _exec(*arguments: str) -> int:
    """For the list of commands; `main` knows this one before it loads anything that could tell them apart."""
    return execute(arguments)


def _version() -> str:
    from importlib.metadata import version

    return f"agent-run-id {version('agent-run-id')}"


def _mistake(error: CycloptsError, arguments: Sequence[str]) -> str:
    if isinstance(error, UnusedCliTokensError):
        return f"Too much was typed: {' '.join(error.unused_tokens or ())!r}."
    if arguments[0].startswith("-"):
        return f"The command comes first: {arguments[0]!r} is none."
    return str(error)


def _help_for(arguments: Sequence[str]) -> str:
    command = arguments[0] if arguments and arguments[0] in COMMANDS else None
    return f"runid {command} --help" if command else "runid --help"
