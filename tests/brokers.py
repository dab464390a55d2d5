"""The queues that hand-over is tested with: the programs of `examples/queues`, each with a queue of its own."""

from __future__ import annotations

import asyncio
import importlib
import json
import uuid
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import nats
import pika
import pytest
import redis
from nats.js.errors import NotFoundError

import trips
from tests.journal_programs.programs import Program, run_program
from tests.servers import url_of

if TYPE_CHECKING:
    from agent_run_id import HandOff

__all__ = ["COUNTING", "EXAMPLES", "IMPATIENT", "TRANSPORTS", "Transport"]

HERE = Path(__file__).parent.parent
EXAMPLES = HERE / "examples" / "queues"

_BEGIN = f"""
import sys
sys.path[:0] = [{str(HERE)!r}, {str(EXAMPLES)!r}]
import importlib, json, trips
"""
_WORKER = f"""{_BEGIN}
from tests import queue_handlers
name, settings, queue, handler, count = json.loads(sys.argv[1])
transport = importlib.import_module(name)
for setting, value in settings.items():
    setattr(transport, setting, value)
trips.call(transport.work, queue, getattr(queue_handlers, handler), count)
"""
_SENDER = f"""{_BEGIN}
import agent_run_id as ari
name, queue = sys.argv[1:]
with ari.start_run("plan a trip"), ari.hand_off("book a trip", "Oslo") as message:
    trips.call(importlib.import_module(name).send, queue, message)
print(message.run_id)
"""


class Transport(ABC):
    """A queue that nobody else uses.

    Attributes:
        name: The name of the program that sends and works.
        server: What it needs.
        soon: What to set in it, so that it delivers again what a worker has had for a moment only.
        counts: Whether whoever delivers says how often.
        queue: The queue.
    """

    name: ClassVar[str]
    server: ClassVar[str | None] = None
    soon: ClassVar[dict[str, float]] = {}
    counts: ClassVar[bool] = True
    queue: str

    def __init__(self, directory: Path) -> None:
        self.queue = f"test-{uuid.uuid4().hex}"
        self._directory = directory

    def send(self, message: HandOff[Any]) -> None:
        trips.call(importlib.import_module(self.name).send, self.queue, message)

    def send_elsewhere(self, *, directory: str) -> str:
        """Have a process send a message that ends then; the id of its run."""
        return run_program(_SENDER, self.name, self.queue, directory=directory).strip()

    def worker(self, handler: str, *, directory: str, count: int = 1, soon: bool = False) -> Program:
        """A worker in a process of its own, which records in a directory and ends when it has handled so many."""
        settings = self.soon if soon else {}
        return Program(_WORKER, json.dumps([self.name, settings, self.queue, handler, count]), directory=directory)

    @abstractmethod
    def left(self) -> int:
        """How many messages are not acknowledged."""

    @abstractmethod
    def delete(self) -> None:
        """Leave nothing of it on the server."""


class Spool(Transport):
    name = "spool"
    counts = False

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.queue = str(directory / "spool")

    def left(self) -> int:
        return len(list(Path(self.queue).iterdir()))

    def delete(self) -> None:
        """Nothing: it is in a directory of the test."""


class RedisList(Transport):
    name = "redis_list"
    server = "redis"
    counts = False

    def left(self) -> int:
        with redis.Redis.from_url(url_of("redis")) as server:
            lists: Any = [self.queue, *server.scan_iter(match=f"{self.queue}:taken:*")]
            return sum(int(server.llen(each)) for each in lists)

    def delete(self) -> None:
        with redis.Redis.from_url(url_of("redis")) as server:
            for key in server.scan_iter(match=f"{self.queue}*"):
                server.delete(key)


class RedisStream(RedisList):
    name = "redis_stream"
    soon: ClassVar[dict[str, float]] = {"IDLE_MS": 0}
    counts = True

    def left(self) -> int:
        with redis.Redis.from_url(url_of("redis")) as server:
            (group,) = server.xinfo_groups(self.queue)
            return int(group["pending"]) + int(group["lag"])


class RabbitMQ(Transport):
    name = "rabbitmq"
    server = "rabbitmq"

    def left(self) -> int:
        with pika.BlockingConnection(pika.URLParameters(url_of("rabbitmq"))) as connection:
            return int(connection.channel().queue_declare(self.queue, passive=True).method.message_count)

    def delete(self) -> None:
        with pika.BlockingConnection(pika.URLParameters(url_of("rabbitmq"))) as connection:
            connection.channel().queue_delete(self.queue)


class AsyncRabbitMQ(RabbitMQ):
    name = "rabbitmq_async"


class JetStream(Transport):
    name = "nats_jetstream"
    server = "nats"
    soon: ClassVar[dict[str, float]] = {"ACK_WAIT_S": 1.0}

    def left(self) -> int:
        return asyncio.run(self._left(delete=False))

    def delete(self) -> None:
        asyncio.run(self._left(delete=True))

    async def _left(self, *, delete: bool) -> int:
        async with await nats.connect(url_of("nats")) as server:
            stream = server.jetstream()
            try:
                state = (await stream.stream_info(self.queue)).state
                if delete:
                    await stream.delete_stream(self.queue)
            except NotFoundError:
                return 0
            return state.messages


def _params(kinds: list[type[Transport]]) -> list[Any]:
    return [
        pytest.param(kind, id=kind.name, marks=[pytest.mark.service(kind.server)] if kind.server else [])
        for kind in kinds
    ]


_KINDS: list[type[Transport]] = [Spool, RedisList, RedisStream, RabbitMQ, AsyncRabbitMQ, JetStream]
TRANSPORTS = _params(_KINDS)
COUNTING = _params([kind for kind in _KINDS if kind.counts])
IMPATIENT = _params([kind for kind in _KINDS if kind.soon])
"""Those that deliver again what a worker has had for too long, though it lives."""
