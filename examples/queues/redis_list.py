"""Messages in a Redis list. Each worker moves its message to a list of its own, until it is done with it."""

from __future__ import annotations

import os
import uuid
from typing import TYPE_CHECKING, Any

import redis

import agent_run_id as ari
import trips

if TYPE_CHECKING:
    from trips import Handler

URL = os.environ.get("REDIS_URL", "redis://localhost:6379")


def send(queue: str, message: ari.HandOff[Any]) -> None:
    with redis.Redis.from_url(URL) as server:
        server.lpush(queue, message.to_json())


def work(queue: str, handle: Handler, count: int) -> None:
    taken = f"{queue}:taken:{uuid.uuid4().hex}"
    # The name of the connection: the server sees it end, however the worker dies.
    with redis.Redis.from_url(URL, client_name=taken) as server:
        for _ in range(count):
            body = take(server, queue, taken)
            try:
                with ari.accept(body, name="book") as run:
                    handle(run)
            except Exception:  # what went wrong is in its run; the message goes to the back of the queue
                with server.pipeline(transaction=True) as both:
                    both.lrem(taken, 1, body).lpush(queue, body).execute()
            else:
                server.lrem(taken, 1, body)


def take(server: Any, queue: str, taken: str) -> bytes:
    body = None
    while body is None:
        server.sadd(f"{queue}:workers", taken)
        give_back(server, queue)
        body = server.blmove(queue, taken, 1, "RIGHT", "LEFT")
    return bytes(body)


def give_back(server: Any, queue: str) -> None:
    """Put back what workers had whose connection is gone, to be the next that is taken."""
    workers = server.smembers(f"{queue}:workers")  # before the connections: who is added later is alive
    alive = {client["name"].encode() for client in server.client_list()}
    for worker in workers - alive:
        while server.lmove(worker, queue, "LEFT", "RIGHT") is not None:
            pass
        server.srem(f"{queue}:workers", worker)


if __name__ == "__main__":
    trips.show(send, work)
