"""ASGI: how the run of a request ends: by what was answered, by what was raised, by a client that went away."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import fastapi
import httpx
import pytest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.websockets import WebSocketDisconnect

from agent_run_id import start_run
from agent_run_id.integrations.asgi import RunMiddleware

from .services import client_of, serving

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from starlette.websockets import WebSocket

    from agent_run_id import RunRegistry

anyio_test = pytest.mark.anyio


class RefusedError(Exception):
    pass


def answering(endpoint: Callable[[Request], Any], **options: Any) -> Any:
    """An application of one endpoint, with the middleware inside Starlette's answer to errors, where users put it."""
    app = Starlette(routes=[Route("/", endpoint, methods=["GET", "POST"])])
    app.add_middleware(RunMiddleware, inbound="trust", **options)
    return app


async def raises(request: Request) -> Response:
    raise RefusedError("no such order")


# What the application does --------------------------------------------------------------------------------------------


@anyio_test
async def test_an_exception_that_leaves_it_fails_the_run_and_names_it(registry: RunRegistry) -> None:
    async with client_of(answering(raises)) as client:
        with pytest.raises(RefusedError) as raised:
            await client.get("/")
    run = registry.get("@last")
    assert run.status == "failed"
    assert run.error is not None
    assert run.error.message == "no such order"
    assert raised.value.__notes__ == [f"agent run {run.id} (GET /)"]


@anyio_test
async def test_around_everything_it_sees_the_answer_to_an_exception_too(registry: RunRegistry) -> None:
    app = RunMiddleware(Starlette(routes=[Route("/", raises)]), inbound="trust")
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
        response = await client.get("/")
    run = registry.get(response.headers["x-run-id"])
    assert (run.status, response.status_code) == ("failed", 500)
    assert run.attributes["http.response.status_code"] == 500
    assert run.error is not None
    assert run.error.message == "no such order"  # and not that 500 was answered


@anyio_test
@pytest.mark.parametrize("expected", [RefusedError, (KeyError, RefusedError)])
async def test_an_expected_exception_is_no_failure(registry: RunRegistry, expected: Any) -> None:
    async with client_of(answering(raises, expected=expected)) as client:
        with pytest.raises(RefusedError) as raised:
            await client.get("/")
    assert registry.get("@last").status == "succeeded"
    assert not hasattr(raised.value, "__notes__")


@anyio_test
@pytest.mark.parametrize("framework", [Starlette, fastapi.FastAPI])
@pytest.mark.parametrize("how", ["raised", "returned"])
@pytest.mark.parametrize(
    ("status", "outcome"), [(404, "succeeded"), (499, "succeeded"), (500, "failed"), (503, "failed")]
)
async def test_an_answer_from_500_on_is_a_failure(
    registry: RunRegistry, framework: Any, how: str, status: int, outcome: str
) -> None:
    async def endpoint(request: Request) -> Response:
        if how == "raised":
            raise HTTPException(status)
        return Response(status_code=status)

    app = framework(routes=[Route("/", endpoint)])
    app.add_middleware(RunMiddleware, inbound="trust")
    async with client_of(app) as client:
        response = await client.get("/")
    run = registry.get(response.headers["x-run-id"])
    assert (run.status, run.attributes["http.response.status_code"]) == (outcome, status)
    assert (run.error is not None and run.error.message) == (outcome == "failed" and f"answered {status}")


@anyio_test
async def test_a_cancelled_request_is_cancelled(registry: RunRegistry) -> None:
    async def endpoint(request: Request) -> Response:
        with start_run("part"):
            group.cancel_scope.cancel()
            await anyio.sleep_forever()
        return Response()

    async with client_of(answering(endpoint)) as client, anyio.create_task_group() as group:
        group.start_soon(client.get, "/")
    assert [(run.name, run.status) for run in registry.find(order="oldest")] == [
        ("GET /", "cancelled"),
        ("part", "cancelled"),
    ]


# What the client does -------------------------------------------------------------------------------------------------


async def drive(app: Any, *parts: str, gone_after: int = 0, told: bool = False) -> None:
    """Serve a client that sends a body in parts and goes; `told`: a server that says so when something is sent."""
    coming = [{"type": "http.request", "body": part.encode(), "more_body": True} for part in parts]
    gone = anyio.Event()
    sent = 0

    async def receive() -> Any:
        if coming:
            return coming.pop(0)
        if sent < gone_after:
            await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        nonlocal sent
        await anyio.lowlevel.checkpoint()
        if told and sent >= gone_after:
            raise ConnectionResetError("the client has gone")
        sent += 1
        if sent >= gone_after:
            gone.set()

    asgi = {"version": "3.0", "spec_version": "2.4" if told else "2.3"}
    scope = {"type": "http", "asgi": asgi, "method": "POST", "path": "/", "query_string": b"", "headers": []}
    await app(scope, receive, send)


class Endless:
    """No generator, because nobody would close it, which trio complains of."""

    def __aiter__(self) -> Endless:
        return self

    async def __anext__(self) -> bytes:
        await anyio.lowlevel.checkpoint()
        return b"more"


