"""`Envelope`: a message body that is a pydantic model, with the run of its sender."""

from __future__ import annotations

import json
import pickle
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, TypeAdapter, ValidationError

from agent_run_id import (
    ConfigurationError,
    Envelope,
    RunContext,
    RunId,
    SigningKeys,
    carriers,
    current_run_id,
    start_run,
)
from agent_run_id.testing import run_ids
from agent_run_id.testing.strategies import json_values
from tests.strategies import broken_tokens, signing_keys, signings


class Order(BaseModel):
    item: str
    count: int = 1


orders = st.builds(Order, item=st.text(), count=st.integers())


def sent(run_id: RunId | None) -> str | None:
    return None if run_id is None else run_id.token


@given(orders, run_ids(), signings)
def test_a_payload_and_its_run_survive_the_wire(order: Order, run_id: RunId, keys: SigningKeys | None) -> None:
    envelope = Envelope.wrap(order, run_id, keys=keys)
    for text in (
        envelope.model_dump_json(),
        json.dumps(envelope.model_dump()),
        json.dumps(envelope.model_dump(mode="json")),
    ):
        again = Envelope[Order].model_validate_json(text)
        assert again.payload == order
        found = again.extract(keys=keys)
        assert sent(found.run_id or found.link) == run_id.token
        assert repr(carriers.body.extract(text, keys=keys)) == repr(found)
        assert repr(carriers.body.extract(again, keys=keys)) == repr(found)
    copied = pickle.loads(pickle.dumps(envelope))  # noqa: S301
    assert copied == envelope


@given(orders, run_ids(), run_ids(), signings)
def test_what_carriers_body_writes_is_an_envelope(
    order: Order, run_id: RunId, earlier: RunId, keys: SigningKeys | None
) -> None:
    bare = json.dumps({"payload": order.model_dump()})
    wrapped = Envelope.wrap(order, earlier).model_dump_json()
    for text in (bare, wrapped):
        envelope = Envelope[Order].model_validate_json(carriers.body.inject(text, run_id, keys=keys))
        assert (envelope.payload, envelope.agent_run) == (order, Envelope.wrap(order, run_id, keys=keys).agent_run)
    emptied = Envelope[Order].model_validate_json(carriers.body.inject(wrapped, None))
    assert emptied == Envelope[Order](payload=order)


@given(json_values.filter(lambda value: value is not None) | broken_tokens())
def test_what_is_no_run_does_not_make_the_message_invalid(junk: Any) -> None:
    for value in (junk, {"run_id": junk}, {"run_id": "x", "sig": junk}, [junk], {"run_id": "x" * 200}):
        before = carriers.refusals().get("malformed", 0)
        text = json.dumps({"agent_run": value, "payload": {"item": "a"}})
        envelope = Envelope[Order].model_validate_json(text)
        found = envelope.extract()
        assert (envelope.payload, found.run_id, found.link) == (Order(item="a"), None, None)
        with envelope.open() as order:
            assert (order, current_run_id()) == (envelope.payload, None)
        assert carriers.refusals()["malformed"] > before


def test_a_payload_that_is_invalid_still_is() -> None:
    with pytest.raises(ValidationError, match="item"):
        Envelope[Order].model_validate({"payload": {}})
    with pytest.raises(ValidationError, match="payload"):
        Envelope[Order].model_validate_json("{}")


def test_it_is_wrapped_in_the_current_run_and_opened_in_the_senders() -> None:
    with start_run("send") as sender:
        envelope = Envelope[Order].wrap(Order(item="a"))
    assert envelope.agent_run is not None
    assert envelope.agent_run.run_id == sender.id.token
    with RunContext(RunId.generate()) as own:
        with envelope.open() as order:
            assert (order.item, sent(current_run_id())) == ("a", sender.id.token)
        assert current_run_id() is own.run_id
        with envelope.open(policy="ignore"):
            assert current_run_id() is None
        with Envelope(
            payload=1
        ).open() as number:  # sent outside any run: not handled in one that happens to be current
            assert (number, current_run_id()) == (1, None)
    assert Envelope.wrap(1).agent_run is None
    assert Envelope.wrap(1, RunId.generate()).agent_run is not None


@given(run_ids().filter(lambda run_id: run_id.depth < 65_535), signing_keys, signing_keys)
def test_with_keys_only_what_they_signed_is_opened_in_its_run(
    run_id: RunId, keys: SigningKeys, others: SigningKeys
) -> None:
    signed = Envelope.wrap(1, run_id, keys=keys)
    assert sent(signed.extract(keys=keys).run_id) == run_id.token
    with signed.open(keys=keys):
        assert sent(current_run_id()) == run_id.token
    for envelope, asked in ((Envelope.wrap(1, run_id), keys), (signed, others)):
        found = envelope.extract(keys=asked)
        if asked.problem(run_id.token, keys.sign(run_id.token)) is None and envelope is signed:
            continue  # the same key twice
        assert (found.run_id, sent(found.link)) == (None, run_id.token)
    assert sent(signed.extract(policy="link").link) == run_id.token


def test_there_are_no_other_policies() -> None:
    envelope = Envelope.wrap(1)
    policy: Any = "believe"
    with pytest.raises(ConfigurationError, match="trust, link, ignore"):
        envelope.extract(policy=policy)
    with pytest.raises(ValueError, match="believe"), envelope.open(policy=policy):
        pass


@given(run_ids(), signings)
def test_its_schema_describes_what_is_written(run_id: RunId, keys: SigningKeys | None) -> None:
    schema = Envelope[Order].model_json_schema()
    assert schema["required"] == ["payload"]
    assert schema["properties"]["payload"] == {"$ref": "#/$defs/Order"}
    lineage = schema["$defs"]["Lineage"]
    assert lineage["required"] == ["run_id"]
    written = json.loads(Envelope.wrap(1, run_id, keys=keys).model_dump_json(exclude_none=True))["agent_run"]
    assert written.keys() <= lineage["properties"].keys()
    assert len(written["run_id"]) <= lineage["properties"]["run_id"]["maxLength"]
    longest = next(kind for kind in lineage["properties"]["sig"]["anyOf"] if kind["type"] == "string")["maxLength"]
    assert len(written.get("sig", "")) <= longest
    assert all(re.search(r"\w", lineage["properties"][name]["description"]) for name in written)


def test_it_is_generic_over_anything_pydantic_knows() -> None:
    kinds: list[tuple[Any, Any]] = [
        (Envelope[int], 1),
        (Envelope[list[Order]], [Order(item="a")]),
        (Envelope[str | None], None),
        (Envelope[dict[str, int]], {"a": 1}),
    ]
    for kind, payload in kinds:
        with RunContext(RunId.generate()):
            text = kind.wrap(payload).model_dump_json()
        assert kind.model_validate_json(text).payload == payload
        assert TypeAdapter(kind).validate_json(text).payload == payload
    with pytest.raises(ValidationError):
        Envelope[int].model_validate({"payload": "no number"})
