"""Sessions: round after round, each with a directory of its own, until enough writers are killed."""

from __future__ import annotations

import random
import time

from tests.crash.actors import Problem
from tests.crash.rounds import Round, Tally
from tests.crash.template import Template


class Session:
    """Kill writers, round after round.

    Args:
        seed: Of all random choices; the moments are the machine's.
        sabotage: What to break in the writers.
        round_kills: How many kills there are between two checks of the books.
    """

    def __init__(self, *, seed: int, sabotage: str | None = None, round_kills: int = 150) -> None:
        self.seed = seed
        self.tally = Tally()
        self._sabotage = sabotage
        self._round_kills = round_kills

    def run(self, *, kills: int, seconds: float) -> Tally:
        """Kill until there were so many kills, or until the time is over.

        Raises:
            Problem: something does not add up.
        """
        began = time.monotonic()
        tally = self.tally
        with Template("writer") as writers, Template("reader") as readers:
            while tally.kills < kills and time.monotonic() - began < seconds:
                rng = random.Random(f"{self.seed} {tally.rounds}")  # noqa: S311
                size = min(self._round_kills, kills - tally.kills)
                try:
                    with Round(writers, readers, rng, tally, self._sabotage) as this:
                        this.play(size, until=began + seconds)
                except Problem as problem:
                    problem.add_note(f"in round {tally.rounds + 1}, after {tally.kills} kills, with seed {self.seed}")
                    if complaints := writers.complaints():
                        problem.add_note(f"the writers said: {complaints}")
                    raise
                finally:
                    tally.seconds = time.monotonic() - began
        return tally
