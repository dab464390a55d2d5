"""ASGI: a run for every request and every websocket connection, under that of the client if it may be.

Pure ASGI: nothing is buffered, no task is created, and the application runs where the server calls it. See the `ASGI
specification`_.

.. _ASGI specification: https://asgi.readthedocs.io/en/latest/specs/www.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from agent_run_id.carriers import asgi
from agent_run_id.inbound import check_policy
from agent_run_id.outcomes import expected_exceptions
from agent_run_id.run_context import RunContext
from agent_run_id.scope import drop_outermost
from agent_run_id.starting import start_run

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    from agent_run_id.inbound import Policy
    from agent_run_id.outcomes import Expected
    from agent_run_id.runs import Run
    from agent_run_id.signing import SigningKeys

    Message = MutableMapping[str, Any]
    Scope = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]
    Application = Callable[[Scope, Receive, Send], Awaitable[None]]

__all__ = ["RunMiddleware"]

_RUN_ID: Final = b"x-run-id"
_ANSWERS: Final = frozenset({"http.response.start", "websocket.accept", "websocket.http.response.start"})
_BODIES: Final = frozenset({"http.response.body", "http.response.pathsend"})
_SEEN: Final = "agent_run_id.seen"
_SERVER_ERROR: Final = 500


class RunMiddleware:
    """A `request` run around every request, from its first byte to the end of its background work.

    Every answer that passes it carries the run's id as ``X-Run-Id``; to have it on the answer of a framework to an
    exception that nobody caught, wrap the whole application: ``app = RunMiddleware(app, …)``. A run fails with the
    exception that leaves the application, or with an answer from 500 on; it is cancelled when the application sees that
    the client has gone without it.

    Whatever runs at start-up and shut-down is in no run, also in a process that joined one: that one is dropped for the
    whole process, since nothing that a server does is part of it.

    Args:
        app: The application to wrap: ``app.add_middleware(RunMiddleware, inbound=…)``, or ``RunMiddleware(app, …)``.
        inbound: What to make of a run that a client names: ``"trust"`` where only your own services can call,
            ``"link"`` where anybody can, ``"ignore"``. There is no default, for the library cannot know.
        keys: What tokens must be signed with to be trusted; the keys of `configure` when None.
        expected: Exceptions that are not failures when they leave the application.

    Raises:
        ConfigurationError: (a `ValueError`) there is no such policy.
        TypeError: `expected` is no exception class and no tuple of them.
    """

    def __init__(
        self,
        app: Application,
        *,
        inbound: Policy,
        keys: SigningKeys | None = None,
        expected: Expected | type[BaseException] = (),
    ) -> None:
        check_policy(inbound)
        self._app = app
        self._inbound: Policy = inbound
        self._keys = keys
        self._expected = expected_exceptions(expected)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if _SEEN in scope:  # an application inside another that is wrapped too: one run is enough
            await self._app(scope, receive, send)
            return
        drop_outermost()
        if scope["type"] in ("http", "websocket"):
            scope[_SEEN] = True
            await self._serve(scope, receive, send)
        else:
            with RunContext(None):
                await self._app(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        method = str(scope.get("method") or scope["type"].upper())
        path = str(scope.get("path", ""))
        run = start_run(
            f"{method} {path}",
            kind="request",
            parent=asgi.extract(scope, policy=self._inbound, keys=self._keys),
            attributes={"http.request.method": method, "url.path": path},
            expected=self._expected,
        )
        exchange = _Exchange(receive, send, run)
        with run:
            try:
                try:
                    await self._app(scope, exchange.receive, exchange.send)
                finally:
                    exchange.record(scope)
            except OSError as error:
                if error is exchange.broken:
                    run.end(status="cancelled", error=error)
                raise
            if exchange.status is not None and exchange.status >= _SERVER_ERROR:
                run.end(status="failed", error=f"answered {exchange.status}")
            elif exchange.abandoned:
                run.end(status="cancelled", error="the client has gone before it had its answer")


class _Exchange:
    """What goes to the client and comes from it: the answer gets the id of the run, and what became of it is kept.

    Attributes:
        status: What was answered.
        abandoned: Whether the client has gone before it had the whole answer, and the application has seen that.
        broken: What the server raised because the client has gone.
    """

    __slots__ = ("_answered", "_receive", "_run", "_send", "abandoned", "broken", "status")

    def __init__(self, receive: Receive, send: Send, run: Run) -> None:
        self._receive = receive
        self._send = send
        self._run = run
        self._answered = False
        self.status: int | None = None
        self.abandoned = False
        self.broken: OSError | None = None

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.disconnect" and not self._answered:  # behind the answer it is the usual end
            self.abandoned = True
        return message

    async def send(self, message: Message) -> None:
        kind = message["type"]
        if kind in _ANSWERS:
            status = message.get("status")
            self.status = status if isinstance(status, int) else None
            headers = [pair for pair in message.get("headers") or () if bytes(pair[0]).lower() != _RUN_ID]
            message = {**message, "headers": [*headers, (_RUN_ID, self._run.id.value.encode())]}
        elif kind in _BODIES and not message.get("more_body", False):
            self._answered = True
        try:
            await self._send(message)
        except OSError as error:  # as servers of version 2.4 of the specification do
            self.abandoned, self.broken = True, error
            raise

    def record(self, scope: Scope) -> None:
        """Record what was answered, and by which route, where the framework says so."""
        found = {"http.response.status_code": self.status, "http.route": _route_of(scope)}
        attributes = {name: value for name, value in found.items() if value is not None}
        if attributes:
            self._run.update(attributes=attributes)


def _route_of(scope: Scope) -> str | None:
    """The route that answered, with what it is mounted under; None where the framework does not say."""
    route, root = scope.get("route"), str(scope.get("root_path") or "").rstrip("/")
    if hasattr(route, "routes"):  # a mount, and what is mounted there says no more
        return root or None
    # A route does not know the prefix under which an application of FastAPI includes its router; this does.
    fastapi = scope.get("fastapi")
    included = cast("Any", fastapi).get("effective_route_context") if isinstance(fastapi, dict) else None
    path = getattr(included if getattr(included, "original_route", None) is route else route, "path", None)
    return f"{root}{path}" if isinstance(path, str) else None
