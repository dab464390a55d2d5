"""Signing: what comes from one of our own is believed, and nothing else is where keys are configured."""

from __future__ import annotations

import itertools
import pickle
import traceback
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent_run_id import ConfigurationError, Inbound, RunContext, RunId, SigningKeys, carriers, configure, start_run
from agent_run_id.ids import MAX_DEPTH
from agent_run_id.testing import run_ids
from agent_run_id.w3c import Trace, read_members
from tests.carriers_table import TRACED, WRITTEN, Shape
from tests.strategies import broken_tokens, signing_keys, traces

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from agent_run_id import RunRegistry

OLD, NEW = "an old secret of ours", "a new secret of ours"
each_shape = pytest.mark.parametrize("shape", WRITTEN, ids=repr)
below_the_limit = run_ids().filter(lambda run_id: run_id.depth < MAX_DEPTH)


def token_of(run_id: RunId | None) -> str | None:
    return None if run_id is None else run_id.token


def headers_of(run_id: RunId, keys: SigningKeys | None = None) -> dict[str, str]:
    return carriers.headers.inject({}, run_id, keys=keys)


def counted(word: str, extract: Callable[[], Inbound]) -> Inbound:
    """What `extract` gives, which it counts under a word."""
    before = carriers.refusals().get(word, 0)
    found = extract()
    assert (found.refused or "").partition(":")[0] == word
    assert carriers.refusals()[word] == before + 1
    return found


# Keys -----------------------------------------------------------------------------------------------------------------


@given(run_ids(), signing_keys)
def test_a_signature_is_good_for_its_token_and_keys_only(run_id: RunId, keys: SigningKeys) -> None:
    signature = keys.sign(run_id.token)
    assert keys.problem(run_id.token, signature) is None
    assert pickle.loads(pickle.dumps(keys)).problem(run_id.token, signature) is None  # noqa: S301
    assert signature.startswith(f"{keys.key_ids[0]}.")
    assert len(signature) == len(keys.key_ids[0]) + 23
    assert keys.problem(RunId.generate().token, signature) is not None
    assert keys.problem(run_id.token, None) is not None
    same_ids = SigningKeys(dict.fromkeys(keys.key_ids, b"another secret of theirs"))
    assert (same_ids.problem(run_id.token, signature) or "").startswith("forged")


@given(run_ids(), signing_keys)
def test_no_member_of_a_tracestate_is_longer_than_128_characters(run_id: RunId, keys: SigningKeys) -> None:
    longest = SigningKeys({"k" * 64: b"0" * 16})
    for each in (keys, longest):
        fields = headers_of(run_id, each)
        members = read_members([fields["tracestate"]])
        assert [key for key, _ in members] == ["runid", "runidsig"]
        assert all(len(f"{key}={value}") <= 128 for key, value in members)


@each_shape
def test_rotation_interrupts_nobody(shape: Shape) -> None:
    old, new = ("old", OLD), ("new", NEW)
    steps = [SigningKeys(dict(keys)) for keys in ([old], [old, new], [new, old], [new])]
    run_id = RunId.generate(RunId.generate())
    for earlier, later in itertools.pairwise(steps):
        for sender, receiver in ((earlier, later), (later, earlier), (later, later)):
            carrier = shape.carrier.inject(shape.make([]), run_id, keys=sender)
            assert token_of(shape.carrier.extract(carrier, keys=receiver).run_id) == run_id.token
    late = shape.carrier.inject(shape.make([]), run_id, keys=steps[0])
    found = counted("unknown key", lambda: shape.carrier.extract(late, keys=steps[3]))
    assert (found.run_id, token_of(found.link)) == (None, run_id.token)


def test_keys_are_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_bytes(f"\ufeff# ours\r\n\n  new:{NEW}  \r\nold:a:{OLD}\n#gone:{OLD}\n".encode() + b"raw:" + b"\xff" * 16)
    keys = SigningKeys.from_file(path)
    assert keys.key_ids == ("new", "old", "raw")
    same = SigningKeys({"new": NEW.encode(), "old": f"a:{OLD}", "raw": b"\xff" * 16})
    for key_id in same.key_ids:
        one = SigningKeys({key_id: same._secrets[key_id]})
        assert keys.problem("token", one.sign("token")) is None
    with pytest.raises(OSError, match="absent"):
        SigningKeys.from_file(str(tmp_path / "absent"))


