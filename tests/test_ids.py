"""Run ids: identity with lineage."""

from __future__ import annotations

import copy
import json
import multiprocessing
import os
import pickle
import random
import sys
import threading
import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, TypeAdapter, ValidationError

from agent_run_id import ConfigurationError, InvalidRunIdError, InvalidTokenError, RunDepthError, RunId, configure
from agent_run_id.ids import MAX_DEPTH
from agent_run_id.testing import run_ids
from tests.programs import run_program
from tests.strategies import broken_tokens, uuid_texts

SOME_UUID = "3f2a8c1d-0b5e-4c7a-9d1f-6e8a2b4c5d6e"


class Holder(BaseModel):
    """A user's model."""

    run: RunId
    others: list[RunId] = []


def test_a_root_is_a_random_version_4_uuid() -> None:
    run_id = RunId.generate()
    parsed = uuid.UUID(run_id.value)
    assert (parsed.version, parsed.variant) == (4, uuid.RFC_4122)
    assert str(parsed) == run_id.value == str(run_id) == f"{run_id}" == run_id.token
    assert run_id.is_root
    assert (run_id.parent_id, run_id.root_id, run_id.depth) == (None, run_id.value, 0)


def test_all_122_random_bits_vary() -> None:
    varying = 0
    first = uuid.UUID(RunId.generate().value).int
    for _ in range(2000):
        varying |= first ^ uuid.UUID(RunId.generate().value).int
    assert varying.bit_count() == 122


def test_none_as_parent_makes_a_root() -> None:
    assert RunId.generate(parent=None).is_root


@given(run_ids())
def test_a_child_names_its_parent_keeps_the_root_and_is_one_deeper(parent: RunId) -> None:
    if parent.depth == MAX_DEPTH:
        with pytest.raises(RunDepthError):
            RunId.generate(parent=parent)
        return
    child = RunId.generate(parent=parent)
    assert (child.parent_id, child.root_id, child.depth) == (parent.value, parent.root_id, parent.depth + 1)
    assert not child.is_root
    assert RunId.from_token(child.token).token == child.token


@given(run_ids())
def test_parse_is_the_inverse_of_print(run_id: RunId) -> None:
    again = RunId.from_token(run_id.token)
    assert again.token == run_id.token
    assert (again.value, again.parent_id, again.root_id, again.depth) == (
        run_id.value,
        run_id.parent_id,
        run_id.root_id,
        run_id.depth,
    )
    assert again == run_id
    assert hash(again) == hash(run_id)


@given(run_ids())
def test_a_token_begins_with_the_uuid_and_fits_in_116_characters(run_id: RunId) -> None:
    assert run_id.token.startswith(str(run_id))
    assert len(run_id.token) <= 116


@given(broken_tokens())
def test_a_malformed_token_raises_a_value_error_that_says_what_is_wrong(text: str) -> None:
    with pytest.raises(ValueError, match=r"token|child|parent|id") as caught:
        RunId.from_token(text)
    assert isinstance(caught.value, InvalidTokenError)
    assert len(str(caught.value)) < 400


@given(st.text())
def test_no_text_makes_from_token_raise_anything_but_its_error(text: str) -> None:
    try:
        token = RunId.from_token(text).token
    except InvalidTokenError:
        return
    assert token == text


@pytest.mark.parametrize("value", [None, 1, b"x", [SOME_UUID], uuid.UUID(SOME_UUID)])
def test_from_token_refuses_what_is_not_text(value: Any) -> None:
    with pytest.raises(ValueError, match="str"):
        RunId.from_token(value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"{SOME_UUID}.{SOME_UUID}.{SOME_UUID}.1", "differs from its parent"),
        (SOME_UUID.upper(), "lower-case"),
        (f"{SOME_UUID}.x.{SOME_UUID}.1", "parent of a token"),
        (f"{SOME_UUID}.{'1' * 8}-1111-1111-1111-{'1' * 12}.{'2' * 8}-1111-1111-1111-{'1' * 12}.01", "leading zeros"),
        (f"{SOME_UUID}.{'1' * 8}-1111-1111-1111-{'1' * 12}.{'2' * 8}-1111-1111-1111-{'1' * 12}.1", "depth 1"),
        (f"{SOME_UUID}.1", "<depth>"),
    ],
)
def test_the_message_names_the_part(text: str, message: str) -> None:
    with pytest.raises(InvalidTokenError, match=message):
        RunId.from_token(text)


