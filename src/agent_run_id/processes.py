"""Processes: how a child process joins the run that started it.

A child joins through its environment, read once, when the library is imported there. Our own `os.environ` is never
changed: what is current differs from thread to thread and task to task, and the environment of a process does not.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from agent_run_id import settings
from agent_run_id.carriers import environ
from agent_run_id.scope import enter_outermost

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent_run_id.ids import RunId

__all__ = ["child_env", "join", "joined"]


def child_env(base: Mapping[str, str] | None = None, /, **more: str) -> dict[str, str]:
    """The environment for a child process that is to join the current run: ``subprocess.run(cmd, env=child_env())``.

    A child that imports `agent_run_id` then has the current run as its outermost scope, and the same settings as this
    process, but for signing keys. Outside any run the copy carries none, and nothing stale.

    Args:
        base: What to copy instead of `os.environ`; it is not changed.
        **more: Variables to set besides.

    Returns:
        A new dict.
    """
    env = environ.inject(base)
    env.update(settings.for_environment())
    env.update(more)
    return env


def join() -> RunId | None:
    """Make the run named by the environment, if any, the outermost scope of this context; called once, on import."""
    run_id = environ.joinable(os.environ)
    if run_id is not None:
        enter_outermost(run_id)
        _joined.append(run_id)
    return run_id


def joined() -> RunId | None:
    """The run this process joined through its environment, if any."""
    return _joined[0] if _joined else None


_joined: list[RunId] = []
