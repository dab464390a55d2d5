"""Threads that run in the run of whoever started them.

A thread begins with no run at all (or, in Python 3.14 without the interpreter lock, with a copy of its starter's).
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, cast

from agent_run_id.run_context import RunContext
from agent_run_id.scope import current_parent

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent_run_id.ids import RunId
    from agent_run_id.inbound import Inbound

__all__ = ["BoundThread", "BoundTimer", "run_plainly", "start_in"]


class BoundThread(threading.Thread):
    """A `threading.Thread` that runs in the run current when it is started, also where a subclass overrides `run`."""

    def start(self) -> None:
        """Start the thread in the current run.

        Raises:
            RuntimeError: as `threading.Thread.start` does.
        """
        start_in(self, current_parent(), super().start)


class BoundTimer(BoundThread, threading.Timer):
    """A `threading.Timer` whose function runs in the run current when the timer is started."""


def start_in(thread: threading.Thread, parent: RunId | Inbound | None, start: Callable[[], object]) -> None:
    """Start a thread by `start`, to run in a run."""
    if getattr(thread, "_ident", None) is not None:  # and not `ident`, which raises where `start` has a better error
        start()  # which refuses to start it twice
        return
    own, run = vars(thread).get("run"), thread.run

    def bound() -> None:
        run_plainly(thread, own)  # or the thread would keep itself alive, in a cycle
        with RunContext(parent):
            run()

    vars(thread)["run"] = bound
    try:
        start()
    except BaseException:
        run_plainly(thread, own)
        raise


def run_plainly(worker: Any, own: Callable[[], None] | None) -> None:
    """Give a thread, or a process, back the `run` it had beside that of its class; None for none."""
    attributes = cast("dict[str, Any]", vars(worker))
    if own is None:
        attributes.pop("run", None)
    else:
        attributes["run"] = own
