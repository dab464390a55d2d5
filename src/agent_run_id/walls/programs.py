"""Other programs as walls: one that imports the library joins the run that it finds in its environment."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

import anyio

from agent_run_id.ids import RunId
from agent_run_id.processes import child_env
from agent_run_id.run_context import RunContext
from agent_run_id.scope import current_run_id
from agent_run_id.walls.wall import Wall, blocking, simple
from agent_run_id.walls.work import TELL, TELL_FROM_BELOW

if TYPE_CHECKING:
    from agent_run_id.walls.wall import Work

__all__ = ["PROGRAMS"]

_TELL: Final = (sys.executable, "-c", TELL)


def _run(*command: str, env: dict[str, str] | None = None) -> str | None:
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, env=env)  # noqa: S603 - ours
    return _told(done.stdout)


def _plainly(_: Work) -> Any:
    return _run(*_TELL)


def _joined(_: Work) -> Any:
    return _run(*_TELL, env=child_env())


def _from_below(_: Work, call: str) -> Any:
    """In a process that joined the root of the run in which it starts another."""
    run_id = current_run_id()
    with RunContext(None if run_id is None else RunId(run_id.root_id)):
        return _run(sys.executable, "-c", TELL_FROM_BELOW, run_id.token if run_id else "", call, env=child_env())


async def _anyio_process(_: Work, **options: Any) -> Any:
    return _told((await anyio.run_process(_TELL, **options)).stdout)


async def _anyio_process_joined(work: Work) -> Any:
    return await _anyio_process(work, env=child_env())


async def _asyncio_process(_: Work, **options: Any) -> Any:
    process = await asyncio.create_subprocess_exec(*_TELL, stdout=asyncio.subprocess.PIPE, **options)
    return _told((await process.communicate())[0])


async def _asyncio_process_joined(work: Work) -> Any:
    return await _asyncio_process(work, env=child_env())


async def _trio_process(_: Work, **options: Any) -> Any:
    done = await import_module("trio").run_process(_TELL, capture_stdout=True, **options)
    return _told(done.stdout)


async def _trio_process_joined(work: Work) -> Any:
    return await _trio_process(work, env=child_env())


def _told(output: bytes) -> str | None:
    return output.decode().strip() or None


_CHILD_ENV: Final = "`env=child_env()`"

PROGRAMS: Final = [
    Wall(
        "`subprocess`, where the child imports the library",
        "lost",
        _CHILD_ENV,
        blocking(_joined),
        blocking(_plainly),
        patched="kept",
        in_process=False,
        awaits=False,
    ),
    Wall(
        "a subprocess of a subprocess, likewise",
        "coarse",
        _CHILD_ENV,
        blocking(lambda work: _from_below(work, "child_env")),
        blocking(lambda work: _from_below(work, "plain")),
        patched="kept",
        opens_patched=blocking(lambda work: _from_below(work, "patched")),
        in_process=False,
        awaits=False,
    ),
    Wall(
        "`anyio.run_process` and `open_process`, likewise",
        "lost",
        _CHILD_ENV,
        simple(_anyio_process_joined),
        simple(_anyio_process),
        patched="kept",
        loops=("asyncio", "eager", "trio"),
        in_process=False,
    ),
    Wall(
        "`asyncio.create_subprocess_exec`, likewise",
        "lost",
        _CHILD_ENV,
        simple(_asyncio_process_joined),
        simple(_asyncio_process),
        patched="kept",
        loops=("asyncio", "eager"),
        in_process=False,
    ),
    *(
        Wall(
            f"{call} on uvloop, likewise",
            "lost",
            _CHILD_ENV,
            simple(joined),
            simple(plainly),
            loops=("uvloop",),
            needs="uvloop",
            in_process=False,
        )
        for call, joined, plainly in (
            ("`anyio.run_process`", _anyio_process_joined, _anyio_process),
            ("`asyncio.create_subprocess_exec`", _asyncio_process_joined, _asyncio_process),
        )
    ),
    Wall(
        "`trio.run_process`, likewise",
        "lost",
        _CHILD_ENV,
        simple(_trio_process_joined),
        simple(_trio_process),
        patched="kept",
        loops=("trio",),
        needs="trio",
        in_process=False,
    ),
]
