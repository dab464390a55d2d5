"""What is the same over every queue: the messages, how one is handled, and the tree of it all."""

from __future__ import annotations

import asyncio
import inspect
import multiprocessing
import os
from collections.abc import Callable
from typing import Any

import agent_run_id as ari

Handler = Callable[[ari.Accepted[Any]], None]


def book(run: ari.Accepted[Any]) -> None:
    """Handle a message. The railway does not answer when it is first asked for Bergen."""
    with ari.start_run("ask the railway", kind="tool"):
        if run.payload == "Bergen" and run.attempt == 1:
            raise TimeoutError("no answer in 5 s")


def show(send: Callable[..., Any], work: Callable[..., Any], queue: Any = None) -> None:
    """Send two messages, have another process handle what is delivered, and print the tree."""
    queue = os.environ.get("QUEUE", "trips") if queue is None else queue
    with ari.start_run("plan a trip", kind="agent") as trip:
        for city in ("Oslo", "Bergen"):
            with ari.hand_off("book", city, key=city) as message:
                call(send, queue, message)
    worker = multiprocessing.get_context("spawn").Process(target=call, args=(work, queue, book, 3))
    worker.start()
    worker.join()
    print(ari.RunRegistry().tree(trip.id))


def call(function: Callable[..., Any], *args: Any) -> None:
    """Call a function, or a coroutine function."""
    result = function(*args)
    if inspect.iscoroutine(result):
        asyncio.run(result)