def test_keys_are_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for text in (f"new:{NEW},old:{OLD}", f"new:{NEW}\nold:{OLD}\n", f" new:{NEW} , ,old:{OLD},"):
        monkeypatch.setenv("AGENT_RUN_SIGNING_KEYS", text)
        keys = SigningKeys.from_environment()
        assert keys.key_ids == ("new", "old")
        assert keys.sign("token") == SigningKeys({"new": NEW}).sign("token")
    monkeypatch.setenv("OTHER", f"other:{OLD}")
    assert SigningKeys.from_environment("OTHER").key_ids == ("other",)
    monkeypatch.delenv("OTHER")
    with pytest.raises(ConfigurationError, match="OTHER is not set"):
        SigningKeys.from_environment("OTHER")


SECRET = "correct-horse-battery-staple"  # noqa: S105
MISTAKES: dict[str, str] = {
    SECRET: "line 1 .* no ':'",
    f"k1:{SECRET}\n{SECRET}": "line 2 .* no ':'",
    f"k1:{SECRET}\nk1:{SECRET}": "line 2 .* twice",
    f":{SECRET}": "id of key 1",
    f"{'k' * 65}:{SECRET}": "id of key 1",
    f"k 1:{SECRET}": "id of key 1",
    f"k1:{SECRET}\n{SECRET}=:k2": "id of key 2",
    f"{SECRET}:k2": "secret of key 1",
    "k1:": "secret of key 1",
    f"k1:{SECRET[:15]}": "secret of key 1 is too short",
    "# nothing": "at least one",
    f"\udc80{SECRET}:{SECRET}": "id of key 1",
}


