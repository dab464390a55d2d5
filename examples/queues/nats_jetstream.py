"""Messages in a stream of NATS JetStream. What is not acknowledged within a time is delivered again."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

import nats
from nats.errors import TimeoutError as NothingYet
from nats.js.api import ConsumerConfig, RetentionPolicy

import agent_run_id as ari
import trips

if TYPE_CHECKING:
    from trips import Handler

URL = os.environ.get("NATS_URL", "nats://localhost:4222")
ACK_WAIT_S = 60.0  # longer than a message takes, or call `message.in_progress()` now and then


async def send(queue: str, message: ari.HandOff[Any]) -> None:
    async with await nats.connect(URL) as server:
        stream = await stream_of(server, queue)
        await stream.publish(queue, message.payload.encode(), headers=message.headers)


async def work(queue: str, handle: Handler, count: int) -> None:
    async with await nats.connect(URL) as server:
        stream = await stream_of(server, queue)
        config = ConsumerConfig(ack_wait=ACK_WAIT_S)
        source = await stream.pull_subscribe(queue, durable="workers", config=config)
        for _ in range(count):
            message = await take(source)
            city, delivery = message.data.decode(), message.metadata.num_delivered
            try:
                with ari.accept(city, headers=message.headers, attempt=delivery, name="book") as run:
                    await asyncio.to_thread(handle, run)
            except Exception:  # what went wrong is in its run
                await message.nak()
            else:
                await message.ack_sync()


async def take(source: Any) -> Any:
    while True:
        try:
            (message,) = await source.fetch(1, timeout=5)
        except NothingYet:
            continue
        return message


async def stream_of(server: Any, queue: str) -> Any:
    stream = server.jetstream()
    await stream.add_stream(name=queue, subjects=[queue], retention=RetentionPolicy.WORK_QUEUE)
    return stream


if __name__ == "__main__":
    trips.show(send, work)
