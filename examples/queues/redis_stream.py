"""Messages in a Redis stream, read by a consumer group. What is not acknowledged goes to another worker in time."""

from __future__ import annotations

import os
import uuid
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import redis

import agent_run_id as ari
import trips

if TYPE_CHECKING:
    from trips import Handler

URL = os.environ.get("REDIS_URL", "redis://localhost:6379")
GROUP = "workers"
IDLE_MS = 60_000  # longer than a message takes, or living workers take it from each other


def send(queue: str, message: ari.HandOff[Any]) -> None:
    with redis.Redis.from_url(URL) as server:
        server.xadd(queue, {"city": message.payload, **message.headers})


def work(queue: str, handle: Handler, count: int) -> None:
    me = uuid.uuid4().hex
    with redis.Redis.from_url(URL, decode_responses=True) as server:
        with suppress(redis.ResponseError):  # somebody has made the group already
            server.xgroup_create(queue, GROUP, id="0", mkstream=True)
        for _ in range(count):
            entry, fields, delivery = take(server, queue, me)
            try:
                with ari.accept(fields["city"], headers=fields, attempt=delivery, name="book") as run:
                    handle(run)
            except Exception:  # what went wrong is in its run; the message has waited long enough for the next to ask
                server.xclaim(queue, GROUP, me, 0, [entry], idle=IDLE_MS, justid=True)
            else:
                server.xack(queue, GROUP, entry)


def take(server: Any, queue: str, me: str) -> tuple[str, dict[str, str], int]:
    """The next message: first of those that somebody has had for too long. Its id, its fields, and which delivery."""
    while True:
        _, entries, *_ = server.xautoclaim(queue, GROUP, me, IDLE_MS, count=1)
        if not entries:
            streams = server.xreadgroup(GROUP, me, {queue: ">"}, count=1, block=1000)
            entries = [entry for _, new in streams for entry in new]
        for entry, fields in entries:
            (pending,) = server.xpending_range(queue, GROUP, entry, entry, 1)
            return entry, fields, pending["times_delivered"]


if __name__ == "__main__":
    trips.show(send, work)