@pytest.mark.parametrize("text", MISTAKES)
def test_a_mistake_in_the_keys_is_told_without_the_keys(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "keys"
    path.write_text(text, encoding="utf-8", errors="surrogateescape")
    monkeypatch.setenv("AGENT_RUN_SIGNING_KEYS", text)
    makers: list[Callable[[], SigningKeys]] = [lambda: SigningKeys.from_file(path), SigningKeys.from_environment]
    for make in makers:
        with pytest.raises(ConfigurationError, match=MISTAKES[text]) as caught:
            make()
        told = "".join(traceback.format_exception(caught.value))
        assert all(SECRET[:length] not in told for length in range(8, len(SECRET)))
        assert caught.value.__cause__ is caught.value.__context__ is None


def test_what_is_no_key_is_refused() -> None:
    cases: list[Any] = [{}, {1: NEW}, {"k": None}, {"k": 5}, {"k": bytearray(16)}, {"k": "\ud800" * 20}, {"": NEW}]
    for keys in cases:
        with pytest.raises(ConfigurationError, match=r"key \d|at least one") as caught:
            SigningKeys(keys)
        assert NEW not in str(caught.value)
        assert caught.value.__context__ is None


@given(signing_keys)
def test_neither_repr_nor_inbound_shows_a_secret(keys: SigningKeys) -> None:
    run_id = RunId.generate()
    signatures = [None, "x", f"{keys.key_ids[0]}.x", SigningKeys({"n": NEW}).sign("t")]
    texts = [repr(keys), str(keys), *[keys.problem(run_id.token, signature) or "" for signature in signatures]]
    for secret in keys._secrets.values():
        assert all(repr(secret)[2:-1] not in text and secret.hex() not in text for text in texts)


# One character --------------------------------------------------------------------------------------------------------

CHARACTERS = '0123456789abcdef-.,;=&#?%+ \t\n"\\{}:AZ_\x00\xff'


def replace(shape: Shape, carrier: Any, name: str, changed: str) -> Any:
    """The carrier with one of its fields changed, in whatever shape it is."""
    value = shape.fields(carrier)[name]
    if isinstance(carrier, str):
        return carrier.replace(value, changed)
    if isinstance(carrier, bytes):
        return carrier.replace(value.encode(), changed.encode("latin-1"))
    if isinstance(carrier, list):
        old = value.encode()
        return [
            (key, changed.encode("latin-1") if item == old else changed if item == value else item)
            for key, item in carrier
        ]
    if shape.carrier is carriers.body:
        return {**carrier, "agent_run": {**carrier["agent_run"], name: changed}}
    return {**dict(carrier.items()), name: changed}


@each_shape
@settings(max_examples=settings().max_examples // 2)
@given(run_id=below_the_limit, keys=st.none() | signing_keys, data=st.data())
def test_one_wrong_character_gives_the_right_run_or_none(
    shape: Shape, run_id: RunId, keys: SigningKeys | None, data: st.DataObject
) -> None:
    carrier = shape.carrier.inject(shape.make([]), run_id, keys=keys)
    fields = shape.fields(carrier)
    name = data.draw(st.sampled_from(sorted(fields)))
    value = fields[name]
    place = data.draw(st.integers(0, len(value)))
    character = data.draw(st.sampled_from(CHARACTERS))
    for changed in (
        value[:place] + character + value[place + 1 :],
        value[:place] + value[place + 1 :],
        value[:place] + character + value[place:],
    ):
        found = shape.carrier.extract(replace(shape, carrier, name, changed), keys=keys)
        if keys is not None:
            assert token_of(found.run_id) in (None, run_id.token)
        elif found.run_id is not None:  # unsigned: what is consistent cannot be told from the truth
            assert RunId.from_token(found.run_id.token).token == found.run_id.token


@each_shape
@settings(max_examples=settings().max_examples // 4)
@given(run_id=below_the_limit, keys=signing_keys, data=st.data())
def test_one_wrong_character_anywhere_in_a_text_gives_the_right_run_or_none(
    shape: Shape, run_id: RunId, keys: SigningKeys, data: st.DataObject
) -> None:
    carrier = shape.carrier.inject(shape.make([]), run_id, keys=keys)
    if not isinstance(carrier, str | bytes):
        return
    text = carrier if isinstance(carrier, str) else carrier.decode()
    place = data.draw(st.integers(0, len(text)))
    character = data.draw(st.sampled_from(CHARACTERS))
    for changed in (
        text[:place] + character + text[place + 1 :],
        text[:place] + text[place + 1 :],
        text[:place] + character + text[place:],
    ):
        found = shape.carrier.extract(
            type(carrier)(changed, "latin-1") if isinstance(carrier, bytes) else changed, keys=keys
        )
        assert token_of(found.run_id) in (None, run_id.token)


@each_shape
@settings(max_examples=settings().max_examples // 4)
@given(broken=broken_tokens(), run_id=run_ids())
def test_a_token_that_is_not_consistent_is_none(shape: Shape, broken: str, run_id: RunId) -> None:
    carrier = shape.carrier.inject(shape.make([]), run_id)
    text = broken.encode("latin-1", "replace").decode("latin-1")
    for name, value in shape.fields(carrier).items():
        if name != "x-run-id":
            carrier = replace(shape, carrier, name, value.replace(run_id.token, text))
    found = shape.carrier.extract(carrier)
    # The bare id beside it is what is left where the state is not even a state.
    assert token_of(found.run_id) in (None, run_id.value)


# Edges ----------------------------------------------------------------------------------------------------------------


@each_shape
@settings(max_examples=settings().max_examples // 8)
@given(run_id=run_ids(), other=run_ids().filter(lambda run_id: run_id.depth > 0))
def test_what_is_not_believed_is_a_link_and_counted(shape: Shape, run_id: RunId, other: RunId) -> None:
    keys = SigningKeys({"k": NEW})
    make = shape.make
    signed = shape.carrier.inject(make([]), run_id, keys=keys)
    unsigned = shape.carrier.inject(make([]), run_id)
    forged = shape.carrier.inject(make([]), run_id, keys=SigningKeys({"k": OLD}))
    unknown = shape.carrier.inject(make([]), run_id, keys=SigningKeys({"j": NEW}))
    for word, carrier in (("unsigned", unsigned), ("forged", forged), ("unknown key", unknown)):
        found = counted(word, lambda carrier=carrier: shape.carrier.extract(carrier, keys=keys))  # type: ignore[misc]
        assert (found.run_id, token_of(found.link)) == (None, run_id.token)
        assert bool(found) is False
    for name, value in shape.fields(signed).items():
        signature = keys.sign(run_id.token)
        if signature in value:
            for short in (signature[:-1], signature[:-22], f"{signature}A"):
                found = shape.carrier.extract(replace(shape, signed, name, value.replace(signature, short)), keys=keys)
                assert (found.run_id, token_of(found.link)) == (None, run_id.token)


@pytest.mark.parametrize("shape", TRACED, ids=repr)
@settings(max_examples=settings().max_examples // 8)
@given(run_id=below_the_limit, trace=traces())
def test_a_trace_goes_on_only_with_a_run_that_is_believed(shape: Shape, run_id: RunId, trace: Trace) -> None:
    keys = SigningKeys({"k": NEW})
    signed = shape.carrier.inject(shape.make([]), run_id.in_trace(trace), keys=keys)
    assert shape.carrier.extract(signed, keys=keys).trace == trace
    unsigned = shape.carrier.inject(shape.make([]), run_id.in_trace(trace))
    assert shape.carrier.extract(unsigned, keys=keys).trace is None
    assert shape.carrier.extract(unsigned, policy="link").trace is None


def test_a_trace_that_is_not_valid_is_counted_and_hides_no_run() -> None:
    run_id = RunId.generate(RunId.generate())
    fields = headers_of(run_id)
    for name in ("traceparent", "tracestate"):
        broken = {**fields, name: "not valid"}
        before = carriers.refusals().get("malformed trace", 0)
        assert token_of(carriers.headers.extract(broken).run_id) == run_id.value
        assert carriers.refusals()["malformed trace"] == before + 1
        del broken["x-run-id"]
        counted("malformed trace", lambda broken=broken: carriers.headers.extract(broken))  # type: ignore[misc]


def test_a_lone_id_of_an_anonymous_client_is_a_link() -> None:
    run_id, keys = RunId.generate(), SigningKeys({"k": NEW})
    assert carriers.headers.extract({"X-Run-Id": run_id.value}).run_id == run_id
    found = counted("unsigned", lambda: carriers.headers.extract({"X-Run-Id": run_id.value}, keys=keys))
    assert (found.run_id, found.link) == (None, run_id)


@each_shape
@given(run_id=run_ids())
@settings(max_examples=settings().max_examples // 8)
def test_the_policy_is_the_edges(shape: Shape, run_id: RunId) -> None:
    carrier = shape.carrier.inject(shape.make([]), run_id)
    for keys in (None, SigningKeys({"k": NEW})):
        linked = shape.carrier.extract(carrier, policy="link", keys=keys)
        assert (linked.run_id, token_of(linked.link), linked.refused, linked.trace) == (None, run_id.token, None, None)
        assert repr(shape.carrier.extract(carrier, policy="ignore", keys=keys)) == "Inbound()"
    for policy in ("", "Trust", None, 1, ["trust"]):
        with pytest.raises(ConfigurationError, match="trust, link, ignore"):
            shape.carrier.extract(carrier, policy=policy)


@each_shape
def test_a_run_at_the_limit_of_depth_is_a_link(shape: Shape) -> None:
    parent, root = RunId.generate(), RunId.generate()
    deep = [RunId.from_token(f"{RunId.generate()}.{parent}.{root}.{depth}") for depth in (7, 8, 9, MAX_DEPTH)]
    sent = [shape.carrier.inject(shape.make([]), run_id) for run_id in deep]
    assert [bool(shape.carrier.extract(carrier)) for carrier in sent] == [True, True, True, False]
    configure(max_depth=8)
    try:
        assert token_of(shape.carrier.extract(sent[0]).run_id) == deep[0].token
        for run_id, carrier in zip(deep[1:], sent[1:], strict=True):
            found = counted("too deep", lambda carrier=carrier: shape.carrier.extract(carrier))  # type: ignore[misc]
            assert (found.run_id, token_of(found.link)) == (None, run_id.token)
    finally:
        configure(max_depth=MAX_DEPTH)


def test_a_run_that_starts_there_remembers_the_link_and_the_reason(registry: RunRegistry) -> None:
    sender = RunId.generate(RunId.generate())
    inbound = carriers.headers.extract(headers_of(sender), keys=SigningKeys({"k": NEW}))
    with start_run("somebody else's"):
        start_run("direct", parent=inbound, links=["theirs"]).end()
        with RunContext(inbound):
            start_run("inside").end()
    for name in ("direct", "inside"):
        (record,) = [record for record in registry.find() if record.name == name]
        assert (record.depth, record.refused_parent) == (0, inbound.refused)
        assert sender.value in str(record.links)
