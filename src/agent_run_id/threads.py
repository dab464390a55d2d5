"""Threads that run in the run of whoever started them.

A thread begins with no run at all (or, in Python 3.14 without the interpreter lock, with a copy of its starter's).
"""

from __future__ import annotations

import threading

from agent_run_id.run_context import RunContext
from agent_run_id.scope import current_parent

__all__ = ["BoundThread", "BoundTimer"]


class BoundThread(threading.Thread):
    """A `threading.Thread` that runs in the run current when it is started, also where a subclass overrides `run`."""

    def start(self) -> None:
        """Start the thread in the current run.

        Raises:
            RuntimeError: as `threading.Thread.start` does.
        """
        if self.ident is not None:
            super().start()  # which refuses to start it twice
        parent, run = current_parent(), self.run

        def bound() -> None:
            vars(self).pop("run", None)  # or the thread would keep itself alive, in a cycle
            with RunContext(parent):
                run()

        vars(self)["run"] = bound
        try:
            super().start()
        except BaseException:
            vars(self).pop("run", None)
            raise


class BoundTimer(BoundThread, threading.Timer):
    """A `threading.Timer` whose function runs in the run current when the timer is started."""
