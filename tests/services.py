"""Services on real sockets: one that collects what it is sent, one that calls others, built twice, and a server.

What the two that call others do is what the test harness of the W3C's Trace Context asks of a service: it is sent a
JSON list of ``{"url": …, "arguments": …}``, posts the arguments to each url, and answers when all have answered.
"""

from __future__ import annotations

import contextlib
import http.client
import inspect
import json
import re
import socket
import ssl
import threading
from collections import defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

from agent_run_id import RunId, carriers, start_run
from agent_run_id.integrations.asgi import RunMiddleware
from agent_run_id.integrations.httpx import instrument

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator, Iterable

    from starlette.requests import Request

    Pairs = list[tuple[str, str]]

__all__ = [
    "OURS",
    "TLS",
    "Collector",
    "Echo",
    "Sent",
    "Served",
    "asgi_service",
    "client_of",
    "collecting",
    "echoing",
    "listening",
    "names",
    "opened",
    "post",
    "read",
    "serving",
    "settled",
    "stdlib_service",
]


OURS = {"traceparent", "tracestate", "x-run-id"}
TLS = ssl.create_default_context()  # of a client it takes the longest to make


# The standard library -------------------------------------------------------------------------------------------------


class Handler(BaseHTTPRequestHandler):
    """What all handlers here have in common."""

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("content-length", "0")))

    def answer(self, status: int = 200, headers: Iterable[tuple[str, str]] = (), content: bytes = b"") -> None:
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name it has there
        """Nothing is written to the terminal."""


class _Server(ThreadingHTTPServer):
    daemon_threads = False  # so that closing waits for what is still being answered
    request_queue_size = 128


@contextlib.contextmanager
def listening(handler: type[BaseHTTPRequestHandler]) -> Generator[str]:
    """A server of the standard library, by its URL."""
    with _Server(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


class Collector:
    """Keeps the headers of every request, by path.

    Attributes:
        url: Where it is.
    """

    def __init__(self, url: str, received: dict[str, list[Pairs]]) -> None:
        self.url = url
        self._received = received

    def take(self, path: str) -> list[Pairs]:
        """The headers of the requests for a path, in order; they are forgotten."""
        return self._received.pop(path, [])


@contextlib.contextmanager
def collecting() -> Generator[Collector]:
    received: dict[str, list[Pairs]] = defaultdict(list)

    class Collecting(Handler):
        def do_POST(self) -> None:
            self.body()
            received[self.path].append(self.headers.items())
            self.answer()

        def do_GET(self) -> None:
            self.do_POST()

    with listening(Collecting) as url:
        yield Collector(url, received)


class Echo:
    """Two hosts that keep what they are sent, and do as the path says: /status/<code>, /to/<url>, /locked, or nothing.

    Attributes:
        url: The one.
        other: The other one.
        received: The path and the headers of every request, in order.
    """

    def __init__(self, url: str, other: str, received: list[tuple[str, Pairs]]) -> None:
        self.url = url
        self.other = other
        self.received = received

    def said(self) -> list[Sent]:
        """What was said in the requests, each of which has said something."""
        return [read(headers) for _, headers in self.received]


@contextlib.contextmanager
def echoing() -> Generator[Echo]:
    received: list[tuple[str, Pairs]] = []

    class Echoing(Handler):
        def do_GET(self) -> None:
            received.append((self.path, self.headers.items()))
            word, _, rest = self.path[1:].partition("?")[0].partition("/")
            if word == "to":
                self.answer(302, [("location", rest)])
            elif word == "locked" and "authorization" not in self.headers:
                self.answer(401)
            else:
                self.answer(int(rest) if word == "status" else 200)

    with listening(Echoing) as url, listening(Echoing) as other:
        yield Echo(url, other, received)


# Reading --------------------------------------------------------------------------------------------------------------


class Sent(NamedTuple):
    """What was said in one outgoing request."""

    trace_id: str
    parent_id: str
    flags: str
    run_id: RunId
    others: list[str]


def read(pairs: Pairs) -> Sent:
    """Read the headers of a request that names a run, which have to be valid whatever has led to it."""
    values: dict[str, list[str]] = {"traceparent": [], "tracestate": [], "x-run-id": []}
    for name, value in pairs:
        values.setdefault(name.lower(), []).append(value)
    (parent,), (state,), (bare,) = values["traceparent"], values["tracestate"], values["x-run-id"]
    match = re.fullmatch(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})", parent)
    assert match is not None, parent
    trace_id, parent_id, flags = match.groups()
    assert int(trace_id, 16), parent
    assert int(parent_id, 16), parent
    ours, *others = state.split(",")
    assert len(others) < 32
    assert ours.startswith("runid="), state
    assert len(ours) <= 128
    run_id = RunId.from_token(ours.removeprefix("runid="))
    assert run_id.value == bare
    return Sent(trace_id, parent_id, flags, run_id, others)


