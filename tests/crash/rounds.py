"""Rounds: writers are started in one directory, killed and heard, and then the books are checked.

The last writers of a round are left alive until the books have been checked with them, and are killed then; so both
answers are checked, of the living and of the dead.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import os
import selectors
import shutil
import signal
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.crash.actors import Actor, Family, Problem, is_gone
from tests.crash.books import Books
from tests.crash.checks import compare, compare_registry
from tests.crash.plans import FINISH, fate_of, order_for
from tests.crash.watching import Watch

if TYPE_CHECKING:
    import random
    from collections.abc import Callable
    from typing import Self

    from tests.crash.template import Template

_AT_ONCE: Final = 10  # families
_PATIENCE_S: Final = 60.0


@dataclass(slots=True)
class Tally:
    """What happened in a session."""

    kills: int = 0
    by_kind: Counter[str] = field(default_factory=Counter)
    by_way: Counter[str] = field(default_factory=Counter)
    rounds: int = 0
    acknowledged: int = 0
    entries: int = 0
    journals: int = 0
    bundles: int = 0
    torn: int = 0
    unfinished: int = 0
    passes: int = 0
    sightings: int = 0
    survivors: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0


class Round:
    """One directory, the writers and the readers in it, and the check of the books."""

    def __init__(
        self, writers: Template, readers: Template, rng: random.Random, tally: Tally, sabotage: str | None
    ) -> None:
        self._writers = writers
        self._rng = rng
        self._tally = tally
        self._sabotage = sabotage
        self._directory = tempfile.mkdtemp(prefix="crash-")
        self._families: list[Family] = []
        self._numbers = itertools.count(1)
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._closing = False
        self._selector = selectors.DefaultSelector()
        self._watch = Watch(readers, self._directory, rng)
        for pipe in self._watch.pipes:
            self._selector.register(pipe, selectors.EVENT_READ)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        """Leave nothing running, and nothing behind but what somebody has to look at."""
        for family in self._families:
            with contextlib.suppress(Problem):
                self._hear(family)
            for actor in family.living:
                if actor is not family.founder:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(actor.pid, signal.SIGKILL)
            self._writers.end([family.founder.pid])
            if not family.ended:
                os.close(family.pipe)
        self._watch.close()
        self._selector.close()
        if isinstance(error, Problem) and self._sabotage is None:
            error.add_note(f"the journals are kept in {self._directory}")
        else:
            shutil.rmtree(self._directory, ignore_errors=True)

    def play(self, kills: int, *, until: float) -> None:
        """Kill so many writers, and check the books twice.

        Raises:
            Problem: something does not add up.
        """
        goal = self._tally.kills + max(1, kills - _AT_ONCE)
        while self._tally.kills < goal and time.monotonic() < until:
            while sum(not family.ended for family in self._families) < _AT_ONCE:
                self._start()
            self._step()
        self._closing = True  # whoever lives now, and whoever still appears, stays for the first check
        self._timers.clear()
        self._wait("the writers to come to rest", self._are_at_rest)
        self._wait("those that were killed to end", self._are_gone)
        survivors = [actor for family in self._families for actor in family.living]
        self._check(alive={actor.name for actor in survivors})
        for actor in survivors:
            self._end(actor, signal.SIGKILL)
        self._wait("all writers to end", lambda: self._are_gone() and all(f.ended for f in self._families))
        self._writers.tidy()
        self._watch.finish()
        self._judge()
        books = self._check(alive=set())
        for path in Path(self._directory).glob("index*"):
            path.unlink()
        compare_registry(books, self._directory, alive=set())  # an index made anew says the same
        self._count(books)
        self._tally.survivors.update(actor.kind for actor in survivors)

    # Starting and ending ----------------------------------------------------------------------------------------------

    def _start(self) -> None:
        rng = self._rng
        order = order_for(f"w{next(self._numbers)}", self._directory, rng, self._sabotage)
        hearing, speaking = os.pipe()
        os.set_blocking(hearing, False)
        start = self._writers.start if order.kind == "cold" else self._writers.fork
        founder = Actor(order.name, order.kind, start(order, speaking), ends_itself=order.way is not None)
        os.close(speaking)
        family = Family(hearing, founder, met=self._met, left=self._ended)
        self._families.append(family)
        self._selector.register(hearing, selectors.EVENT_READ, family)
        if order.way is None and rng.random() < 0.2:  # its end may come before it can speak
            self._decide(founder)

    def _met(self, actor: Actor) -> None:
        if not actor.decided and not self._closing:
            self._decide(actor)

    def _decide(self, actor: Actor) -> None:
        actor.decided = True
        fate = fate_of(actor.kind, self._rng)
        if fate.stop_at is not None:
            self._at(fate.stop_at, lambda: self._stop(actor))
        if fate.resume_at is not None:
            self._at(fate.resume_at, lambda: self._resume(actor))
        self._at(fate.after, lambda: self._end(actor, fate.signal))

    def _at(self, delay: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._timers, (time.monotonic() + delay, next(self._numbers), act))

    def _stop(self, actor: Actor) -> None:
        os.kill(actor.pid, signal.SIGSTOP)
        actor.stopped = True

    def _resume(self, actor: Actor) -> None:
        os.kill(actor.pid, signal.SIGCONT)
        actor.stopped = False

    def _end(self, actor: Actor, ending: signal.Signals) -> None:
        actor.way = f"{ending.name}, stopped" if actor.stopped else ending.name
        actor.dying_since = time.monotonic()
        os.kill(actor.pid, ending)
        self._ended(actor)

    def _ended(self, actor: Actor) -> None:
        tally = self._tally
        tally.by_kind[actor.kind] += 1
        tally.by_way[str(actor.way)] += 1
        tally.kills += actor.way != FINISH

    # Hearing ----------------------------------------------------------------------------------------------------------

    def _step(self) -> None:
        """Hear what is said until the next moment that something is to be done, and do it."""
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            heapq.heappop(self._timers)[2]()
        wait = self._timers[0][0] - time.monotonic() if self._timers else 0.02
        for key, _ in self._selector.select(min(max(0.0, wait), 0.02)):
            if key.data is not None:
                self._hear(key.data)
        self._watch.drain()
        self._judge()

    def _hear(self, family: Family) -> None:
        if not family.ended:
            family.drain()
            if family.ended:
                self._selector.unregister(family.pipe)
                os.close(family.pipe)

    def _judge(self) -> None:
        """Whether the readers called somebody lost who lived after their answer."""
        if not self._watch.sightings:
            return
        # Whoever had begun to end by the time of the answer had said so before, and it is in the pipes by now.
        for family in self._families:
            self._hear(family)
        actors = self._actors()
        for moment, run in self._watch.sightings:
            name = run.partition("#")[0]
            actor = actors.get(name)
            if actor is None:
                raise Problem(f"readers saw a run of {name!r}, whom nobody knows")
            if actor.dying_since is None or actor.dying_since > moment:
                raise Problem(f"the run {run} was shown as lost while its owner, pid {actor.pid} ({actor.kind}), lived")
        self._tally.sightings += len(self._watch.sightings)
        self._watch.sightings.clear()

    def _wait(self, what: str, done: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _PATIENCE_S
        while not done():
            if time.monotonic() > deadline:
                raise Problem(f"waited {_PATIENCE_S:.0f} s for {what}: {[*self._actors().values()]}")
            self._step()

    def _are_at_rest(self) -> bool:
        """Whether all that is alive waits, and nobody can appear any more."""
        resting = True
        for family in self._families:
            if family.ended:
                continue
            if not all(actor.at_rest and (actor.greeted or actor.stopped) for actor in family.living):
                resting = False
            elif not family.living or not family.is_complete:
                # A child may be about to appear whose parent died at once after the fork: the pipe's end would tell.
                resting = False
                for actor in family.living:
                    self._end(actor, signal.SIGKILL)
        return resting

    def _are_gone(self) -> bool:
        """Whether all that are not to live have ended, and all they said was heard."""
        for family in self._families:
            for actor in family.actors.values():
                if actor.dying_since is not None and not self._is_gone(family, actor):
                    return False
        for family in self._families:
            self._hear(family)
        return True

    def _is_gone(self, family: Family, actor: Actor) -> bool:
        return self._writers.has_ended(actor.pid) if actor is family.founder else is_gone(actor.pid)

    # The books --------------------------------------------------------------------------------------------------------

    def _actors(self) -> dict[str, Actor]:
        return {name: actor for family in self._families for name, actor in family.actors.items()}

    def _check(self, *, alive: set[str]) -> Books:
        books = Books(self._directory)
        compare(books, self._actors())
        compare_registry(books, self._directory, alive=alive)
        return books

    def _count(self, books: Books) -> None:
        tally = self._tally
        tally.rounds += 1
        tally.acknowledged += sum(len(actor.acknowledged) for actor in self._actors().values())
        tally.entries += books.entries
        tally.journals += books.journals
        tally.bundles += books.bundles
        tally.torn += books.fragments
        tally.unfinished += books.unfinished
        tally.passes += self._watch.passes