@given(st.uuids())
def test_from_string_takes_what_uuid_takes_and_normalises(value: uuid.UUID) -> None:
    text = str(value)
    for form in (text, text.upper(), value.hex, f"{{{text}}}", value.urn):
        if value.int == 0:
            with pytest.raises(ValueError, match="nil"):
                RunId.from_string(form)
        else:
            assert RunId.from_string(form).value == RunId(form).value == text


@given(st.text() | st.from_regex(r"[0-9a-f-]{30,40}", fullmatch=True))
def test_from_string_refuses_exactly_what_uuid_refuses(text: str) -> None:
    try:
        expected = str(uuid.UUID(text))
    except ValueError:
        with pytest.raises(InvalidRunIdError):
            RunId.from_string(text)
    else:
        assert RunId.from_string(text).value == expected


@pytest.mark.parametrize("value", [None, 7, b"3f2a", object(), ["a"]])
def test_from_string_of_something_else_is_a_value_error(value: Any) -> None:
    with pytest.raises(ValueError, match="text of a UUID"):
        RunId.from_string(value)


def test_a_token_given_to_from_string_is_pointed_to_from_token() -> None:
    with pytest.raises(ValueError, match="from_token"):
        RunId(RunId.generate(parent=RunId.generate()).token)


def test_short_is_the_first_8_characters() -> None:
    assert RunId(SOME_UUID).short() == "3f2a8c1d"


def test_repr_evaluates_to_the_same_lineage() -> None:
    assert repr(RunId(SOME_UUID)) == f"RunId('{SOME_UUID}')"
    child = RunId.generate(parent=RunId(SOME_UUID))
    assert eval(repr(child)).token == child.token  # noqa: S307 - our own text


def test_format_pads_like_text() -> None:
    assert f"{RunId(SOME_UUID):>40}" == f"    {SOME_UUID}"


@given(run_ids(min_depth=1))
def test_pickle_and_copy_keep_the_lineage(run_id: RunId) -> None:
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        data = pickle.dumps(run_id, protocol)
        assert pickle.loads(data).token == run_id.token  # noqa: S301 - our own bytes
        assert len(data) <= 300
    assert copy.copy(run_id) is run_id
    assert copy.deepcopy([run_id])[0].token == run_id.token


def test_it_pickles_under_its_public_name() -> None:
    assert b"agent_run_id" in pickle.dumps(RunId.generate())
    assert b"agent_run_id.ids" not in pickle.dumps(RunId.generate())


@given(run_ids(), st.lists(run_ids(), max_size=3))
def test_a_pydantic_model_keeps_the_lineage_through_json_and_python(run: RunId, others: list[RunId]) -> None:
    holder = Holder(run=run, others=others)
    for again in (
        Holder.model_validate_json(holder.model_dump_json()),
        Holder.model_validate(holder.model_dump()),
        holder.model_copy(deep=True),
    ):
        assert [each.token for each in (again.run, *again.others)] == [each.token for each in (run, *others)]
    assert json.loads(holder.model_dump_json())["run"] == run.token


@given(uuid_texts)
def test_pydantic_takes_a_uuid_a_text_and_an_id(text: str) -> None:
    for value in (text, text.upper(), uuid.UUID(text), RunId(text)):
        assert Holder.model_validate({"run": value}).run.value == text


@pytest.mark.parametrize("value", ["", "x", 5, None, f"{SOME_UUID}.1", [SOME_UUID]])
def test_pydantic_refuses_the_rest_with_its_own_error(value: Any) -> None:
    with pytest.raises(ValidationError):
        Holder.model_validate({"run": value})


