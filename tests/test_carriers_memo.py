"""What the carriers remember of recent headers saves time, and never changes an answer."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from agent_run_id import Inbound, RunId, SigningKeys, carriers, configure
from agent_run_id.carriers import fields
from agent_run_id.ids import MAX_DEPTH
from agent_run_id.testing import run_ids
from agent_run_id.w3c import Trace, read_traceparent
from tests.programs import run_program
from tests.strategies import traces

KEYS = [SigningKeys({"a": b"a" * 16}), SigningKeys({"b": b"b" * 16, "a": b"a" * 16})]
keyrings = st.sampled_from([None, None, None, None, *KEYS])
policies = st.sampled_from([*["trust"] * 5, "link", "ignore"])
limits = st.sampled_from([1, 2, 1000, MAX_DEPTH, MAX_DEPTH])


def shown(found: Inbound) -> tuple[Any, ...]:
    run_id, link = found.run_id, found.link
    ours = None if run_id is None else (run_id.token, run_id.trace)
    return ours, None if link is None else link.token, found.refused, found.trace


@st.composite
def families(draw: st.DrawFn) -> list[RunId]:
    """Ids that are easily mixed up: equal ones with another lineage, or in another trace."""
    run_id = draw(run_ids(min_depth=1))
    other = draw(run_ids(min_depth=1))
    trace = draw(traces())
    own = Trace(run_id.root_id.replace("-", ""), draw(st.integers(0, 3)), trace.members)
    parent, root = other.parent_id, other.root_id
    again = run_id
    if run_id.value not in (parent, root):
        again = RunId.from_token(f"{run_id.value}.{parent}.{root}.{other.depth}")
    return [
        run_id,
        RunId(run_id.value),
        again,
        run_id.in_trace(trace),
        run_id.in_trace(own),
        again.in_trace(trace),
        other,
    ]


@st.composite
def carriers_of(draw: st.DrawFn, pool: list[dict[str, str]]) -> tuple[Any, Any]:
    """A carrier, and what reads it: fields of one id or several, as they come and mixed."""
    whole, other = draw(st.sampled_from(pool)), draw(st.sampled_from(pool))
    swapped = draw(st.sampled_from([None, None, None, "AGENT_RUN_ID", "AGENT_RUN_ID", "TRACESTATE", "TRACEPARENT"]))
    mixed = (
        whole if swapped is None else {**whole, swapped: draw(st.sampled_from([other[swapped], other[swapped], ""]))}
    )
    which = draw(st.sampled_from(["environ", "environ", "mcp", "asgi", *["headers"] * 4]))
    if which == "environ":
        return carriers.environ, mixed
    found: dict[Any, Any] = {
        "traceparent": mixed["TRACEPARENT"],
        "tracestate": mixed["TRACESTATE"],
        "x-run-id": mixed["AGENT_RUN_ID"][:36],
    }
    if which == "mcp":
        return carriers.mcp, found
    if which == "asgi":
        return carriers.asgi, [(name.encode(), value.encode()) for name, value in found.items()]
    extra: dict[Any, Any] = draw(
        st.sampled_from(
            [*[{}] * 5, {1: 2}, {b"a": b"b"}, {"TraceParent": "x"}, {"HTTP_TRACESTATE": "a=b"}, {"n" * 5000: "1"}]
        )
    )
    return carriers.headers, {name: value for name, value in found.items() if value} | extra


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[Any, ...]]:
    """What a process may do: read this and that, and change its settings in between."""
    family = draw(families())
    chosen = [family[0], draw(st.sampled_from(family[1:3])), draw(st.sampled_from(family[3:]))]
    pool = [carriers.environ.inject({}, run_id, keys=draw(keyrings)) for run_id in chosen]
    history: list[tuple[Any, ...]] = []
    for kind in draw(st.lists(st.sampled_from([*["extract"] * 8, "configure", "inject"]), min_size=2, max_size=20)):
        if kind == "extract":
            history.append((kind, draw(carriers_of(pool)), draw(policies), draw(keyrings)))
        else:
            history.append((kind, draw(limits if kind == "configure" else st.sampled_from(family)), draw(keyrings)))
    return history


def forget() -> None:
    fields._remembered.cache_clear()
    fields._written.clear()


def act(step: tuple[Any, ...]) -> Any:
    if step[0] == "configure":
        configure(max_depth=step[1], signing_keys=step[2])
        return None
    if step[0] == "extract":
        _, (carrier, content), policy, keys = step
        return shown(carrier.extract(content, policy=policy, keys=keys))
    written = [carriers.headers.inject({}, step[1], keys=step[2])]
    written.append({name.decode(): value.decode() for name, value in carriers.asgi.inject([], step[1], keys=step[2])})
    return [(each["tracestate"], each["x-run-id"], read_traceparent(each["traceparent"])) for each in written]


@settings(max_examples=settings().max_examples * 3)
@given(histories())
def test_a_process_with_a_history_answers_as_a_fresh_one(history: list[tuple[Any, ...]]) -> None:
    forget()
    try:
        answers = [act(step) for step in history]
        configure(signing_keys=None, max_depth=MAX_DEPTH)
        fresh = []
        for step in history:
            forget()
            fresh.append(act(step))
    finally:
        configure(signing_keys=None, max_depth=MAX_DEPTH)
    assert answers == fresh


@given(histories())
def test_asked_again_it_answers_the_same(history: list[tuple[Any, ...]]) -> None:
    try:
        for step in history:
            assert act(step) == act(step)
    finally:
        configure(signing_keys=None, max_depth=MAX_DEPTH)


def test_an_environment_with_another_token_leaves_the_headers_alone() -> None:
    run_id = RunId.generate(RunId.generate())
    headers = carriers.headers.inject({}, run_id)
    env = {name.upper(): value for name, value in headers.items()}
    assert carriers.environ.extract({**env, "AGENT_RUN_ID": run_id.value}).run_id == run_id
    found = carriers.headers.extract(headers).run_id
    assert found is not None
    assert found.token == run_id.token


def test_a_name_that_is_no_text_hides_nothing() -> None:
    run_id = RunId.generate(RunId.generate())
    for odd in (1, None, b"name", ("a",)):
        headers: dict[Any, Any] = carriers.headers.inject({odd: "x"}, run_id)
        for _ in range(2):
            found = carriers.headers.extract(headers).run_id
            assert found is not None
            assert found.token == run_id.token


def test_a_limit_that_is_lowered_later_holds_for_what_was_known_before() -> None:
    program = """
        import agent_run_id as ari
        headers = ari.carriers.headers.inject({}, ari.RunId.generate(ari.RunId.generate(ari.RunId.generate())))
        answers = [bool(ari.carriers.headers.extract(headers))]
        ari.configure(max_depth=2)
        answers.append(ari.carriers.headers.extract(headers).refused.partition(":")[0])
        ari.configure(max_depth=3)
        answers.append(bool(ari.carriers.headers.extract(headers)))
        print(answers)
    """
    assert run_program(program).strip() == "[True, 'too deep', True]"
