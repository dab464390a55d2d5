"""Handing over: what is sent, how it is taken, and what a wait is."""

from __future__ import annotations

import json
import pickle
import re
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel

import agent_run_id as ari
from agent_run_id import RunRegistry, SigningKeys, carriers
from tests.journal_programs.programs import run_program
from tests.journal_programs.simulated import Simulated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from agent_run_id import Accepted, HandOff

Sent = dict[str, Any]


class Order(BaseModel):
    city: str


def sent_as_json(message: HandOff[Any]) -> Sent:
    return {"message": message.to_json()}


WAYS: dict[str, Callable[[HandOff[Any]], Sent]] = {
    "itself": lambda message: {"message": message},
    "pickled": lambda message: {"message": pickle.loads(pickle.dumps(message))},  # noqa: S301 - our own
    "JSON": sent_as_json,
    "JSON as text": lambda message: {"message": message.to_json().decode()},
    "a mapping": lambda message: {"message": json.loads(message.to_json())},
    "headers": lambda message: {"message": message.payload, "headers": message.headers},
    "headers of bytes": lambda message: {
        "message": message.payload,
        "headers": [(name.title().encode(), value.encode()) for name, value in message.headers.items()],
    },
}


@pytest.mark.parametrize("way", list(WAYS))
def test_a_run_goes_on_where_its_message_comes(registry: RunRegistry, way: str) -> None:
    with ari.start_run("sender", user_id="ann") as sender:
        message = ari.hand_off("job", {"city": "Oslo"}, key="k", tags=["t"], input="what for")
    record = registry.get(message.run_id)
    assert (record.status, record.name, record.kind, record.key) == ("queued", "job", "job", "k")
    assert (record.parent_id, record.user_id, record.tags, record.input) == (sender.id.value, "ann", ("t",), "what for")
    assert [segment.status for segment in record.segments] == ["queued"]
    with ari.accept(**WAYS[way](message)) as run:
        assert ari.current_run_id() == run.id == message.run_id
        assert (run.id.token, run.payload, run.attempt) == (message.run_id.token, {"city": "Oslo"}, 1)
        with ari.start_run("below"):
            pass
    record = registry.get(message.run_id)
    assert (record.status, record.attempt, record.name) == ("succeeded", 1, "job")
    assert [(segment.status, segment.outcome) for segment in record.segments] == [
        ("queued", "accepted"),
        ("running", "succeeded"),
    ]
    assert record.elapsed is not None
    assert record.ended_at is not None
    assert record.started_at is not None
    assert record.elapsed <= record.ended_at - record.started_at
    assert [child.name for child in registry.children(message.run_id)] == ["below"]


def test_a_message_that_only_carries_the_run_of_its_sender_begins_a_run_below_that(registry: RunRegistry) -> None:
    with ari.start_run("sender") as sender:
        bodies: list[Sent] = [
            {"message": carriers.body.inject({"x": 1})},
            {"message": json.dumps(carriers.body.inject({"x": 1}))},
            {"message": ari.Envelope.wrap({"x": 1})},
            {"message": {"x": 1}, "headers": carriers.headers.inject({})},
        ]
    for given in bodies:
        with ari.accept(**given, name="worker") as run:
            assert (run.id.parent_id, run.payload, run.duplicate_of) == (sender.id.value, {"x": 1}, None)
    assert registry.get(sender.id).refused_ends == 0
    assert [child.name for child in registry.children(sender.id)] == ["worker"] * 4


