"""Probing: the walls are crossed in child processes, so that whatever happens there happens to nobody else.

Each child crosses some groups of walls, one after the other, within a time limit for each. One that hangs or crashes is
started again behind the wall where it happened.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from typing import IO, TYPE_CHECKING, Any, Final

from agent_run_id.diagnoses import Crossing, WallCheck
from agent_run_id.run_context import RunContext
from agent_run_id.settings import BYTES_VARIABLE, DAYS_VARIABLE, DEPTH_VARIABLE, DIRECTORY_VARIABLE, FSYNC_VARIABLE
from agent_run_id.walls.wall import worst

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from agent_run_id.diagnoses import Health
    from agent_run_id.walls.wall import Verdict, Way

__all__ = ["Probe", "probe"]

_JOBS: Final[tuple[tuple[str, ...], ...]] = (
    ("tasks", "threads", "generators", "queues"),
    ("processes",),
    ("programs",),
)
"""Which groups share a child."""

_UNSET: Final = (
    *("AGENT_RUN_ID", "TRACEPARENT", "TRACESTATE"),
    *(BYTES_VARIABLE, DAYS_VARIABLE, DEPTH_VARIABLE, FSYNC_VARIABLE),
)
"""Nothing of a run that this process has joined, nor a limit of how deep runs go."""
_TRIES: Final = 4
_MOST: Final = 20
_SPARE_S: Final = 60.0
"""So many times the limit of one crossing a child may take for all, and so much longer; crossings watch their own."""
_PATIENCE_S: Final = 1.0
_LOOK_S: Final = 0.02
_LAST_WORDS: Final = 12


class Probe:
    """What one child after the other told of some groups of walls.

    Args:
        groups: The names of the groups.
        modules: What the children import before.
        limit: How many seconds one crossing may take.
    """

    def __init__(self, groups: Sequence[str], modules: Sequence[str], limit: float) -> None:
        self.groups = groups
        self.walls: dict[int, dict[str, Any]] = {}
        self.crossings: dict[int, dict[str, Any]] = {}
        self.ends: dict[int, dict[str, Any]] = {}
        self.failure: str | None = None
        self._command = [sys.executable, "-P", "-m", "agent_run_id.walls", *groups, "--limit", str(limit)]
        for module in modules:
            self._command += ["--import", module]
        self._limit = limit

    def run(self) -> None:
        """Cross all walls, in as many children as it takes."""
        skip = 0
        for _ in range(_TRIES):
            try:
                begun = self._child(skip)
            except OSError as error:
                self.failure = f"{sys.executable!r} cannot be started: {error}"
                return
            if begun is None or self.failure is not None:
                return
            skip = begun + 1
        self.failure = f"not tried, because {_TRIES} others hung or crashed"

    def _child(self, skip: int) -> int | None:
        """Cross the walls from one on, and give the last that was begun; None when there are no more."""
        with tempfile.TemporaryFile() as report, tempfile.TemporaryFile() as output:
            command = [*self._command, "--skip", str(skip), "--report", str(report.fileno())]
            ended = _ended(command, report, output, self._limit * _MOST + _SPARE_S)
            report.seek(0)
            begun, is_done = None, False
            for fields in _lines(report):
                begun = fields.get("begins", begun)
                is_done = is_done or "done" in fields
                self._hear(fields)
            if is_done:
                return None
            why = _why(ended, output, self._limit)
        if begun is None or begun in self.ends:
            self.failure = self.failure or why
        else:
            self.ends[begun] = {"verdict": "failed", "why": why}
        return begun

    def _hear(self, fields: dict[str, Any]) -> None:
        if "wall" in fields:
            self.walls[fields["wall"]] = fields
        elif "crossing" in fields:
            self.crossings[fields["crossing"]] = fields
        elif "ends" in fields:
            self.ends[fields["ends"]] = fields
        elif "refused" in fields:
            self.failure = fields["refused"]

    def checks(self) -> Iterator[WallCheck]:
        """What each wall came to."""
        for place, wall in self.walls.items():
            mine = [number for number, crossing in self.crossings.items() if crossing["of"] == place]
            yield _check(wall, [self._crossing(number) for number in mine])
        if not self.walls:
            reason = self.failure or "nothing was said"
            yield _broken(self.groups, reason)

    def _crossing(self, number: int) -> Crossing:
        fields = self.crossings[number]
        end = self.ends.get(number) or {"verdict": "failed", "why": self.failure}
        return Crossing(way=fields["way"], loop=fields["loop"], verdict=end["verdict"], why=end.get("why"))

    @staticmethod
    def health(wall: Mapping[str, Any], found: Mapping[Way, Verdict | None]) -> Health:
        """How it is with a wall, by what is promised and what was found."""
        plain, patched, promised = found["plain"], found["patched"], wall["promised"]
        if plain is None or patched is None:
            return "note"
        # What is not promised to be kept may be worse by what somebody else has patched, but not by what we have.
        spoilt = promised == "kept" or worst([patched, plain]) != plain
        if found["explicit"] != "kept" or (spoilt and worst([patched, promised]) != promised):
            return "wrong"
        return "ok" if plain == wall["expected"] else "note"


def probe(modules: Sequence[str] = (), *, limit: float) -> list[WallCheck]:
    """Cross every wall in every way.

    Args:
        modules: What the children import before.
        limit: How many seconds one crossing may take.
    """
    jobs = [Probe(groups, modules, limit) for groups in _JOBS]
    threads = [threading.Thread(target=job.run) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [check for job in jobs for check in job.checks()]


def _ended(command: Sequence[str], report: IO[bytes], output: IO[bytes], limit: float) -> int | None:
    """Run a child to its end, with all that it started; its exit status, None when it was killed here."""
    env = {name: value for name, value in os.environ.items() if name not in _UNSET}
    with RunContext(None):  # or `patch_stdlib`, where it is on, would have the child join the run that is current here
        child = subprocess.Popen(  # noqa: S603 - ours
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**env, DIRECTORY_VARIABLE: "off"},
            pass_fds=[report.fileno()],
            start_new_session=True,
        )
    try:
        return child.wait(limit)
    except subprocess.TimeoutExpired:
        return None
    finally:
        _end(child)


def _end(child: subprocess.Popen[bytes]) -> None:
    """End a child and all that it started; those that only tidy up behind it do not mind being asked, and go last."""
    _signal(child, signal.SIGTERM)
    until = time.monotonic() + _PATIENCE_S
    while _signal(child, 0) and time.monotonic() < until:
        time.sleep(_LOOK_S)
        child.poll()
    _signal(child, signal.SIGKILL)
    child.wait()


def _signal(child: subprocess.Popen[bytes], number: int) -> bool:
    """Whether there is still anybody to signal."""
    try:
        os.killpg(child.pid, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _lines(report: IO[bytes]) -> Iterator[dict[str, Any]]:
    for line in report:
        with suppress(ValueError):
            yield json.loads(line)


def _why(ended: int | None, output: IO[bytes], limit: float) -> str:
    """Why a child ended before it was done."""
    output.seek(0)
    words = output.read().decode(errors="replace").splitlines()
    if ended is None or any(line.startswith("Timeout (") for line in words):
        # The thread that crossed is the last of which a traceback tells, and the first line of it is where it is.
        threads = [place for place, line in enumerate(words) if line.startswith(("Thread 0x", "Current thread 0x"))]
        where = words[threads[-1] + 1].strip() if threads and threads[-1] + 1 < len(words) else ""
        return f"hung for {limit:g} s: {where}" if where else f"hung for {limit:g} s"
    how = f"died of {signal.Signals(-ended).name}" if ended < 0 else f"exited with status {ended}"
    last = next((line for line in reversed(words[-_LAST_WORDS:]) if line.strip()), "")
    return f"{how}: {last}" if last else how


def _check(wall: dict[str, Any], crossings: list[Crossing]) -> WallCheck:
    found: dict[Way, Verdict | None] = {
        way: worst([crossing.verdict for crossing in crossings if crossing.way == way]) if crossings else None
        for way in ("plain", "patched", "explicit")
    }
    names = ("group", "name", "write", "missing", "expected", "promised")
    described: dict[str, Any] = {name: wall[name] for name in names}
    return WallCheck.model_validate(
        {**described, **found, "health": Probe.health(wall, found), "crossings": tuple(crossings)}
    )


def _broken(groups: Sequence[str], reason: str) -> WallCheck:
    """What is said of groups of walls of which nothing is known."""
    return WallCheck(
        group=groups[0],
        name=", ".join(groups),
        write="",
        missing=None,
        plain="failed",
        patched="failed",
        explicit="failed",
        expected="kept",
        promised="kept",
        health="wrong",
        crossings=(Crossing(way="explicit", loop="asyncio", verdict="failed", why=reason),),
    )
