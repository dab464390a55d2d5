"""Every carrier in every shape that is written and read: one table for the laws they share."""

from __future__ import annotations

import json
from email.message import Message
from types import MappingProxyType, SimpleNamespace
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import parse_qs, urlencode

import httpx
import httpx2
from multidict import CIMultiDict, CIMultiDictProxy
from requests.structures import CaseInsensitiveDict
from starlette.datastructures import Headers as StarletteHeaders
from starlette.datastructures import MutableHeaders, QueryParams
from werkzeug.datastructures import EnvironHeaders, Headers, MultiDict

from agent_run_id import carriers

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["CARRIERS", "FIELDS", "READ", "TRACED", "WRITTEN", "Pairs", "Shape", "pairs_in"]

Pairs = list[tuple[str, str]]

FIELDS: Final = ("traceparent", "tracestate", "x-run-id")


class Shape(NamedTuple):
    """One type of carrier that is written to.

    Attributes:
        carrier: The module that writes and reads it.
        make: Gives one with these things in it.
        others: Gives what is in one and not ours, to be compared.
        fields: Gives what is in one and ours, by name.
    """

    name: str
    carrier: Any
    make: Callable[[Pairs], Any]
    others: Callable[[Any], Any]
    fields: Callable[[Any], dict[str, str]]

    def __repr__(self) -> str:
        return self.name


def text_of(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else value


def pairs_in(carrier: Any) -> list[tuple[str, Any]]:
    """All pairs of headers or parameters, by the way that the type itself has for it."""
    if isinstance(carrier, list):
        return [(text_of(name), text_of(value)) for name, value in carrier]
    items = getattr(carrier, "multi_items", None) or carrier.items
    return list(items())


def other_pairs(*ours: str) -> Callable[[Any], Any]:
    # By name, since some types bring what is repeated together.
    return lambda carrier: sorted(
        [pair for pair in pairs_in(carrier) if pair[0].lower() not in ours], key=lambda pair: pair[0].lower()
    )


def our_pairs(*ours: str) -> Callable[[Any], dict[str, str]]:
    return lambda carrier: {name: value for name, value in pairs_in(carrier) if name in ours}


def message(pairs: Pairs) -> Message:
    made = Message()
    for name, value in pairs:
        made[name] = value
    return made


def as_bytes(pairs: Pairs) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode()) for name, value in pairs]


def url(pairs: Pairs) -> str:
    return f"https://a.example/p;x=1?{urlencode(pairs)}#part?run_id=no"


def parts_of(text: str) -> list[str]:
    _, mark, query = text.partition("#")[0].rpartition("?")
    return [] if "://" in query and not mark else query.split("&")


def other_parts(carrier: Any) -> Any:
    text = text_of(carrier)
    kept = [part for part in parts_of(text) if part and not part.startswith(("run_id=", "run_id_sig="))]
    return kept, text.partition("#")[2]


def our_parts(carrier: Any) -> dict[str, str]:
    parts = [part.split("=", 1) for part in parts_of(text_of(carrier)) if part.startswith(("run_id=", "run_id_sig="))]
    return dict(parts)


def other_members(carrier: Any) -> Any:
    body = carrier if isinstance(carrier, dict) else json.loads(carrier)
    return [member for member in body.items() if member[0] != "agent_run"]


def our_members(carrier: Any) -> dict[str, str]:
    body = carrier if isinstance(carrier, dict) else json.loads(carrier)
    return dict(body.get("agent_run", {}))


def headers(name: str, make: Callable[[Pairs], Any]) -> Shape:
    return Shape(name, carriers.headers, make, other_pairs(*FIELDS), our_pairs(*FIELDS))


def query(name: str, make: Callable[[Pairs], Any], *, text: bool) -> Shape:
    ours = ("run_id", "run_id_sig")
    others: Any = other_parts if text else other_pairs(*ours)
    return Shape(name, carriers.query, make, others, our_parts if text else our_pairs(*ours))


def body(name: str, make: Callable[[Pairs], Any]) -> Shape:
    return Shape(name, carriers.body, make, other_members, our_members)


_ENV: Final = ("TRACEPARENT", "TRACESTATE", "AGENT_RUN_ID")
_W3C: Final = ("traceparent", "tracestate")

TRACED: Final = [
    headers("dict", dict),
    headers("httpx", httpx.Headers),
    headers("httpx2", httpx2.Headers),
    headers("email", message),
    headers("werkzeug", Headers),
    headers("starlette", lambda pairs: MutableHeaders(raw=as_bytes(pairs))),
    headers("multidict", CIMultiDict),
    headers("requests", CaseInsensitiveDict),
    Shape("asgi", carriers.asgi, as_bytes, other_pairs(*FIELDS), our_pairs(*FIELDS)),
    Shape(
        "kafka",
        carriers.kafka,
        lambda pairs: [(name, value.encode()) for name, value in pairs],
        other_pairs(*FIELDS),
        our_pairs(*FIELDS),
    ),
    Shape("mcp", carriers.mcp, dict, other_pairs(*_W3C), our_pairs(*_W3C)),
    Shape("environ", carriers.environ, dict, other_pairs(*map(str.lower, _ENV)), our_pairs(*_ENV)),
]
"""The shapes that have room for somebody else's trace."""

