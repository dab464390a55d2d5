"""Servers: requests of one keep-alive connection, in a server that was started inside a run."""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest
import uvicorn

from agent_run_id import ROOT, RunContext, RunId, bind, current_run_id, isolated, start_run

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from agent_run_id import RunRegistry


async def careless(scope: Any, receive: Any, send: Any) -> None:
    """An ASGI application that answers with the run it sees, and leaves one of its own open."""
    seen = current_run_id()
    RunContext(RunId.generate()).__enter__()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"-" if seen is None else seen.token.encode()})


@contextlib.contextmanager
def serving(app: Callable[..., Any]) -> Generator[http.client.HTTPConnection]:
    """A real server on this machine, started in the current run, and one connection to it."""
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="off"))
    started = threading.Event()
    startup = server.startup

    async def told(sockets: Any = None) -> None:
        await startup(sockets=sockets)
        started.set()

    server.startup = told  # type: ignore[method-assign]
    thread = threading.Thread(target=bind(server.run), kwargs={"sockets": [listening]})
    thread.start()
    try:
        assert started.wait(30)
        connection = http.client.HTTPConnection("127.0.0.1", listening.getsockname()[1], timeout=30)
        with contextlib.closing(connection):
            yield connection
    finally:
        server.should_exit = True
        thread.join()
        listening.close()


def ask(connection: http.client.HTTPConnection) -> str:
    connection.request("GET", "/")
    return connection.getresponse().read().decode()


@pytest.fixture(autouse=True)
def quiet_signals(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server runs in a thread, where no signal handler can be installed."""
    monkeypatch.setattr(uvicorn.Server, "capture_signals", lambda self: contextlib.nullcontext())


def test_without_us_every_request_is_in_the_run_the_server_was_started_in() -> None:
    stranger = RunId.generate()
    with RunContext(stranger), serving(careless) as connection:
        assert ask(connection) == stranger.value


def test_an_isolated_application_sees_no_run_in_any_request_of_a_connection() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await isolated(careless)(scope, receive, send)

    with RunContext(RunId.generate()), serving(app) as connection:
        assert [ask(connection) for _ in range(3)] == ["-", "-", "-"]


def test_a_run_for_each_request_is_a_root_of_its_own(registry: RunRegistry) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        with start_run("request", kind="request", parent=ROOT):
            await careless(scope, receive, send)

    with start_run("server"), serving(app) as connection:
        seen = [RunId.from_token(ask(connection)) for _ in range(3)]
    requests = registry.find(name="request")
    assert {run.id for run in requests} == {run.value for run in seen}
    assert [(run.depth, run.status) for run in requests] == [(0, "succeeded")] * 3