@given(run_ids())
def test_the_json_schema_accepts_every_token(run_id: RunId) -> None:
    import re

    schema = TypeAdapter(RunId).json_schema()
    assert schema["type"] == "string"
    assert re.search(schema["pattern"], run_id.token)
    assert len(run_id.token) <= schema["maxLength"]


@given(broken_tokens().filter(lambda text: text.count(".") == 3))
def test_ids_are_frozen(text: str) -> None:
    run_id = RunId.generate()
    for name in ("value", "depth", "anything"):
        with pytest.raises(AttributeError, match="frozen"):
            setattr(run_id, name, text)
        with pytest.raises(AttributeError, match="frozen"):
            delattr(run_id, name)


def test_equality_is_of_the_id_alone_and_never_with_text() -> None:
    child = RunId.generate(parent=RunId.generate())
    assert child == RunId(child.value)
    assert {child: 1}[RunId(child.value)] == 1
    assert child != RunId.generate()
    assert child != child.value


def test_an_id_costs_the_same_at_any_depth() -> None:
    def size(run_id: RunId) -> int:
        return sys.getsizeof(run_id) + sys.getsizeof(run_id.value)

    deep = root = RunId.generate()
    for _ in range(1000):
        deep = RunId.generate(parent=deep)
    assert size(deep) == size(root) <= 240


def test_the_depth_limit_stops_runaway_agents_with_a_clear_error() -> None:
    configure(max_depth=3)
    try:
        run_id = RunId.generate()
        for _ in range(3):
            run_id = RunId.generate(parent=run_id)
        with pytest.raises(RecursionError, match=r"limit is 3.*max_depth"):
            RunId.generate(parent=run_id)
    finally:
        configure(max_depth=MAX_DEPTH)


@pytest.mark.parametrize("limit", [0, -1, MAX_DEPTH + 1, "3", 2.5, None])
def test_an_impossible_depth_limit_is_refused(limit: Any) -> None:
    with pytest.raises(ConfigurationError, match="max_depth"):
        configure(max_depth=limit)


def test_ids_do_not_repeat_after_random_seed() -> None:
    found = set()
    for _ in range(3):
        random.seed(1)
        found |= {RunId.generate().value for _ in range(300)}
    assert len(found) == 900


def test_ids_do_not_repeat_in_8_threads_with_a_tiny_switch_interval() -> None:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        found: list[list[str]] = []

        def draw() -> None:
            found.append([RunId.generate().value for _ in range(5_000)])

        threads = [threading.Thread(target=draw) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    ids = [value for each in found for value in each]
    assert len(set(ids)) == len(ids) == 40_000


def test_ids_do_not_repeat_in_8_forks() -> None:
    RunId.generate()  # the pool is full when the forks begin
    ids = {RunId.generate().value for _ in range(100)}
    count = 100
    for _ in range(8):
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.write(write, "".join(RunId.generate().value for _ in range(100)).encode())
            os._exit(0)
        os.close(write)
        with os.fdopen(read) as pipe:
            text = pipe.read()
        os.waitpid(pid, 0)
        ids |= {text[start : start + 36] for start in range(0, len(text), 36)}
        count += 100
    assert len(ids) == count == 900


def _draw(count: int) -> list[str]:
    return [RunId.generate().value for _ in range(count)]


def test_ids_do_not_repeat_in_spawned_children() -> None:
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        drawn = [value for part in pool.map(_draw, [100] * 4, chunksize=1) for value in part]
    assert len(set(drawn)) == len(drawn) == 400


def test_ids_need_nothing_but_the_standard_library() -> None:
    loaded = run_program(
        """
        import sys
        from agent_run_id import RunId
        RunId.generate(parent=RunId.generate()).token
        print(*sorted({"pydantic", "sqlite3", "asyncio", "logging", "uuid", "anyio"} & set(sys.modules)))
        """
    )
    assert loaded.split() == []
