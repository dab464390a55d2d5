"""ASGI: a run for every request, with Starlette and FastAPI, in this process and under a server."""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
from typing import TYPE_CHECKING, Any

import anyio
import fastapi
import httpx
import pytest
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.testclient import TestClient

from agent_run_id import (
    RunId,
    carriers,
    child_env,
    current_run,
    current_run_id,
    start_run,
)
from agent_run_id.integrations.asgi import RunMiddleware

from .programs import run_program
from .services import client_of, serving

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator, Iterator

    from starlette.requests import Request
    from starlette.websockets import WebSocket

    from agent_run_id import RunRegistry

CALLER = RunId.generate(RunId.generate())


def called_by(caller: RunId, **kwargs: Any) -> dict[str, str]:
    return carriers.headers.inject({}, caller, **kwargs)


async def token(request: Request) -> Response:
    run_id = current_run_id()
    return PlainTextResponse("-" if run_id is None else run_id.token)


def with_starlette() -> Any:
    app = Starlette(routes=[Route("/items/{item}", token)])
    app.add_middleware(RunMiddleware, inbound="trust")
    return app


def with_fastapi() -> Any:
    app = fastapi.FastAPI()
    app.add_api_route("/items/{item}", lambda item: PlainTextResponse(current_run_id().token))  # type: ignore[union-attr]
    app.add_middleware(RunMiddleware, inbound="trust")
    return app


@pytest.mark.anyio
@pytest.mark.parametrize("make", [with_starlette, with_fastapi])
async def test_a_request_is_a_run_named_for_it_under_that_of_its_caller(
    registry: RunRegistry, make: Callable[[], Any]
) -> None:
    async with client_of(make()) as client:
        response = await client.get("/items/7?q=secret", headers=called_by(CALLER))
    run_id = RunId.from_token(response.text)
    assert response.headers.get_list("x-run-id") == [run_id.value]
    assert (run_id.parent_id, run_id.root_id, run_id.depth) == (CALLER.value, CALLER.root_id, 2)
    (run,) = registry.find()
    assert (run.id, run.name, run.kind, run.status) == (run_id.value, "GET /items/7", "request", "succeeded")
    assert run.attributes == {
        "http.request.method": "GET",
        "url.path": "/items/7",
        "http.response.status_code": 200,
        "http.route": "/items/{item}",
    }


@pytest.mark.anyio
async def test_a_request_of_nobody_is_a_root_also_where_a_run_is_current() -> None:
    async with client_of(with_starlette()) as client:
        with start_run("stranger"):
            assert RunId.from_token((await client.get("/items/7")).text).is_root


@pytest.mark.anyio
async def test_a_stale_run_id_in_the_answer_is_replaced_and_other_headers_are_not_touched() -> None:
    theirs = [(b"Set-Cookie", b"a=1"), (b"X-Run-ID", b"stale"), (b"set-cookie", b"b=2"), (b"x-run-id", b"stale too")]
    sent: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 204, "headers": theirs, "trailers": False})
        await send({"type": "http.response.body"})

    async def send(message: Any) -> None:
        sent.append(message)

    scope: Any = {"type": "http", "method": "GET", "headers": []}
    receive: Any = anyio.sleep_forever
    await RunMiddleware(app, inbound="trust")(scope, receive, send)
    start, body = sent
    assert start["headers"][:-1] == [theirs[0], theirs[2]]
    assert (start["headers"][-1][0], start["status"], start["trailers"]) == (b"x-run-id", 204, False)
    assert body == {"type": "http.response.body"}
    assert len(theirs) == 4  # the application's list is its own


def with_routes() -> Any:
    inner, outer, below, app = (
        fastapi.APIRouter(prefix="/inner"),
        fastapi.APIRouter(),
        fastapi.FastAPI(),
        fastapi.FastAPI(),
    )
    for router in (inner, below):
        router.add_api_route("/{item}", lambda item: item)
    outer.include_router(inner, prefix="/outer")
    app.include_router(outer, prefix="/{version}")
    app.mount("/below", below)
    app.mount(
        "/kit", Starlette(routes=[Mount("/deep", routes=[Route("/{item:int}", token)]), Mount("/raw", token_app)])
    )
    return app


