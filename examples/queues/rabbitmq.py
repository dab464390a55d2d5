"""Messages in a quorum queue of RabbitMQ, with pika. What is not acknowledged comes again when a connection ends."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pika

import agent_run_id as ari
import trips

if TYPE_CHECKING:
    from trips import Handler

URL = os.environ.get("RABBITMQ_URL", "amqp://guest:guest@localhost:5672/%2F")


def send(queue: str, message: ari.HandOff[Any]) -> None:
    with pika.BlockingConnection(pika.URLParameters(URL)) as connection:
        channel = declared(connection, queue)
        channel.confirm_delivery()  # raises where the broker has not got it
        properties = pika.BasicProperties(headers=message.headers, delivery_mode=pika.DeliveryMode.Persistent)
        channel.basic_publish("", queue, message.payload.encode(), properties)


def work(queue: str, handle: Handler, count: int) -> None:
    with pika.BlockingConnection(pika.URLParameters(URL)) as connection:
        channel = declared(connection, queue)
        channel.basic_qos(prefetch_count=1)
        for _, (method, properties, body) in zip(range(count), channel.consume(queue), strict=False):
            headers = properties.headers or {}
            delivery = headers.get("x-acquired-count", headers.get("x-delivery-count", 0)) + 1
            try:
                with ari.accept(body.decode(), headers=headers, attempt=delivery, name="book") as run:
                    handle(run)
            except Exception:  # what went wrong is in its run; the broker counts a reject as a failure, and not a nack
                channel.basic_reject(method.delivery_tag, requeue=True)
            else:
                channel.basic_ack(method.delivery_tag)


def declared(connection: Any, queue: str) -> Any:
    channel = connection.channel()
    channel.queue_declare(queue, durable=True, arguments={"x-queue-type": "quorum"})
    return channel


if __name__ == "__main__":
    trips.show(send, work)
