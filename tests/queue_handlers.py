"""How workers in programs of the tests handle a message. They say what they are at, one line at a time."""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any

import agent_run_id as ari

if TYPE_CHECKING:
    from agent_run_id import Accepted

signal.alarm(300)  # whatever hangs is ended; also a process that a worker starts, to which no alarm is handed down


def say(run: Accepted[Any]) -> None:
    print(run.attempt, os.getpid(), flush=True)  # noqa: T201 - for the test to read


def do(run: Accepted[Any]) -> None:
    with ari.start_run(f"do attempt {run.attempt}", kind="tool"):
        pass


def hang_once(run: Accepted[Any]) -> None:
    """At the first attempt be in the middle of something, for ever."""
    if run.attempt > 1:
        do(run)
        return
    with ari.start_run("hang", kind="tool"):
        say(run)
        threading.Event().wait()


def fail_once(run: Accepted[Any]) -> None:
    do(run)
    if run.attempt == 1:
        raise OSError("no answer")


def wait(run: Accepted[Any]) -> None:
    """Be at it until told to go on."""
    say(run)
    sys.stdin.readline()
    do(run)
