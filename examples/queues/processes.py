"""Messages that a program has for processes of its own. It sees how each ended, and gives the message to the next."""

from __future__ import annotations

import multiprocessing
from collections import deque
from typing import TYPE_CHECKING, Any

import agent_run_id as ari
import trips

if TYPE_CHECKING:
    from trips import Handler

SPAWN = multiprocessing.get_context("spawn")


def send(queue: deque[ari.HandOff[Any]], message: ari.HandOff[Any]) -> None:
    queue.append(message)


def work(queue: deque[ari.HandOff[Any]], handle: Handler, count: int) -> None:
    for _ in range(count):
        message = queue.popleft()
        process = SPAWN.Process(target=attempt, args=(message, handle))
        process.start()
        process.join()
        if process.exitcode:  # it raised, was killed, or ran out of memory
            queue.append(message)


def attempt(message: ari.HandOff[Any], handle: Handler) -> None:
    with ari.accept(message, name="book") as run:
        handle(run)


if __name__ == "__main__":
    trips.show(send, work, deque())
