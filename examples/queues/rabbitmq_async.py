"""Messages in a quorum queue of RabbitMQ, with aio-pika."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import aio_pika

import agent_run_id as ari
import trips

if TYPE_CHECKING:
    from trips import Handler

URL = os.environ.get("RABBITMQ_URL", "amqp://guest:guest@localhost:5672/%2F")


async def send(queue: str, message: ari.HandOff[Any]) -> None:
    async with await aio_pika.connect(URL) as connection:
        channel, _ = await declared(connection, queue)
        sent = aio_pika.Message(message.payload.encode(), headers=dict(message.headers), delivery_mode=2)
        await channel.default_exchange.publish(sent, queue)  # raises where the broker has not got it


async def work(queue: str, handle: Handler, count: int) -> None:
    async with await aio_pika.connect(URL) as connection:
        channel, source = await declared(connection, queue)
        await channel.set_qos(prefetch_count=1)
        async with source.iterator() as messages:
            for _ in range(count):
                message = await anext(messages)
                city, headers = message.body.decode(), message.headers
                delivery = headers.get("x-acquired-count", headers.get("x-delivery-count", 0)) + 1
                # Acknowledged when the block ends well, given back when not. What went wrong is in its run.
                with suppress(Exception):
                    async with message.process(requeue=True):
                        with ari.accept(city, headers=headers, attempt=delivery, name="book") as run:
                            await asyncio.to_thread(handle, run)


async def declared(connection: Any, queue: str) -> Any:
    channel = await connection.channel()
    return channel, await channel.declare_queue(queue, durable=True, arguments={"x-queue-type": "quorum"})


if __name__ == "__main__":
    trips.show(send, work)