async def streams(request: Request) -> Response:
    return StreamingResponse(Endless())


@anyio_test
async def test_a_client_that_goes_while_it_is_answered_cancels_the_run(registry: RunRegistry) -> None:
    await drive(answering(streams), gone_after=2)  # starlette listens for the end of the client, and stops
    run = registry.get("@last")
    assert (run.status, run.attributes["http.response.status_code"]) == ("cancelled", 200)
    assert run.error is not None
    assert run.error.message == "the client has gone before it had its answer"


@anyio_test
async def test_a_server_that_says_so_when_something_is_sent_cancels_the_run(registry: RunRegistry) -> None:
    with pytest.raises(ClientDisconnect):
        await drive(answering(streams), gone_after=2, told=True)
    assert registry.get("@last").status == "cancelled"


@anyio_test
async def test_without_a_framework_the_error_of_the_server_is_no_failure_and_another_is(registry: RunRegistry) -> None:
    app = PlainTextResponse("answer")
    with pytest.raises(ConnectionResetError, match="client"):
        await drive(RunMiddleware(app, inbound="trust"), gone_after=1, told=True)
    assert registry.get("@last").status == "cancelled"

    async def fails(scope: Any, receive: Any, send: Any) -> None:
        raise ConnectionResetError("the database has gone")

    with pytest.raises(ConnectionResetError, match="database"):
        await drive(RunMiddleware(fails, inbound="trust"))
    assert registry.get("@last").status == "failed"


@anyio_test
async def test_a_client_that_goes_while_it_asks_cancels_the_run_and_those_in_it(registry: RunRegistry) -> None:
    async def reads(request: Request) -> Response:
        with start_run("upload"):
            return PlainTextResponse(await request.body())

    with pytest.raises(ClientDisconnect):
        await drive(answering(reads), "first", "second")
    assert {run.name: run.status for run in registry.find()} == {"POST /": "cancelled", "upload": "cancelled"}


@anyio_test
async def test_an_application_that_looks_and_stops_is_cancelled(registry: RunRegistry) -> None:
    async def looks(request: Request) -> Response:
        while not await request.is_disconnected():
            await anyio.lowlevel.checkpoint()
        return Response()

    await drive(answering(looks))
    assert registry.get("@last").status == "cancelled"


@anyio_test
async def test_one_that_fails_all_the_same_has_failed(registry: RunRegistry) -> None:
    async def fails(request: Request) -> Response:
        while not await request.is_disconnected():
            await anyio.lowlevel.checkpoint()
        raise RefusedError

    with pytest.raises(RefusedError):
        await drive(answering(fails))
    assert registry.get("@last").status == "failed"


@anyio_test
async def test_the_end_of_the_client_behind_the_answer_is_the_usual_one(registry: RunRegistry) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await PlainTextResponse("answer")(scope, receive, send)
        assert (await receive())["type"] == "http.disconnect"

    await drive(RunMiddleware(app, inbound="trust"))
    assert registry.get("@last").status == "succeeded"


@pytest.mark.parametrize("framework", [Starlette, fastapi.FastAPI])
def test_under_a_server_a_client_that_goes_cancels_the_run(registry: RunRegistry, framework: Any) -> None:
    async def waits(request: Request) -> Response:
        async def body() -> AsyncGenerator[bytes]:
            yield b"first"
            await anyio.sleep_forever()

        return StreamingResponse(body())

    app = framework(routes=[Route("/", waits)])
    app.add_middleware(RunMiddleware, inbound="trust")
    with serving(app) as served, httpx.Client(trust_env=False) as client:
        with client.stream("GET", served.url) as response:
            assert next(response.iter_raw()) == b"first"
        served.settle()
    assert registry.get(response.headers["x-run-id"]).status == "cancelled"


# Websockets -----------------------------------------------------------------------------------------------------------


async def leaves(websocket: WebSocket) -> None:
    await websocket.accept()
    while True:  # what the framework raises when the client has gone is not caught
        await websocket.receive_text()


async def fails(websocket: WebSocket) -> None:
    await websocket.accept()
    raise RefusedError


async def denies(websocket: WebSocket) -> None:
    await websocket.send_denial_response(Response(status_code=503))


async def closes(websocket: WebSocket) -> None:
    await websocket.close()


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize(
    ("endpoint", "raised", "outcome"),
    [
        (leaves, WebSocketDisconnect, "cancelled"),
        (fails, RefusedError, "failed"),
        (denies, WebSocketDenialResponse, "failed"),
        (closes, WebSocketDisconnect, "succeeded"),
    ],
)
def test_a_websocket_ends_by_what_becomes_of_it(
    registry: RunRegistry, backend: Any, endpoint: Any, raised: Any, outcome: str
) -> None:
    app = Starlette(routes=[WebSocketRoute("/", endpoint)])
    app.add_middleware(RunMiddleware, inbound="trust")
    with pytest.raises(raised), TestClient(app, backend=backend).websocket_connect("/"):
        pass
    assert registry.get("@last").status == outcome
