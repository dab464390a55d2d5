"""The loop of a worker."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

import agent_run_id as ari
from agent_run_id import Accepted, RunRegistry

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


class Message(NamedTuple):
    """As a client gives it."""

    data: bytes
    headers: dict[str, str]
    delivered: int


def sent(*payloads: Any) -> list[Message]:
    messages = [ari.hand_off("job", payload) for payload in payloads]
    return [Message(message.to_json(), {}, 1) for message in messages]


def work(run: Accepted[Any]) -> None:
    assert ari.current_run() is run
    if run.payload == "bad":
        raise ValueError("bad")
    if run.payload == "stop":
        raise KeyboardInterrupt


async def work_async(run: Accepted[Any]) -> None:
    work(run)


async def each(messages: list[Message]) -> AsyncGenerator[Message]:
    for message in messages:
        yield message


def statuses(registry: RunRegistry) -> list[str | None]:
    return [record.status for record in registry.find(order="oldest")]


def data(message: Message) -> bytes:
    return message.data


def test_each_message_is_handled_in_its_run_and_acknowledged_when_that_is_over(registry: RunRegistry) -> None:
    told: list[str] = []

    def acknowledge(message: Message) -> None:
        told.append(f"done {statuses(registry)}")

    def reject(message: Message, error: Exception) -> None:
        told.append(f"{error} {statuses(registry)}")

    ari.consume(sent("good", "bad", "good"), work, body=data, acknowledge=acknowledge, reject=reject)
    assert told == [
        "done ['succeeded', 'queued', 'queued']",
        "bad ['succeeded', 'failed', 'queued']",
        "done ['succeeded', 'failed', 'succeeded']",
    ]


def test_without_reject_the_loop_ends_with_the_error(registry: RunRegistry) -> None:
    with pytest.raises(ValueError, match="bad"):
        ari.consume(sent("good", "bad", "good"), work, body=data)
    assert statuses(registry) == ["succeeded", "failed", "queued"]


def test_a_mistake_in_the_call_is_no_fault_of_a_message(registry: RunRegistry) -> None:
    rejected: list[Message] = []
    with pytest.raises(ari.ConfigurationError, match="a policy is one of"):
        ari.consume(sent("good"), work, body=data, reject=lambda m, e: rejected.append(m), policy="maybe")  # type: ignore[arg-type]
    assert rejected == []
    assert statuses(registry) == ["queued"]


def test_an_interrupt_is_no_business_of_reject(registry: RunRegistry) -> None:
    with pytest.raises(KeyboardInterrupt):
        ari.consume(sent("stop", "good"), work, body=data, reject=lambda message, error: None)
    assert statuses(registry) == ["cancelled", "queued"]


def test_headers_and_the_count_of_deliveries_come_from_the_client(registry: RunRegistry) -> None:
    message = ari.hand_off("job", "x")
    seen: list[Accepted[Any]] = []
    ari.consume(
        [Message(b"mine", message.headers, 3)],
        seen.append,
        body=data,
        headers=lambda message: message.headers,
        attempt=lambda message: message.delivered,
        name="job",
        expected=ValueError,
    )
    assert [(run.id, run.payload, run.attempt) for run in seen] == [(message.run_id, b"mine", 3)]


@pytest.mark.anyio
async def test_coroutine_functions_are_awaited(registry: RunRegistry) -> None:
    told: list[str] = []

    async def acknowledge(message: Message) -> None:
        told.append("done")

    async def reject(message: Message, error: Exception) -> None:
        told.append(str(error))

    messages = each(sent("good", "bad", "good"))
    await ari.aconsume(messages, work_async, body=data, acknowledge=acknowledge, reject=reject)
    assert told == ["done", "bad", "done"]
    assert statuses(registry) == ["succeeded", "failed", "succeeded"]
    async with aclosing(each(sent("bad"))) as bad:
        with pytest.raises(ValueError, match="bad"):
            await ari.aconsume(bad, work_async, body=data)
