"""`Inbound`: what an edge found, as a parent and as a scope, in a process that joined a run and in one that did not."""

from __future__ import annotations

import asyncio
import copy
import json
import multiprocessing
import os
import pickle
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_run_id import (
    ROOT,
    BoundProcessPoolExecutor,
    BoundThread,
    BoundThreadPoolExecutor,
    Inbound,
    RunContext,
    RunId,
    bind,
    carriers,
    carry,
    child_env,
    current_run_id,
    start_run,
    traced,
)
from agent_run_id.ids import MAX_DEPTH
from agent_run_id.scope import current_parent
from agent_run_id.testing import run_ids
from agent_run_id.w3c import Trace, read_traceparent
from tests.programs import run_program
from tests.strategies import spans, trace_ids, traced_run_ids, traces

if TYPE_CHECKING:
    import uuid
    from collections.abc import AsyncIterator, Callable, Iterator

    from agent_run_id import RunRegistry

FOREIGN = Trace("0af7651916cd43dd8448eb211c80319c", 1, (("vendor", "a b"), ("other@x", "1")))
HEAD = f"00-{FOREIGN.trace_id}-b7ad6b7169203331-01"
STATE = "vendor=a b,other@x=1"
SENDER = RunId.generate(RunId.generate())

EMPTY = Inbound()
TRACE_ONLY = carriers.headers.extract({"traceparent": HEAD, "tracestate": STATE})
LINK = carriers.headers.extract({"x-run-id": SENDER.value}, policy="link")
VALID = carriers.headers.extract(carriers.headers.inject({}, SENDER.in_trace(FOREIGN)))
ALL = {"empty": EMPTY, "trace only": TRACE_ONLY, "link": LINK, "valid": VALID}
each = pytest.mark.parametrize("inbound", ALL.values(), ids=ALL)

inbounds = st.builds(
    Inbound,
    st.none() | run_ids() | traced_run_ids,
    link=st.none() | run_ids(),
    refused=st.none() | st.text(),
    trace=st.none() | traces(),
)


def whole(found: Inbound) -> tuple[Any, ...]:
    run_id, link = found.run_id, found.link
    ours = None if run_id is None else (run_id.token, run_id.trace)
    return ours, None if link is None else link.token, found.refused, found.trace


def headers_here() -> dict[str, str]:
    """What a request sent from here would say."""
    return carriers.headers.inject({})


def expected_under(inbound: Inbound) -> tuple[str | None, int, Trace | None]:
    """The parent, the depth and the trace of a run that starts under it."""
    run_id = inbound.run_id
    return (None, 0, inbound.trace) if run_id is None else (run_id.value, run_id.depth + 1, inbound.trace)


def place_of(run_id: RunId) -> tuple[str | None, int, Trace | None]:
    return run_id.parent_id, run_id.depth, run_id.trace


# The value ------------------------------------------------------------------------------------------------------------


@given(inbounds)
def test_it_is_frozen_and_pickles_and_is_true_where_there_is_a_run(inbound: Inbound) -> None:
    for again in (pickle.loads(pickle.dumps(inbound)), copy.deepcopy(inbound), copy.copy(inbound)):  # noqa: S301
        assert whole(again) == whole(inbound)
    assert bool(inbound) is (inbound.run_id is not None)
    names = ("run_id", "link", "refused", "trace")
    assert all((f"{name}=" in repr(inbound)) >= (getattr(inbound, name) is not None) for name in names)
    assert (
        repr(inbound) == "Inbound()" or inbound.run_id or inbound.link or inbound.trace or inbound.refused is not None
    )
    for name in names:
        with pytest.raises(AttributeError, match="frozen"):
            setattr(inbound, name, None)
        with pytest.raises(AttributeError, match="frozen"):
            delattr(inbound, name)


def test_what_these_tests_use_is_what_they_say() -> None:
    assert TRACE_ONLY.trace == VALID.trace == FOREIGN
    assert (TRACE_ONLY.run_id, TRACE_ONLY.link, LINK.run_id, LINK.trace) == (None, None, None, None)
    assert LINK.link == SENDER == VALID.run_id


