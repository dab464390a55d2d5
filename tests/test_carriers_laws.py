"""Carriers: the laws that hold for every one of them, in every shape it is written and read in."""

from __future__ import annotations

import copy
import json
import uuid
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent_run_id import RunContext, RunId, SigningKeys, carriers, configure
from agent_run_id.testing import run_ids
from agent_run_id.testing.strategies import json_values
from agent_run_id.w3c import Trace, read_members, read_traceparent
from tests.carriers_table import FIELDS, READ, TRACED, WRITTEN, Pairs, Shape
from tests.strategies import header_pairs, signing_keys, signings, spans, traced_run_ids, traces

if TYPE_CHECKING:
    from collections.abc import Callable

written = pytest.mark.parametrize("shape", WRITTEN, ids=repr)
traced = pytest.mark.parametrize("shape", TRACED, ids=repr)
of_each = settings(max_examples=settings().max_examples // 8)
"""Fewer examples, where a law is tried on every shape."""

SINGLE = ("dict", "requests", "mcp", "environ")
"""Shapes with one value for each name."""


def shown(run_id: RunId | None) -> tuple[str | None, Trace | None]:
    """All of an id, where `==` looks at the least of it."""
    return (None, None) if run_id is None else (run_id.token, run_id.trace)


def trace_in(shape: Shape, carrier: Any) -> tuple[str, str]:
    fields = {name.lower(): value for name, value in shape.fields(carrier).items()}
    return fields["traceparent"], fields.get("tracestate", "")


# There and back -------------------------------------------------------------------------------------------------------


@written
@of_each
@given(run_id=run_ids() | traced_run_ids, pairs=header_pairs, keys=signings)
def test_what_is_injected_is_extracted_with_its_lineage_and_nothing_else_changes(
    shape: Shape, run_id: RunId, pairs: Pairs, keys: SigningKeys | None
) -> None:
    before = shape.others(shape.make(pairs))
    carrier = shape.carrier.inject(shape.make(pairs), run_id, keys=keys)
    found = shape.carrier.extract(carrier, keys=keys)
    if run_id.depth == 65_535:
        assert (found.run_id, shown(found.link)[0]) == (None, run_id.token)
    else:
        assert found.run_id.token == run_id.token
    assert shape.others(carrier) == before


@written
@of_each
@given(run_id=run_ids(), keys=signing_keys)
def test_with_no_keys_named_those_of_configure_sign_and_verify(shape: Shape, run_id: RunId, keys: SigningKeys) -> None:
    configure(signing_keys=keys)
    try:
        carrier = shape.carrier.inject(shape.make([]), run_id)
        with RunContext(run_id):
            assert shape.fields(shape.carrier.inject(shape.make([]))).keys() == shape.fields(carrier).keys()
        found = shape.carrier.extract(carrier)
    finally:
        configure(signing_keys=None)
    assert shown(found.run_id or found.link)[0] == run_id.token
    assert found.refused is None or found.refused.startswith("too deep")
    assert shape.carrier.extract(carrier, keys=keys).refused == found.refused


@pytest.mark.parametrize(("name", "carrier", "make"), READ, ids=[name for name, _, _ in READ])
@of_each
@given(run_id=run_ids(), keys=signings)
def test_every_shape_is_read(
    name: str, carrier: Any, make: Callable[[Pairs], Any], run_id: RunId, keys: SigningKeys | None
) -> None:
    plain = next(shape for shape in WRITTEN if shape.carrier is carrier)
    pairs = plain.fields(carrier.inject(plain.make([]), run_id, keys=keys))
    found = carrier.extract(make(list(pairs.items())), keys=keys)
    assert shown(found.run_id or found.link)[0] == run_id.token


@traced
@of_each
@given(run_id=run_ids().filter(lambda run_id: run_id.depth < 65_535), trace=traces(max_members=31), keys=signings)
def test_somebody_elses_trace_goes_on_where_there_is_room_for_it(
    shape: Shape, run_id: RunId, trace: Trace, keys: SigningKeys | None
) -> None:
    carrier = shape.carrier.inject(shape.make([]), run_id.in_trace(trace), keys=keys)
    found = shape.carrier.extract(carrier, keys=keys)
    kept = trace.members[: 31 if keys is None else 30]
    assert found.trace == found.run_id.trace == Trace(trace.trace_id, trace.flags, kept)


@traced
@of_each
@given(trace=traces(), pairs=header_pairs, span=spans)
def test_a_trace_without_a_run_goes_on_too(shape: Shape, trace: Trace, pairs: Pairs, span: str) -> None:
    state = ",".join(f"{key}={value}" for key, value in trace.members)
    came = {"traceparent": f"00-{trace.trace_id}-{span}-{trace.flags:02x}", "tracestate": state}
    inbound = carriers.headers.extract(came)
    assert not inbound
    with RunContext(inbound):
        carrier = shape.carrier.inject(shape.make(pairs))
    assert shape.others(carrier) == shape.others(shape.make(pairs))
    found = shape.carrier.extract(carrier)
    assert (found.run_id, found.trace) == (None, trace)
    assert span not in trace_in(shape, carrier)[0]


@traced
@of_each
@given(run_id=run_ids() | traced_run_ids)
def test_a_trace_is_that_of_the_root_or_the_callers_and_each_injection_has_a_parent_id_of_its_own(
    shape: Shape, run_id: RunId
) -> None:
    (one, state), (two, again) = (trace_in(shape, shape.carrier.inject(shape.make([]), run_id)) for _ in range(2))
    assert one.split("-")[2] != two.split("-")[2]
    assert state == again
    own = (run_id.root_id.replace("-", ""), 3 if uuid.UUID(run_id.root_id).version == 4 else 1)
    expected = own if run_id.trace is None else (run_id.trace.trace_id, run_id.trace.flags)
    assert read_traceparent(one) == read_traceparent(two) == expected
    assert read_members([state])[0] == ("runid", run_id.token)


@written
@of_each
@given(run_id=run_ids() | traced_run_ids, earlier=run_ids(), pairs=header_pairs, keys=signings)
def test_a_second_injection_takes_the_place_of_the_first(
    shape: Shape, run_id: RunId, earlier: RunId, pairs: Pairs, keys: SigningKeys | None
) -> None:
    def stable(carrier: Any) -> Any:
        fields = shape.fields(carrier)
        return {
            name: read_traceparent(text) if name.lower() == "traceparent" else text for name, text in fields.items()
        }

    once = shape.carrier.inject(shape.make(pairs), run_id, keys=keys)
    twice = shape.carrier.inject(shape.make(pairs), earlier, keys=None if keys else SigningKeys({"old": b"0" * 16}))
    twice = shape.carrier.inject(twice, run_id, keys=keys)
    assert stable(twice) == stable(once)
    assert shape.others(twice) == shape.others(once)


# Nothing to inject ----------------------------------------------------------------------------------------------------


@written
@of_each
@given(run_id=run_ids() | traced_run_ids, pairs=header_pairs, keys=signings)
def test_without_a_run_what_is_ours_goes_and_the_rest_stays(
    shape: Shape, run_id: RunId, pairs: Pairs, keys: SigningKeys | None
) -> None:
    filled = shape.carrier.inject(shape.make(pairs), run_id, keys=keys)
    for run in ({}, {"run_id": None}):  # outside any run it is the same
        emptied = shape.carrier.inject(copy.copy(filled), **run)
        assert shape.fields(emptied) == {}
        assert shape.others(emptied) == shape.others(shape.make(pairs))
    with RunContext(None):
        assert shape.fields(shape.carrier.inject(copy.copy(filled))) == {}


@traced
@of_each
@given(trace=traces(), span=spans, stale=run_ids())
def test_without_a_run_a_trace_that_is_not_ours_stays_as_it_is(
    shape: Shape, trace: Trace, span: str, stale: RunId
) -> None:
    foreign = shape.carrier.inject(shape.make([]), stale.in_trace(trace))
    theirs = {
        name: f"00-{trace.trace_id}-{span}-00" if name.lower() == "traceparent" else "vendor=1"
        for name in shape.fields(foreign)
        if name.lower() in ("traceparent", "tracestate")
    }
    carrier = shape.make([*theirs.items(), *([("x-run-id", stale.value)] if shape.carrier is not carriers.mcp else [])])
    emptied = shape.carrier.inject(carrier, None)
    assert shape.fields(emptied) == theirs
    assert shape.others(emptied) == (shape.others(carrier) if shape.carrier is carriers.environ else [])


@pytest.mark.parametrize("shape", [shape for shape in TRACED if shape.name not in SINGLE], ids=repr)
@of_each
@given(run_id=run_ids(), place=st.integers(0, 3))
def test_ours_is_found_in_whichever_of_several_headers_it_is(shape: Shape, run_id: RunId, place: int) -> None:
    fields = list(carriers.headers.inject({}, run_id).items())
    carrier = shape.make([*fields[:place], ("tracestate", "vendor=1"), *fields[place:]])
    emptied = shape.carrier.inject(carrier, None)
    assert shape.fields(emptied) == {}
    assert shape.others(emptied) == []


def test_what_cannot_be_written_to_is_refused_with_what_to_do() -> None:
    cases: list[tuple[Any, Any]] = [
        (carriers.headers.inject, []),
        (carriers.headers.inject, "text"),
        (carriers.asgi.inject, {}),
        (carriers.kafka.inject, ()),
        (carriers.query.inject, 1),
        (carriers.body.inject, [1]),
    ]
    for inject, carrier in cases:
        with pytest.raises(TypeError, match=r"mapping|list|str|Envelope"):
            inject(carrier, RunId.generate())
    for text in ("[1]", "", "1", '{"a": 1', '{"a" 1}', '{"a": 1,}', "{"):
        with pytest.raises(ValueError, match="JSON object"):
            carriers.body.inject(text, RunId.generate())


# Texts ----------------------------------------------------------------------------------------------------------------

forms = st.fixed_dictionaries({"indent": st.sampled_from([None, 0, 3]), "ensure_ascii": st.booleans()})
QUERY = "abc=&;%+/?\xe9 01"


@given(
    st.sampled_from(["", "/", "/p", "https://a.example/p", "//a.example"]),
    st.none() | st.text(QUERY),
    st.none() | st.text(f"{QUERY}#"),
    run_ids(),
    signings,
)
def test_every_other_byte_of_a_url_stays_as_it_is(
    path: str, query: str | None, fragment: str | None, run_id: RunId, keys: SigningKeys | None
) -> None:
    tail = "" if fragment is None else f"#{fragment}"
    url = path + ("" if query is None else f"?{query}") + tail
    if not url.startswith("/") and "?" not in url and "#" not in url:
        return  # a bare query string, or nothing
    filled = carriers.query.inject(url, run_id, keys=keys)
    assert carriers.query.inject(url.encode("latin-1"), run_id, keys=keys) == filled.encode("latin-1")
    ours = filled.removeprefix(f"{path}?{query}&" if query else f"{path}?").removesuffix(tail)
    signature = "" if keys is None else f"&run_id_sig={keys.sign(run_id.token)}"
    assert ours == f"run_id={run_id.token}{signature}"
    assert carriers.query.inject(filled, None) == (url if query else path + tail)  # a "?" alone says nothing
    assert carriers.query.inject(url, None) == url


@given(st.text("abc=&;%+/\xe9 01").filter(lambda text: not text.startswith("/")), run_ids())
def test_every_other_byte_of_a_bare_query_stays_as_it_is(query: str, run_id: RunId) -> None:
    filled = carriers.query.inject(query, run_id)
    assert filled == f"{query}&run_id={run_id.token}".removeprefix("&" if not query else "")
    assert carriers.query.inject(filled, None) == query
    assert carriers.query.inject(query, None) == query


@given(st.dictionaries(st.text(), json_values, max_size=4), forms, run_ids())
def test_every_other_character_of_a_json_text_stays_as_it_is(
    content: dict[str, Any], form: dict[str, Any], run_id: RunId
) -> None:
    content.pop("agent_run", None)
    text = f" \n{json.dumps(content, **form)}\r\n\t"
    filled = carriers.body.inject(text, run_id)
    before, after = text[: text.index("{") + 1], text[text.index("{") + 1 if content else text.index("}") :]
    assert filled == f'{before}"agent_run":{{"run_id":"{run_id.token}"}}{"," if content else ""}{after}'
    assert carriers.body.inject(text, None) == text
    assert carriers.body.inject(filled, None) == before + after


@written
@of_each
@given(run_id=run_ids() | traced_run_ids, pairs=header_pairs, keys=signings)
def test_nothing_that_is_written_can_break_a_line(
    shape: Shape, run_id: RunId, pairs: Pairs, keys: SigningKeys | None
) -> None:
    carrier = shape.carrier.inject(shape.make(pairs), run_id, keys=keys)
    for name, value in shape.fields(carrier).items():
        assert f"{name}{value}".isascii()
        assert f"{name}{value}".isprintable()


def test_names_go_out_in_lower_case_and_come_in_in_any() -> None:
    run_id = RunId.generate(RunId.generate())
    out = carriers.headers.inject({"TraceParent": "x", "TRACESTATE": "y", "X-Run-Id": "z", "Other": "1"}, run_id)
    assert set(out) == {"Other", *FIELDS}
    assert shown(carriers.headers.extract(out).run_id) == (run_id.token, None)