async def token_app(scope: Any, receive: Any, send: Any) -> None:
    await PlainTextResponse("")(scope, receive, send)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/v1/outer/inner/7", "/{version}/outer/inner/{item}"),
        ("/below/7", "/below/{item}"),
        ("/kit/deep/7", "/kit/deep/{item:int}"),
        ("/kit/raw/7", "/kit/raw"),
        ("/nowhere", None),
    ],
)
async def test_the_route_is_recorded_with_what_it_is_mounted_under(
    registry: RunRegistry, path: str, route: str | None
) -> None:
    async with client_of(RunMiddleware(with_routes(), inbound="ignore")) as client:
        await client.get(path)
    assert registry.get("@last").attributes.get("http.route") == route


# Inside the run -------------------------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_the_body_and_the_background_work_of_an_answer_are_inside_its_run(registry: RunRegistry) -> None:
    def chunks() -> Iterator[str]:
        with start_run("sync chunk"):
            yield "a"

    async def more_chunks() -> AsyncGenerator[str]:
        for number in range(3):
            await anyio.lowlevel.checkpoint()
            start_run(f"async chunk {number}").end()
            yield "b"

    def work() -> None:
        start_run("background", attributes={"parent": registry.get(current_run().id).status}).end()

    async def stream(request: Request) -> Response:
        body: Any = chunks() if request.url.path == "/sync" else more_chunks()
        return StreamingResponse(body, background=BackgroundTask(work))

    app = Starlette(routes=[Route("/{kind}", stream)])
    app.add_middleware(RunMiddleware, inbound="trust")
    async with client_of(app) as client:
        for kind, body, names in (
            ("sync", "a", ["sync chunk"]),
            ("async", "bbb", [f"async chunk {n}" for n in range(3)]),
        ):
            response = await client.get(f"/{kind}")
            assert response.text == body
            run = registry.get(response.headers["x-run-id"])
            children = registry.children(run.id)
            assert [child.name for child in children] == [*names, "background"]
            assert children[-1].attributes == {"parent": "running"}
            assert run.status == "succeeded"
    assert current_run_id() is None


def test_under_a_server_the_run_lasts_until_the_last_chunk_has_left(registry: RunRegistry) -> None:
    go_on = threading.Event()

    def chunks() -> Generator[bytes]:
        yield b"first"
        assert go_on.wait(30)
        start_run("second").end()
        yield b"second"

    async def stream(request: Request) -> Response:
        return StreamingResponse(chunks())

    with (
        serving(RunMiddleware(Starlette(routes=[Route("/", stream)]), inbound="trust")) as served,
        httpx.Client(trust_env=False) as client,
        client.stream("GET", served.url) as response,
    ):
        body = response.iter_raw()
        assert next(body) == b"first"
        run_id = response.headers["x-run-id"]
        assert registry.get(run_id).status == "running"
        go_on.set()
        assert b"".join(body) == b"second"
    assert registry.get(run_id).status == "succeeded"
    assert [child.name for child in registry.children(run_id)] == ["second"]


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("make", [with_starlette, with_fastapi])
def test_requests_of_one_connection_have_the_callers_that_they_name_and_else_none(
    registry: RunRegistry, make: Callable[[], Any], loop: str
) -> None:
    other = RunId.generate()
    with serving(make(), loop=loop) as served:
        connection = http.client.HTTPConnection(served.url.removeprefix("http://"), timeout=30)
        with contextlib.closing(connection):
            seen = []
            for headers in (called_by(CALLER), called_by(other), {}, called_by(CALLER)):
                connection.request("GET", "/items/7", headers=headers)
                seen.append(RunId.from_token(connection.getresponse().read().decode()))
    assert [run_id.parent_id for run_id in seen] == [CALLER.value, other.value, None, CALLER.value]
    assert {run.id for run in registry.find(status="succeeded")} == {run_id.value for run_id in seen}