# As a scope and as a parent -------------------------------------------------------------------------------------------


@each
@pytest.mark.open_runs
def test_a_run_starts_under_what_came_in_and_under_nothing_else(inbound: Inbound, registry: RunRegistry) -> None:
    @traced
    def call() -> None:
        started.append(current_run_id())

    started: list[RunId | None] = []
    with start_run("not this one"):
        started.append(start_run("direct", parent=inbound).id)
        with RunContext(inbound) as scope:
            assert scope.run_id is inbound.run_id is current_run_id()
            started.append(start_run("inside").id)
            call()
            with scope:  # a second entry is as good as the first
                started.append(start_run("again").id)
            with start_run("root", parent=ROOT) as root:
                assert place_of(root.id) == (None, 0, None)
    for run_id in started:
        assert run_id is not None
        assert place_of(run_id) == expected_under(inbound)
        record = registry.get(run_id)
        assert (record.parent_id, record.refused_parent) == (inbound.run_id and inbound.run_id.value, None)
        assert (SENDER.value in str(record.links)) is (inbound.link is not None)


@each
@pytest.mark.open_runs
def test_as_a_decorator_it_is_the_same_for_every_kind_of_function(inbound: Inbound) -> None:
    seen: list[tuple[RunId | None, RunId]] = []

    def look() -> None:
        seen.append((current_run_id(), start_run("inside").id))

    scope = RunContext(inbound)

    @scope
    def function() -> None:
        look()

    @scope
    def generator() -> Iterator[None]:
        look()
        yield
        look()

    @scope
    async def coroutine() -> None:
        await asyncio.sleep(0)
        look()

    @scope
    async def async_generator() -> AsyncIterator[None]:
        look()
        yield
        look()

    async def main() -> None:
        await asyncio.gather(coroutine(), coroutine())
        async for _ in async_generator():
            assert current_run_id() is own.run_id

    with RunContext(RunId.generate()) as own:
        function()
        function()
        for _ in generator():
            assert current_run_id() is own.run_id
        asyncio.run(main())
        assert current_run_id() is own.run_id
    assert len(seen) == 8
    for current, started in seen:
        assert current is inbound.run_id
        assert place_of(started) == expected_under(inbound)


@given(run_ids().filter(lambda run_id: run_id.depth < MAX_DEPTH - 1), traces(), spans)
def test_a_trace_goes_down_the_tree_and_its_parent_id_does_not(run_id: RunId, trace: Trace, span: str) -> None:
    fields = carriers.headers.inject({}, run_id.in_trace(trace))
    fields["traceparent"] = f"00-{trace.trace_id}-{span}-{trace.flags:02x}"
    with start_run("child", parent=carriers.headers.extract(fields)) as child, start_run("grandchild") as grandchild:
        assert child.id.trace == grandchild.id.trace == trace
        out = headers_here()
    assert read_traceparent(out["traceparent"]) == (trace.trace_id, trace.flags)
    assert span not in out["traceparent"]
    assert carriers.headers.extract(out).trace == trace


def in_thread(fn: Callable[[], Any]) -> Any:
    found: list[Any] = []
    thread = BoundThread(target=lambda: found.append(fn()))
    thread.start()
    thread.join()
    return found[0]


def in_pool(fn: Callable[[], Any]) -> Any:
    with BoundThreadPoolExecutor(1) as pool:
        return pool.submit(fn).result()


def in_process(fn: Callable[[], Any]) -> Any:
    with BoundProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(fn).result()


def carried(fn: Callable[[], Any]) -> Any:
    item = pickle.loads(pickle.dumps(carry(fn)))  # noqa: S301
    with RunContext(None), item as taken:
        return taken()


def bound(fn: Callable[[], Any]) -> Any:
    call = pickle.loads(pickle.dumps(bind(fn)))  # noqa: S301
    with RunContext(None):
        return call()


