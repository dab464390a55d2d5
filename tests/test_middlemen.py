"""Middlemen: what comes through services, brokers and protocols that know nothing of runs, and how deep it goes."""

from __future__ import annotations

import contextlib
import json
import sys
import textwrap
from typing import TYPE_CHECKING, Any

import fastapi
import httpx
import mcp
import pytest
from faststream.nats import NatsBroker, TestNatsBroker
from opentelemetry import trace as otel
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from pydantic import BaseModel
from starlette.responses import StreamingResponse

from agent_run_id import Envelope, RunId, SigningKeys, carriers, child_env, current_run, current_run_id, start_run
from agent_run_id.ids import random_span
from agent_run_id.integrations.asgi import RunMiddleware
from agent_run_id.integrations.httpx import instrument
from agent_run_id.testing import assert_tree

from .services import TLS, Handler, client_of, listening, opened, post, serving

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator

    from agent_run_id import RunRegistry

PROPAGATOR = TraceContextTextMapPropagator()
KEYS = SigningKeys({"k": "s" * 32})
TRACE = "0af7651916cd43dd8448eb211c80319c"


# OpenTelemetry --------------------------------------------------------------------------------------------------------


def through_opentelemetry(headers: dict[str, str], *, trace_id: int | None = None) -> dict[str, str]:
    """What a service with OpenTelemetry sends on, in a span of its own; of a trace of its own when it has an id."""
    came_in = otel.get_current_span(PROPAGATOR.extract(headers)).get_span_context()
    restarts = trace_id is not None
    span = otel.SpanContext(
        trace_id=came_in.trace_id if trace_id is None else trace_id,
        span_id=int(random_span(), 16),
        is_remote=False,
        trace_flags=otel.TraceFlags(otel.TraceFlags.SAMPLED) if restarts else came_in.trace_flags,
        trace_state=None if restarts else came_in.trace_state,
    )
    sent: dict[str, str] = {}
    PROPAGATOR.inject(sent, otel.set_span_in_context(otel.NonRecordingSpan(span)))
    return sent


def test_opentelemetry_that_continues_the_trace_brings_the_whole_lineage() -> None:
    with start_run("plan"), start_run("ask") as ask:
        sent = carriers.headers.inject({}, keys=KEYS)
    came = through_opentelemetry(sent)
    assert came["traceparent"][:36] == sent["traceparent"][:36]
    assert came["traceparent"] != sent["traceparent"]
    inbound = carriers.headers.extract(came, keys=KEYS)
    assert inbound.run_id is not None
    assert (inbound.run_id.token, inbound.refused) == (ask.id.token, None)
    with start_run("answer", parent=inbound) as answer:
        assert (answer.id.parent_id, answer.id.root_id, answer.id.depth) == (ask.id.value, ask.id.root_id, 2)
        assert carriers.headers.inject({})["traceparent"][:36] == sent["traceparent"][:36]


def test_opentelemetry_that_restarts_the_trace_leaves_the_bare_id_or_nothing(registry: RunRegistry) -> None:
    with start_run("plan"), start_run("ask") as ask:
        sent = carriers.headers.inject({})
    came = through_opentelemetry(sent, trace_id=int(TRACE, 16))
    with start_run("lost", parent=carriers.headers.extract(came)) as lost:
        assert lost.id.is_root
        assert carriers.headers.inject({})["traceparent"][:36] == f"00-{TRACE}-"
    with start_run("found", parent=carriers.headers.extract(came | {"X-Run-Id": sent["x-run-id"]})) as found:
        assert (found.id.parent_id, found.id.depth) == (ask.id.value, 1)  # its own place is not known here
        assert carriers.headers.inject({})["traceparent"][:36] == f"00-{TRACE}-"
    assert registry.get(found.id).depth == 2  # but the record of its parent says it


def test_a_trace_that_began_in_opentelemetry_goes_through_us_to_opentelemetry() -> None:
    span = otel.SpanContext(
        int(TRACE, 16), 1, is_remote=True, trace_state=otel.TraceState([("foo", "1"), ("bar", "2")])
    )
    began: dict[str, str] = {}
    PROPAGATOR.inject(began, otel.set_span_in_context(otel.NonRecordingSpan(span)))
    with start_run("answer", parent=carriers.headers.extract(began)):
        ended = otel.get_current_span(PROPAGATOR.extract(carriers.headers.inject({}))).get_span_context()
    assert ended.trace_id == span.trace_id
    assert list(ended.trace_state) == ["runid", "foo", "bar"]


# Plain HTTP and brokers -----------------------------------------------------------------------------------------------


@contextlib.contextmanager
def passing_on(target: str) -> Generator[str]:
    """A service that knows the W3C's two headers and nothing else, and has a member of its own in the state."""

    class Passing(Handler):
        def do_POST(self) -> None:  # noqa: N802 - what http.server calls
            version, trace_id, _, flags = self.headers["traceparent"].split("-")
            state = ",".join(["vendor=1", *self.headers.get_all("tracestate", [])])
            sent = [("traceparent", f"{version}-{trace_id}-{random_span()}-{flags}"), ("tracestate", state)]
            self.answer(post(target, json.loads(self.body()), sent))

    with listening(Passing) as url:
        yield url