@pytest.mark.parametrize("theirs", ["the sender's run", "a foreign trace", "nonsense", "nothing"])
@pytest.mark.open_runs
def test_a_run_that_is_handed_over_wins_over_what_comes_along(registry: RunRegistry, theirs: str) -> None:
    """As what a client puts into headers by itself; whichever of the two it stands in."""
    with ari.start_run("sender") as sender:
        message = ari.hand_off("job", 1)
        headers: dict[str, dict[str, str]] = {
            "the sender's run": carriers.headers.inject({}),
            "a foreign trace": {"traceparent": f"00-{'ab' * 16}-{'cd' * 8}-01"},
            "nonsense": {"x-run-id": "nonsense"},
            "nothing": {},
        }
        carrying = carriers.body.inject({"x": 1})
        assert ari.accept(message.to_json(), headers=headers[theirs]).id == message.run_id
        assert ari.accept(carrying, headers=message.headers).duplicate_of == message.run_id
    assert registry.get(sender.id).status == "succeeded"


@pytest.mark.open_runs
def test_a_mark_of_an_earlier_hop_hands_nothing_over(registry: RunRegistry) -> None:
    """A worker that passes on the headers it got has put its own run there."""
    message = ari.hand_off("job", 1)
    with ari.accept("body", headers=message.headers), ari.start_run("step") as step:
        passed_on = carriers.headers.inject(dict(message.headers))
        further = ari.accept("body", headers=passed_on)
        assert (further.id.parent_id, further.duplicate_of) == (step.id.value, None)
    environ = {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in message.headers.items()}
    assert ari.accept("body", headers=environ).duplicate_of == message.run_id


class Hostile:
    """Whatever is asked of it raises."""

    @property
    def __class__(self) -> Any:
        raise ValueError("no class")

    @__class__.setter
    def __class__(self, value: Any) -> None: ...

    def __getattr__(self, name: str) -> Any:
        raise ValueError(name)


@pytest.mark.open_runs
def test_nothing_in_a_message_raises(registry: RunRegistry) -> None:
    message = ari.hand_off("job", 1)
    assert ari.accept(Hostile(), headers=message.headers).id == message.run_id
    assert ari.accept(message.to_json(), headers=Hostile()).duplicate_of == message.run_id
    huge = ari.hand_off("job", 1)
    run = ari.accept(huge, attempt=10**5000)
    assert run.attempt == registry.get(huge.run_id).attempt == 2**31 - 1


@pytest.mark.parametrize("given", [None, b"", "plain text", b"\xff", "[" * 10_000, 7, {"x": 1}, {"agent_run": 7}])
def test_a_message_without_a_run_begins_a_tree_of_its_own(registry: RunRegistry, given: Any) -> None:
    with ari.start_run("consumer"), ari.accept(given, attempt=3) as run:
        assert run.id.is_root
        assert run.attempt == 3
        assert run.payload == ({} if given == {"agent_run": 7} else given)
    assert registry.get(run.id).status == "succeeded"


@pytest.mark.open_runs
def test_a_payload_is_a_model_or_what_json_has(registry: RunRegistry) -> None:
    assert ari.accept(ari.hand_off("job", Order(city="Oslo")).to_json()).payload == {"city": "Oslo"}
    assert ari.accept(ari.hand_off("job", "ü \udc80").to_json()).payload == "ü ?"
    message = ari.hand_off("job", {"at": object()})
    with pytest.raises(TypeError, match=r"object is nothing that JSON has; give hand_off .* headers"):
        message.to_json()
    round_and_round: list[Any] = []
    round_and_round.append(round_and_round)
    for payload in (round_and_round, float("nan")):
        with pytest.raises(TypeError, match="the payload cannot be sent as JSON"):
            ari.hand_off("job", payload).to_json()
    assert ari.accept("not ours", headers=message.headers).id == message.run_id


@pytest.mark.open_runs
def test_policies_and_keys_hold_for_messages_too(registry: RunRegistry) -> None:
    message = ari.hand_off("job", 1)
    linked = ari.accept(message.to_json(), policy="link")
    assert linked.id.is_root
    assert registry.get(linked.id).links == (message.run_id.token,)
    assert ari.accept(message.to_json(), policy="ignore").id.is_root
    keys = SigningKeys({"k": b"0" * 32})
    refused = ari.accept(message.to_json(), keys=keys)
    assert (refused.id.is_root, str(registry.get(refused.id).refused_parent)[:8]) == (True, "unsigned")
    assert registry.get(message.run_id).status == "queued"
    ari.configure(signing_keys=keys)
    try:
        signed = ari.hand_off("job", 1)
        assert ari.accept(signed.to_json(), keys=keys).id == signed.run_id
        assert ari.accept("x", headers=signed.headers, keys=keys).duplicate_of == signed.run_id
    finally:
        ari.configure(signing_keys=None)
    with pytest.raises(ari.ConfigurationError, match="a policy is one of"):
        ari.accept(message, policy="maybe")  # type: ignore[arg-type]


