"""httpx and httpx2: every request names the run it is made in. Sync and async clients of both.

`instrument` is for one client, `instrument_all` for every client of the process and a list of hosts. Both wrap `send`;
the headers are written by a request hook of the client, because `send` follows redirects, and a redirect may lead to a
host that has no business with our runs.
"""

from __future__ import annotations

from functools import wraps
from importlib import import_module
from importlib.util import find_spec
from types import MethodType
from typing import TYPE_CHECKING, Any, Final, TypeVar

from agent_run_id.carriers.fields import RUN_ID, TRACEPARENT, TRACESTATE, fields_for, span_of
from agent_run_id.carriers.headers import write
from agent_run_id.errors import ConfigurationError
from agent_run_id.runs import current_run
from agent_run_id.scope import CURRENT
from agent_run_id.starting import start_run

if TYPE_CHECKING:
    from collections.abc import Iterable

    from agent_run_id.signing import SigningKeys

__all__ = ["instrument", "instrument_all", "uninstrument", "uninstrument_all"]

C = TypeVar("C")

_LIBRARIES: Final = ("httpx", "httpx2")
_CLIENTS: Final = ("Client", "AsyncClient")
_HOOK: Final = "_agent_run_hook"  # on a wrapped `send`
_ASKED: Final = "agent_run_id.asked"  # in the extensions of a request, which its redirects inherit
_CLIENT_ERROR: Final = 400


def instrument(
    client: C, *, hosts: Iterable[str] | None = None, runs: bool = False, keys: SigningKeys | None = None
) -> C:
    """Let every request of a client name the run it is made in. A redirect to another host does not.

    Args:
        client: A `Client` or `AsyncClient` of httpx or httpx2. Doing it again changes how it is done.
        hosts: The hosts to tell, as in `instrument_all`; all that the program itself asks by default.
        runs: Whether each request is a run of its own, of kind ``http``, which fails with a status from 400 on.
        keys: What to sign tokens with; the keys of `configure` when None.

    Returns:
        `client`.

    Raises:
        ConfigurationError: (a `ValueError`) a host is not one.
        TypeError: `client` is no such client.
    """
    target: Any = client
    if not hasattr(target, "send") or not hasattr(target, "event_hooks"):
        raise TypeError(f"this instruments a client of httpx or httpx2, not a {type(target).__name__}")
    uninstrument(target)
    rules = _Rules(hosts, runs=runs, keys=keys)
    target.send = MethodType(_wrapped(target, rules, bound=True), target)
    return client


def uninstrument(client: Any) -> None:
    """Undo `instrument`; a client that was not instrumented stays as it is."""
    hook = getattr(getattr(client, "send", None), _HOOK, None)
    if hook is not None and "send" in vars(client):
        del client.send
        hook.remove_from(client)


def instrument_all(hosts: Iterable[str], *, runs: bool = False, keys: SigningKeys | None = None) -> None:
    """Let the requests of every client in this process, present and future, name the run they are made in.

    Doing it again changes how it is done.

    Args:
        hosts: Whom to tell: ``"api.internal"``, ``"*.svc.cluster.local"`` for all below it, ``"localhost:8000"`` for
            one port. Nobody else gets anything.
        runs: Whether each request to them is a run of its own.
        keys: What to sign tokens with; the keys of `configure` when None.

    Raises:
        ConfigurationError: (a `ValueError`) a host is not one, or a text was given where a list is wanted.
        ImportError: neither httpx nor httpx2 is installed.
    """
    rules = _Rules(hosts, runs=runs, keys=keys)
    libraries = [import_module(name) for name in _LIBRARIES if find_spec(name) is not None]
    if not libraries:
        raise ImportError("neither httpx nor httpx2 is installed")
    uninstrument_all()
    for library in libraries:
        for name in _CLIENTS:
            kind = getattr(library, name)
            _patched[kind] = kind.send
            kind.send = _wrapped(kind, rules)


def uninstrument_all() -> None:
    """Undo `instrument_all`."""
    for kind, send in _patched.items():
        if hasattr(kind.send, _HOOK):  # clients that are around keep a hook, which nobody asks for anything any more
            kind.send = send
    _patched.clear()


_patched: Final[dict[Any, Any]] = {}


class _Rules:
    """Who is told, and how."""

    def __init__(self, hosts: Iterable[str] | None, *, runs: bool, keys: SigningKeys | None) -> None:
        if isinstance(hosts, str):
            raise ConfigurationError(f"hosts is a list of names: write [{hosts!r}]")
        self._hosts = None if hosts is None else [_checked(host) for host in hosts]
        self.runs = runs
        self.keys = keys

    def allow(self, url: Any, origin: Any) -> bool:
        """Whether a request to `url` names its run; the program asked for `origin`."""
        if self._hosts is None:
            return (url.host, url.port) == (origin.host, origin.port)
        host = _bracketed(url.host.lower())
        places = (host, f"{host}:{url.port or {'http': 80, 'https': 443}.get(url.scheme)}")
        return any(
            place == allowed or (allowed.startswith("*.") and place.endswith(allowed[1:]))
            for allowed in self._hosts
            for place in places
        )