def test_a_service_that_only_knows_the_standard_passes_the_whole_lineage_on(registry: RunRegistry) -> None:
    seen: list[RunId] = []

    class Answering(Handler):
        def do_POST(self) -> None:  # noqa: N802 - what http.server calls
            self.body()
            with start_run("answer", parent=carriers.headers.extract(self.headers, keys=KEYS)) as run:
                seen.append(run.id)
            self.answer()

    with (
        listening(Answering) as back,
        passing_on(back) as second,
        passing_on(second) as first,
        start_run("plan"),
        start_run("ask") as ask,
    ):
        assert post(first, {}, carriers.headers.inject({}, keys=KEYS).items()) == 200
    (answer,) = seen
    assert (answer.parent_id, answer.root_id, answer.depth) == (ask.id.value, ask.id.root_id, 2)
    assert answer.trace is not None
    assert answer.trace.members == (("vendor", "1"),)
    assert [node.record.name for node in registry.tree("@last")] == ["plan", "ask", "answer"]


@pytest.mark.parametrize("shape", [list, tuple, lambda pairs: [list(pair) for pair in pairs]])
def test_the_headers_of_a_record_come_out_of_a_broker_as_bytes_in_pairs(shape: Any) -> None:
    with start_run("plan"), start_run("order") as order:
        sent = carriers.kafka.inject([("type", b"order"), ("empty", None)])  # type: ignore[list-item]
    assert all(isinstance(value, bytes) for name, value in sent if name != "empty")
    inbound = carriers.kafka.extract(shape(sent))
    assert inbound.run_id is not None
    assert inbound.run_id.token == order.id.token
    assert not carriers.kafka.extract(None)
    with start_run("relay", parent=inbound) as relay:
        passed_on = carriers.kafka.inject(list(sent))
    assert [name for name, _ in passed_on] == [name for name, _ in sent]  # and none of them twice
    again = carriers.kafka.extract(passed_on)
    assert again.run_id is not None
    assert again.run_id.token == relay.id.token


# Message bodies -------------------------------------------------------------------------------------------------------


class Order(BaseModel):
    item: str
    pieces: int = 1


@pytest.mark.parametrize("anyio_backend", [("asyncio", {"use_uvloop": False}), ("asyncio", {"use_uvloop": True})])
@pytest.mark.anyio
async def test_an_envelope_is_the_body_of_a_message_for_faststream(registry: RunRegistry) -> None:
    broker = NatsBroker()
    handled: list[tuple[str, RunId | None]] = []

    @broker.subscriber("orders")
    async def handle(message: Envelope[Order]) -> None:
        with message.open() as order, start_run(f"pack {order.item}", kind="job"):
            handled.append((order.item, current_run().id))

    async with TestNatsBroker(broker) as test:
        with start_run("shop") as shop:
            await test.publish(Envelope.wrap(Order(item="ink")), "orders")
        with start_run("stranger") as stranger:
            await test.publish({"payload": {"item": "pen"}}, "orders")  # from somebody who knows no runs
            assert current_run_id() is stranger.id
    assert [item for item, _ in handled] == ["ink", "pen"]
    assert [node.record.name for node in registry.tree(shop.id)] == ["shop", "pack ink"]
    assert len(registry.tree(stranger.id)) == 1


@pytest.mark.anyio
async def test_an_envelope_is_the_body_of_a_request_for_fastapi(registry: RunRegistry) -> None:
    app = fastapi.FastAPI()

    @app.post("/orders")
    async def order(message: Envelope[Order]) -> Envelope[str]:
        with message.open() as order, start_run(f"pack {order.item}", kind="job"):
            return Envelope.wrap(f"{order.pieces} of {order.item}")

    async with client_of(app) as client:
        with start_run("shop") as shop:
            content = Envelope.wrap(Order(item="ink", pieces=3)).model_dump_json()
        response = await client.post("/orders", content=content, headers={"content-type": "application/json"})
        invalid = await client.post("/orders", json={"payload": {"pieces": 3}})
        no_run = await client.post("/orders", json={"payload": {"item": "pen"}, "agent_run": {"run_id": 7}})
    answer = Envelope[str].model_validate_json(response.content)
    assert answer.payload == "3 of ink"
    assert (invalid.status_code, no_run.status_code) == (422, 200)
    _, pack = registry.tree(shop.id)
    found = answer.extract().run_id
    assert found is not None
    assert (pack.record.name, pack.record.id, pack.record.depth) == ("pack ink", found.value, 1)
    assert "Envelope_Order_" in app.openapi()["components"]["schemas"]


# MCP ------------------------------------------------------------------------------------------------------------------