def test_what_cannot_be_sent_has_failed_and_what_is_taken_back_is_cancelled(registry: RunRegistry) -> None:
    with pytest.raises(OSError, match="no route"), ari.hand_off("job", 1) as message:
        raise OSError("no route")
    record = registry.get(message.run_id)
    assert record.error is not None
    assert (record.status, record.error.message, record.segments[0].outcome) == ("failed", "no route", "failed")
    with ari.hand_off("job", 1) as message:
        pass
    assert registry.get(message.run_id).status == "queued"
    message.cancel()
    assert registry.get(message.run_id).status == "cancelled"
    pickle.loads(pickle.dumps(message)).cancel()  # noqa: S301 - not the sender's any more
    assert registry.get(message.run_id).refused_ends == 0


@pytest.mark.open_runs
def test_work_as_deep_as_runs_may_be_can_be_handed_over(registry: RunRegistry) -> None:
    ari.configure(max_depth=1)
    try:
        with ari.start_run("sender"):
            message = ari.hand_off("job", 1)
        assert ari.accept(message.to_json()).id == message.run_id
        again = ari.accept(message.to_json())
        assert (again.duplicate_of, again.id.depth) == (message.run_id, 1)
        with ari.RunContext(message.run_id), pytest.raises(ari.RunDepthError):
            ari.hand_off("deeper", 1)
    finally:
        ari.configure(max_depth=65_535)


@pytest.mark.open_runs
def test_the_count_of_a_broker_is_believed_where_nothing_else_is_known(registry: RunRegistry) -> None:
    message = ari.hand_off("job", 1)
    assert ari.accept(message, attempt=4).attempt == 4
    assert registry.get(message.run_id).attempt == 4
    for odd in (0, -7, True, "3", None):
        assert ari.accept(ari.hand_off("job", 1), attempt=odd).attempt == 1  # type: ignore[arg-type]


def test_a_batch_is_one_run_with_a_link_to_each(registry: RunRegistry) -> None:
    with ari.start_run("sender") as sender:
        messages = [ari.hand_off("item", place, key=f"k{place}") for place in range(4)]
    with ari.accept_batch([ari.accept(messages[0]), *(message.to_json() for message in messages[1:])]) as batch:
        assert [run.payload for run in batch.runs] == [0, 1, 2, 3]
        with pytest.raises(ValueError, match="bad item"), batch.runs[1]:
            raise ValueError("bad item")
        batch.runs[2].end(status="cancelled", output="not today")
    assert [record.status for record in registry.children(sender.id)] == [
        "succeeded",
        "failed",
        "cancelled",
        "succeeded",
    ]
    assert {record.id for record in registry.links(batch.id).outgoing} == {message.run_id.value for message in messages}
    assert (registry.get(batch.id).parent_id, registry.get(batch.id).status) == (None, "succeeded")


def test_a_batch_that_fails_takes_the_rest_along(registry: RunRegistry) -> None:
    messages = [ari.hand_off("item", place) for place in range(2)]
    with pytest.raises(ValueError, match="all"), ari.accept_batch(messages) as batch:  # noqa: PT012
        batch.runs[0].end()
        raise ValueError("all")
    assert [registry.get(message.run_id).status for message in messages] == ["succeeded", "failed"]
    assert registry.get(batch.id).status == "failed"