WRITTEN: Final = [
    *TRACED,
    query("url", url, text=True),
    query("url-bytes", lambda pairs: url(pairs).encode(), text=True),
    query("query-string", urlencode, text=True),
    query("parameters", dict, text=False),
    query("parameter-list", list, text=False),
    body("body", dict),
    body("body-text", lambda pairs: json.dumps(dict(pairs), indent=1)),
    body("body-bytes", lambda pairs: json.dumps(dict(pairs)).encode()),
]

CARRIERS: Final[list[Any]] = [
    carriers.headers,
    carriers.asgi,
    carriers.kafka,
    carriers.mcp,
    carriers.query,
    carriers.body,
    carriers.environ,
]

# What is read besides -------------------------------------------------------------------------------------------------


class Attributes:
    """A request of a task, with what came in as attributes."""

    def __init__(self, pairs: Pairs) -> None:
        vars(self).update({name.replace("-", "_"): value for name, value in pairs})


def wsgi(pairs: Pairs) -> dict[str, Any]:
    return {
        "REQUEST_METHOD": "GET",
        "wsgi.version": (1, 0),
        **{f"HTTP_{name.upper().replace('-', '_')}": value for name, value in pairs},
    }


def lists(pairs: Pairs) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in pairs:
        found.setdefault(name, []).append(value)
    return found


_HEADERS: Final[dict[str, Callable[[Pairs], Any]]] = {
    "upper": lambda pairs: {name.upper(): value for name, value in pairs},
    "title": lambda pairs: {name.title(): value for name, value in pairs},
    "values of bytes": lambda pairs: {name: value.encode() for name, value in pairs},
    "all bytes": lambda pairs: dict(as_bytes(pairs)),
    "several values each": lists,
    "read-only": lambda pairs: MappingProxyType(dict(pairs)),
    "list of str": list,
    "tuple of bytes": lambda pairs: tuple(as_bytes(pairs)),
    "wsgi": wsgi,
    "werkzeug of wsgi": lambda pairs: EnvironHeaders(wsgi(pairs)),
    "starlette": lambda pairs: StarletteHeaders(raw=as_bytes(pairs)),
    "multidict proxy": lambda pairs: CIMultiDictProxy(CIMultiDict(pairs)),
    "attributes": Attributes,
    "headers as attribute": lambda pairs: SimpleNamespace(headers=dict(pairs), id="task"),
    "request": lambda pairs: httpx.Request("GET", "http://a.example", headers=pairs),
}

READ: Final[list[tuple[str, Any, Callable[[Pairs], Any]]]] = [
    *[
        (f"{carrier.__name__.rpartition('.')[2]}: {name}", carrier, make)
        for carrier in (carriers.headers, carriers.asgi, carriers.kafka)
        for name, make in _HEADERS.items()
    ],
    ("asgi: scope", carriers.asgi, lambda pairs: {"type": "http", "headers": as_bytes(pairs)}),
    ("asgi: scope of tuples", carriers.asgi, lambda pairs: {"headers": tuple(as_bytes(pairs))}),
    ("mcp: params", carriers.mcp, lambda pairs: {"name": "search", "_meta": dict(pairs)}),
    ("mcp: object", carriers.mcp, Attributes),
    ("query: starlette", carriers.query, lambda pairs: QueryParams(pairs)),
    ("query: werkzeug", carriers.query, lambda pairs: MultiDict(pairs)),
    ("query: multidict", carriers.query, lambda pairs: CIMultiDict(pairs)),
    ("query: lists", carriers.query, lambda pairs: parse_qs(urlencode(pairs), keep_blank_values=True)),
    ("query: tuple", carriers.query, tuple),
    ("query: object", carriers.query, Attributes),
    ("body: read-only", carriers.body, lambda pairs: MappingProxyType({"agent_run": dict(pairs)})),
    ("body: object", carriers.body, lambda pairs: SimpleNamespace(agent_run=dict(pairs))),
    ("body: objects", carriers.body, lambda pairs: SimpleNamespace(agent_run=Attributes(pairs))),
    (
        "body: envelope",
        carriers.body,
        lambda pairs: carriers.Envelope[int].model_validate({"payload": 1, "agent_run": dict(pairs)}),
    ),
    ("body: bytearray", carriers.body, lambda pairs: bytearray(json.dumps({"agent_run": dict(pairs)}).encode())),
    ("environ: read-only", carriers.environ, lambda pairs: MappingProxyType(dict(pairs))),
]
"""Shapes that are only read, made of what stands in the plainest shape of the same carrier."""