def in_subprocess(fn: Callable[[], Any]) -> Any:
    assert fn is headers_here
    return json.loads(
        run_program("import json, agent_run_id as ari; print(json.dumps(ari.carriers.headers.inject({})))")
    )


@pytest.mark.parametrize("wall", [in_thread, in_pool, in_process, carried, bound, in_subprocess])
def test_a_trace_crosses_the_walls_with_its_run(wall: Callable[[Callable[[], Any]], Any]) -> None:
    with start_run("request", parent=VALID) as run:
        found = carriers.headers.extract(wall(headers_here))
    assert found.run_id is not None
    assert (found.run_id.token, found.run_id.trace, found.trace) == (run.id.token, FOREIGN, FOREIGN)


def place_here() -> tuple[bool, str | None, Trace | None]:
    """Where a run that starts here is: whether it is a root, what it links to, and its trace."""
    parent = current_parent()
    link = None if parent is None or isinstance(parent, RunId) or parent.link is None else parent.link.token
    run = start_run("here")
    return run.id.is_root, link, run.id.trace


@pytest.mark.parametrize("wall", [in_thread, in_pool, in_process, carried, bound])
@pytest.mark.open_runs
def test_what_came_in_without_a_run_crosses_the_walls_too(wall: Callable[[Callable[[], Any]], Any]) -> None:
    link = RunId.generate()
    with RunContext(Inbound(link=link, trace=FOREIGN)):
        assert wall(place_here) == place_here() == (True, link.token, FOREIGN)
    assert wall(place_here) == (True, None, None)


@given(st.uuids(version=4) | st.uuids().filter(lambda value: value.int != 0))
def test_a_trace_of_our_own_is_the_root_and_random_only_where_the_root_is(root: uuid.UUID) -> None:
    run_id = RunId(root)
    for each_id in (run_id, RunId.generate(run_id), RunId.generate(RunId.generate(run_id))):
        head = carriers.headers.inject({}, each_id)["traceparent"]
        version, trace_id, span, flags = head.split("-")
        assert (version, trace_id, flags) == ("00", root.hex, "03" if root.version == 4 else "01")
        assert span != "0" * 16


# A process that joined ------------------------------------------------------------------------------------------------

PRELUDE = """
import asyncio, contextvars, json, os, threading
import agent_run_id as ari
from agent_run_id import Inbound, RunContext, RunId, carriers, current_run_id, start_run

def place(run_id):
    return None if run_id is None else [run_id.value, run_id.parent_id, run_id.depth]
def trace(run_id):
    return None if run_id is None or run_id.trace is None else repr(run_id.trace)
"""


def ask(program: str, **more: str) -> Any:
    """What a program prints that is started in no run, with these variables beside."""
    env = {name: value for name, value in child_env(**more).items() if name in more or not name.startswith("TRACE")}
    return json.loads(run_program(PRELUDE + program, env=env))


@pytest.mark.parametrize(
    "edge",
    [
        "inbound = carriers.headers.extract({}); scope = RunContext(inbound)",
        "inbound = carriers.headers.extract({'x-run-id': 'junk'}); scope = RunContext(inbound)",
        "inbound = carriers.environ.extract({}); scope = start_run('request', parent=inbound)",
        "scope = ari.Envelope(payload=1).open()",
    ],
)
def test_the_first_edge_drops_the_joined_run_for_the_whole_process(edge: str) -> None:
    program = f"""
async def main():
    earlier, inner, gate = contextvars.copy_context(), [], asyncio.Event()
    async def task():
        await gate.wait()
        return current_run_id()
    started = asyncio.ensure_future(task())
    await asyncio.sleep(0)
    before = place(current_run_id())
    {edge}
    with scope:
        inside = start_run("in the edge").id
        here = current_run_id()
    gate.set()
    after = [current_run_id(), earlier.run(current_run_id), await started, start_run("later").id.parent_id]
    print(json.dumps([before, inside.root_id == (here or inside).value, after]))
asyncio.run(main())
"""
    before, is_root, after = ask(program, AGENT_RUN_ID=SENDER.token)
    assert before == [SENDER.value, SENDER.parent_id, 1]
    assert is_root
    assert after == [None] * 4