def test_what_waits_in_a_batch_goes_on_waiting(registry: RunRegistry) -> None:
    messages = [ari.hand_off("item", place) for place in range(3)]
    with ari.accept_batch(messages) as batch:
        batch.runs[0].pause("a person")
    assert [registry.get(message.run_id).status for message in messages] == ["paused", "succeeded", "succeeded"]
    messages = [ari.hand_off("item", place) for place in range(2)]
    with ari.accept_batch(messages) as batch:
        batch.pause("a person")
    assert {registry.get(run.id).status for run in (batch, *batch.runs)} == {"paused"}
    messages = [ari.hand_off("item", place) for place in range(2)]
    with ari.accept_batch(messages) as batch, batch.pause("a moment"):
        pass
    assert {registry.get(run.id).status for run in (batch, *batch.runs)} == {"succeeded"}


def test_a_batch_that_never_was_keeps_nothing(registry: RunRegistry) -> None:
    def messages() -> Iterator[HandOff[int]]:
        yield message
        raise OSError("connection lost")

    message = ari.hand_off("item", 1)
    with pytest.raises(OSError, match="connection lost"):
        ari.accept_batch(messages())
    assert registry.get(message.run_id).status == "failed"


def test_a_wait_is_a_part_of_the_run(registry: RunRegistry) -> None:
    with ari.start_run("agent") as run:
        with run.pause("a person decides"):
            waiting = registry.get(run.id)
        run.step("on")
    assert (waiting.status, waiting.segments[-1].reason) == ("paused", "a person decides")
    record = registry.get(run.id)
    assert (record.status, record.attempt) == ("succeeded", 1)
    assert [(segment.status, segment.outcome) for segment in record.segments] == [
        ("running", "paused"),
        ("paused", "resumed"),
        ("running", "succeeded"),
    ]
    assert all(
        one.ended_at == other.started_at for one, other in zip(record.segments, record.segments[1:], strict=False)
    )
    assert registry.find(text="decides")[0].id == run.id.value


def test_a_run_that_waits_outlives_its_block_and_its_process(registry: RunRegistry) -> None:
    program = """
import agent_run_id as ari
with ari.start_run("agent", key="k") as run:
    run.pause("approval")
    run.pause("once more, which says nothing new")
print(run.id.token)
"""
    token = run_program(program, directory=registry.directory).strip()
    record = registry.get(token)
    assert (record.status, record.segments[-1].reason, record.ended_at) == ("paused", "approval", None)
    with ari.resume(token) as run:
        run.step("approved")
    record = registry.get(token)
    assert (record.status, record.name, record.key, record.attempt) == ("succeeded", "agent", "k", 1)
    assert len({segment.process_id for segment in record.segments}) == 2


def test_an_error_ends_a_run_that_waits(registry: RunRegistry) -> None:
    """Whatever was to be kept for whoever resumes it may not be there."""
    with pytest.raises(OSError, match="not saved"), ari.start_run("agent") as run:  # noqa: PT012
        run.pause("approval")
        raise OSError("not saved")
    assert registry.get(run.id).status == "failed"


def test_a_wait_that_somebody_else_ended_is_not_ended_again(registry: RunRegistry) -> None:
    with ari.start_run("agent") as run:
        with run.pause("approval"):
            other = ari.resume(run.id)
            assert other.duplicate_of is None
        run.step("here too")
    assert registry.get(run.id).status == "running"
    other.end(output=1)
    record = registry.get(run.id)
    assert (record.status, record.output, record.refused_ends) == ("succeeded", 1, 0)


def test_where_there_is_no_run_nothing_waits() -> None:
    with ari.current_run().pause("nobody"):
        pass
    assert isinstance(ari.current_run(), ari.NoRun)


def test_without_recording_work_goes_on_all_the_same() -> None:
    program = """
import agent_run_id as ari
message = ari.hand_off("job", [1])
with ari.accept(message.to_json()) as run:
    assert run.payload == [1] and run.id == message.run_id and run.attempt == 1
    with run.pause("x"):
        pass
    run.pause("y")
with ari.resume(run.id) as again:
    assert again.id == run.id
with ari.accept_batch([message, message.to_json()]) as batch:
    assert len(batch.runs) == 2
print("on")
"""
    assert run_program(program) == "on\n"