@pytest.mark.anyio
async def test_a_hundred_requests_at_once_do_not_mix() -> None:
    async def slowly(scope: Any, receive: Any, send: Any) -> None:
        seen = []
        for _ in range(3):
            with start_run("part") as part:
                await anyio.lowlevel.checkpoint()
                assert current_run_id() is part.id
                seen.append(part.id.parent_id)
        await PlainTextResponse(" ".join(map(str, [current_run().id.parent_id, *seen])))(scope, receive, send)

    async def ask(client: httpx.AsyncClient, caller: RunId) -> None:
        response = await client.get("/", headers=called_by(caller))
        assert response.text.split() == [caller.value, *[response.headers["x-run-id"]] * 3]
        assert current_run_id() is None

    async with client_of(RunMiddleware(slowly, inbound="trust")) as client, anyio.create_task_group() as group:
        for _ in range(100):
            group.start_soon(ask, client, RunId.generate())


# Websockets and the lifespan ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_websocket_is_one_run_from_its_handshake_to_its_end(registry: RunRegistry, backend: Any) -> None:
    async def echo(websocket: WebSocket) -> None:
        await websocket.accept(headers=[(b"x-run-id", b"stale"), (b"x-other", b"1")])
        async for _ in websocket.iter_text():
            await websocket.send_text(current_run().id.token)

    app = RunMiddleware(Starlette(routes=[WebSocketRoute("/talk/{to}", echo)]), inbound="trust")
    seen = []
    for _ in range(2):
        with TestClient(app, backend=backend).websocket_connect("/talk/you", headers=called_by(CALLER)) as socket:
            for _ in range(3):
                socket.send_text("who?")
                seen.append(RunId.from_token(socket.receive_text()))
            accepted: Any = socket.extra_headers
            assert accepted == [(b"x-other", b"1"), (b"x-run-id", seen[-1].value.encode())]
    assert len(set(seen)) == 2
    assert seen[0].parent_id == CALLER.value
    runs = registry.find()
    assert {(run.name, run.status) for run in runs} == {("WEBSOCKET /talk/you", "succeeded")}
    assert {run.id for run in runs} == {run_id.value for run_id in seen}
    assert runs[0].attributes["http.route"] == "/talk/{to}"


def test_start_up_and_shut_down_are_in_no_run() -> None:
    seen = []

    @contextlib.asynccontextmanager
    async def lifespan(app: Any) -> AsyncGenerator[None]:
        seen.append(current_run_id())
        yield
        seen.append(current_run_id())

    app = Starlette(lifespan=lifespan)
    app.add_middleware(RunMiddleware, inbound="trust")
    with start_run("deploy"), TestClient(app):
        assert seen == [None]
    assert seen == [None, None]


def test_a_server_in_a_process_that_joined_a_run_drops_it(registry: RunRegistry) -> None:
    program = """
        import json
        import anyio
        import agent_run_id as ari
        from agent_run_id.integrations.asgi import RunMiddleware

        seen = {"joined": str(ari.current_run_id())}

        async def app(scope, receive, send):
            with ari.start_run(scope["type"]) as run:
                seen[scope["type"]] = run.id.token

        async def main():
            wrapped = RunMiddleware(app, inbound="trust")
            for scope in ({"type": "lifespan"}, {"type": "http", "method": "GET", "path": "/", "headers": []}):
                await wrapped(scope, None, None)
                seen[f"after {scope['type']}"] = str(ari.current_run_id())

        anyio.run(main)
        seen["process"] = str(ari.current_run_id())
        print(json.dumps(seen))
    """
    with start_run("deploy") as deploy:
        seen = json.loads(run_program(program, env=child_env()))
    assert seen["joined"] == deploy.id.value
    assert RunId.from_token(seen["lifespan"]).is_root
    assert RunId.from_token(seen["http"]).depth == 1  # under its request, which is a root
    assert [seen[when] for when in ("after lifespan", "after http", "process")] == ["None"] * 3
    assert len(registry.tree(deploy.id)) == 1


@pytest.mark.anyio
async def test_a_wrapped_application_inside_another_adds_no_run(registry: RunRegistry) -> None:
    inside = with_starlette()
    app = Starlette(routes=[Mount("/mounted", inside)])
    app.add_middleware(RunMiddleware, inbound="trust")
    async with client_of(RunMiddleware(app, inbound="ignore")) as client:
        response = await client.get("/mounted/items/7", headers=called_by(CALLER))
    (run,) = registry.find()
    assert (run.id, run.parent_id, run.status) == (response.headers["x-run-id"], None, "succeeded")
    assert response.headers.get_list("x-run-id") == [run.id]
