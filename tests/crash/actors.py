"""Actors: what the harness knows of each process that records, from what it did to it and from what it said."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tests.crash.plans import CHILDREN

if TYPE_CHECKING:
    from collections.abc import Callable


class Problem(Exception):  # noqa: N818 - what is found, not what went wrong here
    """What does not add up, in words."""


@dataclass(eq=False, slots=True)
class Actor:
    """One process that records.

    Attributes:
        name: Its name.
        kind: A name from `plans.KINDS`.
        pid: Its process.
        ends_itself: Whether the harness leaves its end to it.
        decided: Whether its end is decided.
        greeted: Whether it has begun.
        idle: Whether it has recorded all it was to.
        stopped: Whether it is stopped.
        dying_since: A moment before its end began; None while nobody has begun it.
        way: How it ended.
        process: The id its journal has.
        acknowledged: The numbers of what it recorded.
        counts: How many events it recorded; and how many were recorded, written and dropped by its own accounts.
    """

    name: str
    kind: str
    pid: int
    ends_itself: bool = False
    decided: bool = False
    greeted: bool = False
    idle: bool = False
    stopped: bool = False
    dying_since: float | None = None
    way: str | None = None
    process: str | None = None
    acknowledged: set[int] = field(default_factory=set)
    counts: tuple[int, int, int, int] | None = None

    @property
    def at_rest(self) -> bool:
        """Whether its journal will not change by itself."""
        return self.dying_since is not None or ((self.idle or self.stopped) and not self.ends_itself)


class Family:
    """A writer that the harness started, and its children: those that share a pipe.

    Args:
        pipe: The end to read from.
        founder: The writer that was started.
        met: Called with every actor that says hello and does not end itself.
        left: Called with every actor that says it is about to end itself.
    """

    def __init__(
        self, pipe: int, founder: Actor, *, met: Callable[[Actor], None], left: Callable[[Actor], None]
    ) -> None:
        self.pipe = pipe
        self.founder = founder
        self.actors: dict[str, Actor] = {founder.name: founder}
        self.ended = False
        self._met = met
        self._left = left
        self._rest = b""

    @property
    def living(self) -> list[Actor]:
        """Those whose end has not begun."""
        return [actor for actor in self.actors.values() if actor.dying_since is None]

    @property
    def is_complete(self) -> bool:
        """Whether no child can still appear."""
        founder = self.founder
        has_all = len(self.actors) > CHILDREN.get(founder.kind, 0)
        return self.ended or has_all or (founder.dying_since is None and founder.at_rest)

    def drain(self) -> None:
        """Take in everything that was said until now."""
        while not self.ended:
            try:
                data = os.read(self.pipe, 1 << 18)
            except BlockingIOError:
                return
            self.ended = not data
            *lines, self._rest = (self._rest + data).split(b"\n")
            for line in lines:
                self._hear(line.decode())

    def _hear(self, line: str) -> None:
        what, name, rest = f"{line} ".split(" ", 2)
        if what == "ack":
            self.actors[name].acknowledged.add(int(rest))
            return
        words = rest.split()
        if what in ("hello", "child"):
            self._introduce(what, name, words)
        elif what == "failed":
            raise Problem(f"{name} failed: {json.loads(rest)}")
        else:
            self._tell(self.actors[name], what, words)

    def _introduce(self, what: str, name: str, words: list[str]) -> None:
        name, pid, kind = (name, *words[:2]) if what == "hello" else words
        actor = self.actors.get(name)
        if actor is None:
            actor = self.actors[name] = Actor(name, kind.replace("_", " "), int(pid))
        if what == "hello":
            actor.greeted = True
            actor.ends_itself = words[2] == "itself"
            if not actor.ends_itself:
                self._met(actor)

    def _tell(self, actor: Actor, what: str, words: list[str]) -> None:
        if what == "process":
            actor.process = words[0]
        elif what == "counts":
            asked, recorded, written, dropped = map(int, words)
            actor.counts = asked, recorded, written, dropped
        elif what == "idle":
            actor.idle = True
        elif what == "ending" and actor.dying_since is None:
            actor.way, actor.dying_since = words[0], float(words[1])
            self._left(actor)


def is_gone(pid: int) -> bool:
    """Whether a process has ended, whether or not somebody has waited for it yet."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    if sys.platform == "linux":
        try:
            stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            return True
        return stat[stat.rindex(")") + 2] in "ZX"
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    return not state.strip() or state.lstrip().startswith("Z")