def test_where_no_claims_can_be_made_events_alone_tell(registry: RunRegistry, tmp_path: Path) -> None:
    """As on a file system without links; of two workers then both believe to be the first."""
    message = ari.hand_off("job", 1)
    (tmp_path / "claims").touch()
    first, second = Simulated(tmp_path), Simulated(tmp_path)
    runs: list[Accepted[Any]] = []
    for process in (first, second):
        with process.at_work():
            runs.append(ari.accept(message.to_json()))
            runs[-1].pause("x")
    first.die()
    second.die()
    with RunRegistry(tmp_path) as other:
        record = other.get(message.run_id)
        assert (record.status, record.attempt) == ("paused", 2)
        assert [attempt.status for attempt in record.attempts] == [None, "paused"]


@pytest.mark.open_runs
def test_a_run_that_waits_is_found_with_its_lineage_by_its_bare_id(registry: RunRegistry) -> None:
    """What the process that resumes it sends on is to know where it belongs."""
    with ari.start_run("top"), ari.start_run("below") as run:
        run.pause("x")
    assert ari.resume(run.id.value).id.token == run.id.token


@pytest.mark.open_runs
def test_what_failed_is_tried_again_under_the_key_it_is_given(registry: RunRegistry) -> None:
    with ari.start_run("sender") as sender:
        message = ari.hand_off("job", 1, key="k")
    ari.accept(message).end(status="failed")
    retry = ari.accept(message, name="job", key="k")
    with retry.pause("a person"):
        pass
    waiting = ari.accept(message)
    assert (waiting.duplicate_of, waiting.first) == (retry.id, "running")
    retry.pause("another")
    assert ari.accept(message).first == "paused"
    resumed = ari.resume(retry.id)
    resumed.end(status="failed")
    last = ari.accept(message, name="job", key="k")
    assert (last.retry_of, last.attempt) == (retry.id, 3)
    last.end()
    assert ari.accept(message).first == "succeeded"
    tried = [record for record in registry.children(sender.id) if record.duplicate_of is None]
    assert [(record.key, record.status) for record in tried] == [("k", "failed"), ("k", "failed"), ("k", "succeeded")]


def test_a_message_does_not_show_what_it_is_about() -> None:
    assert "secret" not in repr(ari.hand_off("job", "secret"))


@pytest.mark.parametrize("bad", ["nonsense", "1.2", "", None, 7])
def test_what_is_no_run_cannot_be_resumed(bad: Any) -> None:
    with pytest.raises(ari.InvalidRunIdError):
        ari.resume(bad)


@pytest.mark.anyio
async def test_it_is_a_run_like_any_other_in_coroutines(registry: RunRegistry) -> None:
    async with ari.accept(ari.hand_off("job", 1)) as run:
        assert ari.current_run() is run
    assert registry.get(run.id).status == "succeeded"


def test_a_person_sees_what_waits_and_what_is_done_again(registry: RunRegistry) -> None:
    with ari.start_run("sender") as sender:
        message = ari.hand_off("job", 1)
        ari.hand_off("never", 1)
    with pytest.raises(ValueError, match="x"), ari.accept(message):
        raise ValueError("x")
    with ari.accept(message, name="job") as retry:
        ari.accept(message, name="job").end()
        retry.pause("a person looks")
    shown = str(registry.tree(sender.id))
    first, second = message.run_id.short(), retry.id.short()
    assert re.search(r"… never \[\w{8}\] job queued for \d", shown)
    assert re.search(rf"✗ job \[{first}\] job failed in .* · ValueError: x", shown)
    assert re.search(rf"job paused for \d.*: a person looks \(attempt 2, after {first}\)", shown)
    assert re.search(rf"   └─ ✓ job .* \(duplicate of {second}\)", shown)
