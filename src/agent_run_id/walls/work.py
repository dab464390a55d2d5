"""Work: what is called on the far side of a wall. It loads nothing else, because new processes load it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from agent_run_id.ids import RunId
from agent_run_id.run_context import RunContext
from agent_run_id.scope import current_run_id

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["TELL", "TELL_FROM_BELOW", "call", "glance", "look", "put_result", "serve_queue"]

TELL: Final = "import agent_run_id as ari; run_id = ari.current_run_id(); print(run_id.token if run_id else '')"
"""A program that prints the lineage it joined."""

TELL_FROM_BELOW: Final = f"""
import subprocess, sys
import agent_run_id as ari

run_id = ari.RunId.from_token(sys.argv[1]) if sys.argv[1] else None
if sys.argv[2] == "patched":
    from agent_run_id.patching import patch_stdlib

    patch_stdlib()
with ari.RunContext(run_id):
    options = {{"env": ari.child_env()}} if sys.argv[2] == "child_env" else {{}}
    subprocess.run([sys.executable, "-c", {TELL!r}], check=True, **options)
"""
"""A program that starts that one while a run is current that is not the one it joined itself."""


def glance() -> str | None:
    """The lineage in force."""
    run_id = current_run_id()
    return None if run_id is None else run_id.token


def look() -> str | None:
    """The lineage in force; and a scope is left open, which must stay on the far side, and not meet what comes next."""
    seen = glance()
    RunContext(RunId.generate()).__enter__()
    return seen


def call(work: Callable[[], Any]) -> Any:
    """For calls that take a function and an argument."""
    return work()


def put_result(results: Any, work: Callable[[], Any]) -> None:
    """What a child process does."""
    results.put(work())


def serve_queue(items: Any, results: Any, *, carried: bool) -> None:
    """What a worker process does."""
    while (item := items.get()) is not None:
        if carried:
            with item as work:
                results.put(work())
        else:
            results.put(item())
