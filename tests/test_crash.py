"""Crashes: writers killed at random instants lose nothing they acknowledged; and a writer that did would be noticed."""

from __future__ import annotations

import random

import pytest

from tests.crash.actors import Problem
from tests.crash.plans import FINISH
from tests.crash.sabotage import SABOTAGES
from tests.crash.session import Session


def any_seed() -> int:
    """One that is told when a test fails."""
    return random.SystemRandom().randrange(10**6)


def test_150_writers_killed_at_random_instants_lose_nothing_they_acknowledged() -> None:
    """Nothing twice either, nobody lost who lives, everybody lost who died; `make crash` kills thousands."""
    tally = Session(seed=any_seed()).run(kills=150, seconds=60)
    assert tally.kills >= 150
    assert tally.acknowledged > 1000
    assert tally.passes > 10
    assert tally.sightings > 100
    assert {"SIGKILL", "SIGTERM", "os._exit", "abort", "segfault", FINISH} <= tally.by_way.keys()


# As a rule a reader sees it first; or else the books do.
WRONGLY_LOST = "lost while its owner|should be running, and is lost|was lost, and is|registry lacks"
CAUGHT = [
    pytest.param("skip-write", "are missing", id="skip-write, for an acknowledged event is missing"),
    pytest.param("double-write", "is there twice", id="double-write, for an event is there twice"),
    pytest.param("lock-dropped-early", WRONGLY_LOST, id="lock-dropped-early, for a living run is lost"),
    pytest.param("stale-sequence", "is there twice", id="stale-sequence, for a number is there twice"),
    pytest.param(
        "buffered",
        "are missing|there twice|has events of|and is running now",
        id="buffered, for events are missing, or twice after a fork",
    ),
    pytest.param("unlock-in-fork", WRONGLY_LOST, id="unlock-in-fork, for a living parent's run is lost"),
    pytest.param("header-late", WRONGLY_LOST, id="header-late, for a run just started is lost"),
]


@pytest.mark.parametrize(("sabotage", "complaint"), CAUGHT)
def test_the_harness_catches(sabotage: str, complaint: str) -> None:
    with pytest.raises(Problem, match=complaint):
        Session(seed=any_seed(), sabotage=sabotage, round_kills=20).run(kills=1000, seconds=60)


def test_every_sabotage_is_caught() -> None:
    assert SABOTAGES.keys() == {param.values[0] for param in CAUGHT}
