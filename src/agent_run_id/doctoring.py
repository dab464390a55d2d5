"""`doctor`: what holds in this very interpreter, with the libraries that are installed here, and for this user."""

from __future__ import annotations

import platform
import sqlite3
import time
from datetime import timedelta
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Final

from agent_run_id.checkups import check_store
from agent_run_id.diagnoses import Checkup
from agent_run_id.probing import probe

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable

    from agent_run_id.index import Progress

__all__ = ["doctor"]

_PACKAGES: Final = (
    "agent-run-id",
    "anyio",
    "pydantic",
    "trio",
    "uvloop",
    "greenlet",
    "gevent",
    "joblib",
    "opentelemetry-instrumentation-threading",
    "logfire",
)
_LIMIT_S: Final = 15.0


def doctor(
    directory: str | os.PathLike[str] | None = None,
    *,
    imports: Iterable[str] = (),
    limit: float = _LIMIT_S,
    progress: Callable[[Progress], None] | None = None,
) -> Checkup:
    """Cross every wall in every way, in processes of their own, and look at where runs are recorded.

    It takes some seconds. Nothing of it is recorded, and this process is not changed; what it has patched and
    configured itself is not there in the others, unless a module does it that is imported there.

    Args:
        directory: Which directory to look at; by default where this process records.
        imports: Modules to import before the walls are crossed, such as one that instruments the program.
        limit: How many seconds one crossing may take; what takes longer is taken to hang.
        progress: Is told how far the index is, while there is much to read.

    Returns:
        What was found; `ok` says whether all is well.
    """
    began = time.monotonic()
    modules = tuple(imports)
    walls = tuple(probe(modules, limit=limit))
    store = tuple(check_store(directory, progress=progress))
    return Checkup(
        ok="wrong" not in [wall.health for wall in walls] + [finding.health for finding in store],
        took=timedelta(seconds=time.monotonic() - began),
        versions=dict(_versions()),
        imported=modules,
        walls=walls,
        store=store,
    )


def _versions() -> Iterable[tuple[str, str]]:
    yield "python", platform.python_version()
    yield "sqlite", sqlite3.sqlite_version
    yield "platform", platform.platform()
    for package in _PACKAGES:
        try:
            yield package, version(package)
        except PackageNotFoundError:
            continue
