"""The travel office: a pool of processes and a clerk in a thread, at work since before anybody planned a trip.

They began in a run of the office's own, and go on in it after every trip. What they do for a trip is under the trip all
the same; how its run gets to them is in `trip_tools`.
"""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import queue
from dataclasses import dataclass
from itertools import pairwise, permutations
from typing import TYPE_CHECKING

import agent_run_id as ari
import notebook

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Executor

SIGHTS = {
    "market": (0, 1),
    "Chiado": (1, 5),
    "Rossio": (2, 8),
    "river": (4, 0),
    "cathedral": (6, 4),
    "Alfama": (9, 4),
    "castle": (9, 7),
}


@dataclass(frozen=True)
class Letter:
    text: str
    caller: str


Letters = queue.Queue[ari.Carried[Letter] | None]


@dataclass(frozen=True)
class Office:
    run_id: ari.RunId
    pool: Executor
    letters: Letters


@ari.traced(name="shortest_walk", kind="tool", capture="output")
def shortest_walk(caller: str) -> tuple[str, ...]:
    """Compare all 5,040 walks past the sights, which is too long for an event loop: it is called in the pool."""
    with notebook.entry("shortest_walk", caller):
        return min(permutations(SIGHTS), key=_length)


def _length(walk: tuple[str, ...]) -> float:
    return sum(math.dist(SIGHTS[here], SIGHTS[there]) for here, there in pairwise(walk))


@ari.traced(name="send_letter", kind="tool")
def send_letter(letter: Letter) -> None:
    with notebook.entry("send_letter", letter.caller):
        ari.current_run().step("stamped", text=letter.text)


def send_letters(letters: Letters, caller: str) -> None:
    """What the clerk does all day, in a run of its own, until there is None instead of a letter."""
    with ari.start_run("clerk", kind="agent"), notebook.entry("clerk", caller):
        while (carried := letters.get()) is not None:
            with carried as letter:  # in the run of whoever put it there, for this letter alone
                send_letter(letter)
            letters.task_done()


@contextlib.contextmanager
def opened() -> Iterator[Office]:
    """Open the office, and close it when the last letter is sent."""
    letters = Letters()
    fork = multiprocessing.get_context("fork")
    with (
        ari.start_run("travel_office") as run,
        notebook.entry("travel_office", "-"),
        ari.BoundProcessPoolExecutor(1, mp_context=fork) as pool,
    ):
        # The first call forks the process: a copy of this one, which by itself would report the office's run for ever.
        # It is made now because no thread runs yet: a fork copies what threads have locked, but not the threads.
        pool.submit(int).result()
        clerk = ari.BoundThread(target=send_letters, args=(letters, "travel_office"))
        clerk.start()
        try:
            yield Office(run.id, pool, letters)
        finally:
            letters.put(None)
            clerk.join()