def test_until_then_the_process_goes_on_in_the_run_it_joined() -> None:
    program = 'print(json.dumps(place(start_run("tool").id)[1:]))'
    assert ask(program, AGENT_RUN_ID=SENDER.token) == [SENDER.value, 2]


@given(trace_ids, spans)
def test_a_bare_traceparent_is_nothing_to_join(trace_id: str, span: str) -> None:
    env = {"TRACEPARENT": f"00-{trace_id}-{span}-01", "TRACESTATE": f"runid={SENDER.token}"}
    assert carriers.environ.joinable(env) is None


def test_a_process_with_a_bare_traceparent_begins_trees_and_traces_of_its_own() -> None:
    program = """
run = start_run("tool")
with run:
    head = carriers.headers.inject({})["traceparent"]
own = head.split("-")[1] == run.id.value.replace("-", "")
print(json.dumps([current_run_id(), run.id.parent_id, trace(run.id), own]))
"""
    assert ask(program, TRACEPARENT=HEAD, TRACESTATE=f"runid={SENDER.token}") == [None, None, None, True]


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"TRACEPARENT": HEAD, "TRACESTATE": STATE}, FOREIGN),
        ({"TRACEPARENT": HEAD, "TRACESTATE": f"runid={SENDER.token},{STATE}"}, FOREIGN),
        ({"TRACEPARENT": HEAD}, Trace(FOREIGN.trace_id, 1)),
        ({"TRACEPARENT": HEAD, "TRACESTATE": "not valid"}, Trace(FOREIGN.trace_id, 1)),
        ({"TRACEPARENT": "not valid", "TRACESTATE": STATE}, None),
        ({"TRACESTATE": STATE}, None),
        ({"traceparent": HEAD, "Tracestate": STATE}, None),
    ],
)
def test_the_trace_beside_the_token_is_that_of_the_joined_run(more: dict[str, str], expected: Trace | None) -> None:
    program = """
child = start_run("tool").id
with RunContext(child):
    found = carriers.headers.extract(carriers.headers.inject({}))
print(json.dumps([current_run_id().token, trace(current_run_id()), trace(child), trace(found.run_id)]))
"""
    shown = None if expected is None else repr(expected)
    assert ask(program, AGENT_RUN_ID=SENDER.token, **more) == [SENDER.token, shown, shown, shown]


@pytest.mark.parametrize("token", ["", "junk", SENDER.token.upper(), f"{SENDER.token}\n", f"{SENDER.token}0"])
def test_what_is_no_token_is_not_joined_whatever_is_beside_it(token: str) -> None:
    state = f"runid={SENDER.token}"
    assert (
        ask("print(json.dumps(place(current_run_id())))", AGENT_RUN_ID=token, TRACEPARENT=HEAD, TRACESTATE=state)
        is None
    )


def test_the_environment_is_copied_whole_and_never_changed() -> None:
    before = dict(os.environ)
    stale = {
        "agent_run_id": "kept",
        "AGENT_RUN_ID": "x",
        "TRACEPARENT": "y",
        "TRACESTATE": f"runid={SENDER.token}",
        "traceparent": "kept",
    }
    kept = {"agent_run_id": "kept", "traceparent": "kept"}
    assert carriers.environ.inject(stale, None) == kept
    with start_run("request", parent=VALID) as run:
        env = carriers.environ.inject(stale)
        assert carriers.environ.inject().keys() >= before.keys()
    assert {name: value for name, value in env.items() if name.islower()} == kept
    found = carriers.environ.extract(env)
    assert found.run_id is not None
    assert (found.run_id.token, found.trace) == (run.id.token, FOREIGN)
    assert dict(os.environ) == before
