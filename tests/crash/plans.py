"""Plans: the kinds of writers there are, how much each is to record, and how it is to end."""

from __future__ import annotations

import signal
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import random

KINDS: Final = {
    "plain": "records in one thread",
    "threads": "records in four threads",
    "forking": "forks children that go on recording",
    "forked": "is such a child",
    "spawning": "starts a child with multiprocessing's spawn",
    "spawned": "is such a child",
    "rotating": "has a tiny segment size",
    "stopped": "is stopped for a while, and then continued or killed",
    "leaving": "forks a child and dies before it",
    "orphan": "is such a child",
    "short of space": "may for a while not write any further",
    "cold": "is an interpreter of its own, not a fork of the template",
}
_WEIGHTS: Final = {
    "plain": 24,
    "threads": 14,
    "forking": 14,
    "spawning": 2,
    "rotating": 14,
    "stopped": 10,
    "leaving": 12,
    "short of space": 6,
    "cold": 2,
}

CHILDREN: Final = {"forking": 2, "leaving": 1, "spawning": 1}
"""How many children a writer of a kind has."""
FINISH: Final = "finished"
_OWN_WAYS: Final = ("os._exit", "abort", "segfault")
_BEGIN_S: Final = {"forking": 0.01, "orphan": 0.06, "spawning": 0.2, "cold": 0.1}
"""How long one should live at least, to come to what it is there for."""


@dataclass(frozen=True, slots=True)
class Order:
    """What one writer is told.

    Attributes:
        name: Its name, in front of the number of everything it records; a child's is its parent's with a number.
        kind: One of `KINDS`.
        directory: Where to record.
        seed: Of its own random choices.
        events: About how many to record before it rests.
        way: How it ends itself; None leaves that to the harness.
        after: When, in seconds from its beginning.
        sabotage: What is broken in it; a name from `sabotage`.
    """

    name: str
    kind: str
    directory: str
    seed: int
    events: int
    way: str | None
    after: float
    sabotage: str | None

    def child(self, number: int, kind: str, rng: random.Random) -> Order:
        """The order of a child of this writer."""
        way, after = _own_end(rng, kind)
        seed = rng.getrandbits(32)
        return replace(self, name=f"{self.name}.{number}", kind=kind, seed=seed, way=way, after=after)


@dataclass(frozen=True, slots=True)
class Fate:
    """What the harness does to a writer that does not end itself; times in seconds from its beginning."""

    after: float
    signal: signal.Signals
    stop_at: float | None = None
    resume_at: float | None = None


def order_for(name: str, directory: str, rng: random.Random, sabotage: str | None) -> Order:
    """The order of a writer the harness starts."""
    kind = rng.choices(list(_WEIGHTS), list(_WEIGHTS.values()))[0]
    way, after = (None, 0.0) if kind == "stopped" else _own_end(rng, kind)
    events = rng.choice((rng.randint(1, 10), rng.randint(20, 200), rng.randint(20, 200)))
    return Order(name, kind, directory, rng.getrandbits(32), events, way, after, sabotage)


def fate_of(kind: str, rng: random.Random) -> Fate:
    """What is to happen to a writer that does not end itself."""
    after = _moment(rng, kind)
    ending = rng.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGTERM))
    if kind != "stopped":
        return Fate(after, ending)
    stop_at, pause = after / 2, rng.uniform(0.02, 0.15)
    if rng.random() < 0.5:
        return Fate(stop_at + pause, signal.SIGKILL, stop_at)
    return Fate(stop_at + pause + rng.uniform(0, 0.02), ending, stop_at, stop_at + pause)


def _own_end(rng: random.Random, kind: str) -> tuple[str | None, float]:
    chance = rng.random()
    if chance < 0.55:
        return None, 0.0
    return (FINISH, 0.0) if chance < 0.65 else (rng.choice(_OWN_WAYS), _moment(rng, kind))


def _moment(rng: random.Random, kind: str) -> float:
    """Often while it opens its journal, mostly while it records, sometimes while it rests."""
    return _BEGIN_S.get(kind, 0.0) + rng.choice((rng.uniform(0, 0.01), rng.uniform(0, 0.06), rng.uniform(0.02, 0.1)))