SERVER = textwrap.dedent(
    """
    import agent_run_id as ari
    from mcp.server.mcpserver import Context, MCPServer

    server = MCPServer("weather")

    @server.tool()
    async def forecast(place: str, ctx: Context) -> str:
        inbound = ari.carriers.mcp.extract(ctx.request_context.meta)
        with ari.start_run(f"forecast {place}", kind="tool", parent=inbound) as run:
            return run.id.token + " " + ari.carriers.headers.inject({})["traceparent"]

    server.run()
    """
)


@contextlib.asynccontextmanager
async def weather() -> AsyncGenerator[mcp.Client]:
    """A client of a server in a process of its own, which is started in the current run."""
    parameters = mcp.StdioServerParameters(command=sys.executable, args=["-c", SERVER], env=child_env())
    async with mcp.Client(parameters) as client:
        yield client


async def forecast(client: mcp.Client, place: str, meta: Any) -> tuple[RunId, str]:
    """Call the tool, and give the run it has started and the trace that this one is in."""
    result = await client.call_tool("forecast", {"place": place}, meta=meta)
    (content,) = result.content
    assert isinstance(content, mcp.types.TextContent)
    token, traceparent = content.text.split()
    return RunId.from_token(token), traceparent.split("-")[1]


@pytest.mark.anyio
async def test_a_tool_of_an_mcp_server_is_under_the_run_that_calls_it(registry: RunRegistry) -> None:
    span = otel.NonRecordingSpan(otel.SpanContext(int(TRACE, 16), 1, is_remote=False))
    with start_run("deploy") as deploy:
        session = contextlib.AsyncExitStack()
        client = await session.enter_async_context(weather())
    async with session:
        with start_run("plan"), start_run("look") as look:
            known = await forecast(client, "Oslo", carriers.mcp.inject({"theirs": 1}))
            with otel.use_span(span):  # the SDK then writes a traceparent of its own over ours
                traced = await forecast(client, "Voss", carriers.mcp.inject())
            unknown = await forecast(client, "Bergen", {"theirs": 1})
    for (run_id, trace_id), expected in ((known, look.id.root_id.replace("-", "")), (traced, TRACE)):
        assert (run_id.parent_id, run_id.root_id, run_id.depth) == (look.id.value, look.id.root_id, 2)
        assert trace_id == expected
    assert unknown[0].is_root
    assert_tree(
        registry.tree(look.id.root_id),
        """
        plan
            look
                forecast Oslo
                forecast Voss
        """,
    )
    assert len(registry.tree(deploy.id)) == 1  # the server joined it, and serves everybody


# Three services -------------------------------------------------------------------------------------------------------


def service(name: str, target: str | None) -> Any:
    """A FastAPI application that streams what it is told by the next one, through one client that it keeps."""

    @contextlib.asynccontextmanager
    async def lifespan(app: Any) -> AsyncGenerator[dict[str, Any]]:
        async with opened(httpx.AsyncClient) as client:
            yield {"client": instrument(client, runs=True)}

    app = fastapi.FastAPI(lifespan=lifespan)
    app.add_middleware(RunMiddleware, inbound="trust")

    @app.get(f"/{name}/{{trip}}")
    async def answer(trip: str, request: fastapi.Request) -> StreamingResponse:
        async def body() -> AsyncGenerator[str]:
            yield f"{name} begins\n"
            if target is None:
                with start_run(f"search {trip}"):
                    yield f"{trip}\n"
            else:
                async with request.state.client.stream("GET", f"{target}/{trip}") as response:
                    async for line in response.aiter_lines():
                        yield f"{line}\n"
            yield f"{name} ends\n"

        return StreamingResponse(body())

    return app


def test_three_services_that_stream_to_each_other_are_one_tree_for_each_request(registry: RunRegistry) -> None:
    with contextlib.ExitStack() as stack:
        target = None
        for name in ("c", "b", "a"):
            served = stack.enter_context(serving(service(name, target)))
            target = f"{served.url}/{name}"
        plans: dict[str, RunId] = {}
        with httpx.Client(trust_env=False, verify=TLS) as client:
            instrument(client)
            for trip in ("oslo", "voss"):  # of one connection at every hop
                with start_run(f"plan {trip}") as plan:
                    plans[trip] = plan.id
                    lines = client.get(f"{target}/{trip}").text.split("\n")
                assert lines == ["a begins", "b begins", "c begins", trip, "c ends", "b ends", "a ends", ""]
            text = client.get(f"{target}/nobody").text
        assert text.splitlines()[3] == "nobody"
    for trip, run_id in plans.items():
        assert_tree(
            registry.tree(run_id),
            f"""
            plan {trip} [task]
              GET /a/{trip} [request]
                GET 127.0.0.1/b/{trip} [http]
                  GET /b/{trip} [request]
                    GET 127.0.0.1/c/{trip} [http]
                      GET /c/{trip} [request]
                        search {trip} [task]
            """,
        )
        assert {node.record.root_id for node in registry.tree(run_id)} == {run_id.value}
    assert len(registry.tree("@last")) == 6
    assert registry.get("@last").name == "GET /a/nobody"
