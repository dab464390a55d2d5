"""Watching: the harness's end of the readers."""

from __future__ import annotations

import json
import os
import select
import time
from typing import TYPE_CHECKING, Final

from tests.crash.actors import Problem

if TYPE_CHECKING:
    import random

    from tests.crash.template import Template

_READERS: Final = 2
_PATIENCE_S: Final = 60.0


class Watch:
    """The readers of one directory, and what they told.

    Args:
        template: What they are forked from.
        directory: What they read.
        rng: Where their random choices come from.

    Attributes:
        pipes: Where they tell it.
        sightings: The runs they saw lost for the first time, each with a moment after that answer.
        passes: How often they looked.
    """

    def __init__(self, template: Template, directory: str, rng: random.Random) -> None:
        self._template = template
        self._stop_reading, self._stop = os.pipe()
        self._rests: dict[int, bytes] = {}
        self._pids: list[int] = []
        self.sightings: list[tuple[float, str]] = []
        self.passes = 0
        for _ in range(_READERS):
            hearing, speaking = os.pipe()
            os.set_blocking(hearing, False)
            told = {"directory": directory, "seed": rng.getrandbits(32)}
            self._pids.append(template.fork(told, speaking, self._stop_reading))
            os.close(speaking)
            self._rests[hearing] = b""
        self.pipes = tuple(self._rests)
        self._stopped = False

    def drain(self) -> None:
        """Take in what they said until now."""
        for pipe in [*self._rests]:
            try:
                data = os.read(pipe, 1 << 18)
            except BlockingIOError:
                continue
            if not data and not self._stopped:
                raise Problem("a reader has ended")
            if not data:
                del self._rests[pipe]
                continue
            *lines, self._rests[pipe] = (self._rests[pipe] + data).split(b"\n")
            for line in lines:
                self._hear(line.decode())

    def _hear(self, line: str) -> None:
        what, _, rest = line.partition(" ")
        if what == "failed":
            raise Problem(f"a reader failed: {json.loads(rest)}")
        if what == "pass":
            self.passes += 1
        else:
            moment, *runs = rest.split()
            self.sightings += [(float(moment), run) for run in runs]

    def finish(self) -> None:
        """Let them look to the end of what they are at."""
        os.close(self._stop)
        self._stopped = True
        deadline = time.monotonic() + _PATIENCE_S
        while self._rests:
            if not select.select([*self._rests], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise Problem(f"a reader has not answered for {_PATIENCE_S:.0f} s")
            self.drain()

    def close(self) -> None:
        """Leave none behind."""
        if not self._stopped:
            os.close(self._stop)
            self._stopped = True
        os.close(self._stop_reading)
        for pipe in self.pipes:
            os.close(pipe)
        self._template.end(self._pids)
