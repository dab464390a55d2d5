"""The command: kill, check and report."""

from __future__ import annotations

import argparse
import random
import sys
import traceback
from typing import TYPE_CHECKING

from tests.crash.actors import Problem
from tests.crash.plans import KINDS
from tests.crash.sabotage import SABOTAGES
from tests.crash.session import Session

if TYPE_CHECKING:
    from tests.crash.rounds import Tally


def main() -> int:
    """Run one session; 1 if something did not add up."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description="Kill writers and check the books.")
    parser.add_argument("--kills", type=int, default=1000, help="how many writers to kill")
    parser.add_argument("--seconds", type=float, default=3600.0, help="when to stop at the latest")
    parser.add_argument("--seed", type=int, help="repeats the choices of another session")
    parser.add_argument("--sabotage", choices=sorted(SABOTAGES), help="break the writers, to see it noticed")
    given = parser.parse_args()
    seed = random.SystemRandom().randrange(10**6) if given.seed is None else given.seed
    session = Session(seed=seed, sabotage=given.sabotage, round_kills=150 if given.sabotage is None else 20)
    problem: Problem | None = None
    try:
        session.run(kills=given.kills, seconds=given.seconds)
    except Problem as found:
        problem = found
    sys.stdout.write(report(session.tally, seed=seed))
    if problem is not None:
        sys.stdout.write("\n" + "".join(traceback.format_exception_only(problem)))
    return problem is not None


def report(tally: Tally, *, seed: int) -> str:
    """What happened, for a person."""
    survivors = ", ".join(f"{count} {kind}" for kind, count in tally.survivors.most_common())
    lines = [
        f"seed {seed}: {tally.kills:,} kills in {tally.seconds:.0f} s, {tally.rounds} rounds",
        "",
        *(f"  {count:7,} {kind:15} {KINDS[kind]}" for kind, count in tally.by_kind.most_common()),
        "",
        *(f"  {count:7,} {way}" for way, count in tally.by_way.most_common()),
        "",
        f"  {tally.acknowledged:,} acknowledged events; {tally.entries:,} in the books,"
        f" {tally.journals:,} journals and {tally.bundles:,} bundles",
        f"  {tally.torn} lines torn, {tally.unfinished:,} files whose writer was killed before they had their name",
        f"  {tally.passes:,} passes of readers, which saw {tally.sightings:,} runs become lost",
        f"  {tally.survivors.total()} writers left alive for the first check, and running in it: {survivors}",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