def _checked(host: str) -> str:
    if not host or "/" in host or "*" in host.removeprefix("*."):
        raise ConfigurationError(f"a host is a name, as 'api.internal', '*.internal' or 'localhost:8000', not {host!r}")
    return _bracketed(host.lower())


def _bracketed(host: str) -> str:
    """A host as it stands before a port: an IPv6 address is in brackets there."""
    return f"[{host}]" if host.count(":") > 1 and not host.startswith("[") else host


class _Asked:
    """What the program asks for, with all the requests that this leads to.

    Attributes:
        hook: Whose business they are: a client may have the hooks of several.
        url: What the program asked for; a redirect has another.
        span: The parent-id of the first one, where a run stands for it.
        told: Whether the headers of what was sent last are ours, which a redirect inherits.
    """

    __slots__ = ("hook", "span", "told", "url")

    def __init__(self, hook: _Hook, request: Any) -> None:
        self.hook = hook
        self.url = request.url
        self.span: str | None = None
        # A redirect may be followed by the program itself.
        self.told: bool = getattr(request.extensions.get(_ASKED), "told", False)


class _Hook:
    """What a client calls for each request it sends, redirects among them."""

    def __init__(self, rules: _Rules) -> None:
        self._rules = rules

    def sync(self, request: Any) -> None:
        """The hook of a sync client."""
        rules, asked = self._rules, request.extensions.get(_ASKED)
        if asked is None or asked.hook is not self:
            return
        if asked.told:  # for the host that has sent us on
            for name in (TRACEPARENT, TRACESTATE, RUN_ID):
                request.headers.pop(name, None)
            asked.told = False
        if rules.allow(request.url, asked.url):
            fields = fields_for(CURRENT, keys=rules.keys, span=asked.span)
            write(request.headers, fields)
            asked.span, asked.told = None, bool(fields)

    async def asynchronous(self, request: Any) -> None:
        """The hook of an async client."""
        self.sync(request)

    def add_to(self, client: Any) -> None:
        """Be called for the requests of a client, once each."""
        mine = self.asynchronous if _is_async(client) else self.sync
        hooks = client.event_hooks
        if mine not in hooks["request"]:
            client.event_hooks = {**hooks, "request": [*hooks["request"], mine]}

    def remove_from(self, client: Any) -> None:
        """Not be called any more."""
        hooks = client.event_hooks
        kept = [hook for hook in hooks["request"] if getattr(hook, "__self__", None) is not self]
        client.event_hooks = {**hooks, "request": kept}


def _wrapped(owner: Any, rules: _Rules, *, bound: bool = False) -> Any:
    """A `send` that prepares the client and the request; made of that of one client, or of that of a class of them."""
    send = owner.send
    hook = _Hook(rules)

    def prepare(client: Any, request: Any) -> bool:
        """Prepare both, and say whether the request is a run."""
        if not bound and hasattr(client.__dict__.get("send"), _HOOK):
            return False  # the client is instrumented by itself, and its own rules count
        hook.add_to(client)
        request.extensions = {**request.extensions, _ASKED: _Asked(hook, request)}
        return rules.runs and rules.allow(request.url, request.url)

    @wraps(send)
    def sync(client: Any, request: Any, **kwargs: Any) -> Any:
        args = (request,) if bound else (client, request)
        if not prepare(client, request):
            return send(*args, **kwargs)
        with _request_run(request):
            return _answered(send(*args, **kwargs))

    @wraps(send)
    async def asynchronous(client: Any, request: Any, **kwargs: Any) -> Any:
        args = (request,) if bound else (client, request)
        if not prepare(client, request):
            return await send(*args, **kwargs)
        with _request_run(request):
            return _answered(await send(*args, **kwargs))

    wrapper: Any = asynchronous if _is_async(owner) else sync
    setattr(wrapper, _HOOK, hook)
    return wrapper


def _is_async(client: Any) -> bool:
    """Whether a client, or a class of them, is async. A `send` that somebody has wrapped does not always tell."""
    return hasattr(client, "aclose")


def _request_run(request: Any) -> Any:
    url = request.url
    run = start_run(
        f"{request.method} {url.host}{url.path}",
        kind="http",
        attributes={"http.request.method": request.method, "server.address": url.host, "url.path": url.path},
    )
    request.extensions[_ASKED].span = span_of(run.id.value)
    return run


def _answered(response: Any) -> Any:
    run = current_run()
    run.update(attributes={"http.response.status_code": response.status_code})
    if response.status_code >= _CLIENT_ERROR:
        run.end(status="failed", error=f"answered {response.status_code}")
    return response