# Asking ---------------------------------------------------------------------------------------------------------------


def post(url: str, body: Any, headers: Iterable[tuple[str, str]] = ()) -> int:
    """Post JSON with exactly these headers, in this order and as often as they are there, and give the status."""
    parts = urlsplit(url)
    content = json.dumps(body).encode()
    connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=30)
    with contextlib.closing(connection):
        connection.putrequest("POST", parts.path or "/")
        connection.putheader("Content-Length", str(len(content)))
        for name, value in headers:
            connection.putheader(name, value)
        connection.endheaders(content)
        response = connection.getresponse()
        response.read()
        return response.status


@contextlib.contextmanager
def stdlib_service() -> Generator[str]:
    """The service on `http.server` and `http.client`, with the carriers called by hand."""

    class Calling(Handler):
        def do_POST(self) -> None:
            calls = json.loads(self.body())
            with start_run("service", kind="request", parent=carriers.headers.extract(self.headers)):
                statuses = {post(call["url"], call["arguments"], carriers.headers.inject({}).items()) for call in calls}
            self.answer(200 if statuses <= {200} else 502)

    with listening(Calling) as url:
        yield url


# ASGI -----------------------------------------------------------------------------------------------------------------


class Served:
    """An application while a server serves it.

    Attributes:
        url: Where it is.
    """

    def __init__(self, app: Callable[..., Any], url: str) -> None:
        self.url = url
        self._app = app
        self._open = 0
        self._changed = threading.Condition()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        change = 0 if scope["type"] == "lifespan" else 1
        self._count(change)
        try:
            await self._app(scope, receive, send)
        finally:
            self._count(-change)

    def _count(self, change: int) -> None:
        with self._changed:
            self._open += change
            self._changed.notify_all()

    def settle(self) -> None:
        """Wait until no request is in the application: its answer may be here before its run has ended."""
        with self._changed:
            assert self._changed.wait_for(lambda: self._open == 0, timeout=30)


@contextlib.contextmanager
def serving(app: Callable[..., Any], **config: Any) -> Generator[Served]:
    """An application under uvicorn in a thread; afterwards every request has been answered."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        served = Served(app, f"http://127.0.0.1:{listener.getsockname()[1]}")
        server = uvicorn.Server(uvicorn.Config(served, log_level="critical", **config))
        started = threading.Event()
        startup = server.startup

        async def told(sockets: Any = None) -> None:
            await startup(sockets=sockets)
            started.set()

        server.startup = told  # type: ignore[method-assign]
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            assert started.wait(30)
            yield served
        finally:
            server.should_exit = True
            thread.join()


@contextlib.asynccontextmanager
async def opened(kind: Any, **options: Any) -> AsyncGenerator[Any]:
    client = kind(trust_env=False, verify=TLS, **options)
    try:
        yield client
    finally:
        await settled(client.aclose() if hasattr(client, "aclose") else client.close())


async def settled(result: Any) -> Any:
    """What a call gives, of a sync client or of an async one."""
    return await result if inspect.isawaitable(result) else result


def names(echo: Echo) -> list[set[str]]:
    """Which of our headers each request had."""
    return [{name.lower() for name, _ in headers} & OURS for _, headers in echo.received]


@contextlib.asynccontextmanager
async def client_of(app: Any) -> AsyncGenerator[httpx.AsyncClient]:
    """A client of an application in this process. What the application raises is raised here."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service") as client:
        yield client


@contextlib.asynccontextmanager
async def _with_client(app: Starlette) -> AsyncGenerator[dict[str, Any]]:
    async with httpx.AsyncClient(trust_env=False) as client:
        yield {"client": instrument(client)}


async def _call(request: Request) -> Response:
    statuses: set[int] = set()
    for call in await request.json():
        response = await request.state.client.post(call["url"], json=call["arguments"])
        statuses.add(response.status_code)
    return Response(status_code=200 if statuses <= {200} else 502)


@contextlib.contextmanager
def asgi_service() -> Generator[Served]:
    """The service on uvicorn and httpx, with the middleware and an instrumented client."""
    app = Starlette(routes=[Route("/", _call, methods=["POST"])], lifespan=_with_client)
    with serving(RunMiddleware(app, inbound="trust")) as served:
        yield served
