"""Carriers: what takes a run id across a wire, one module for each shape.

Each has ``inject(carrier, run_id=<current>)``, which gives the carrier with a run in it, and ``extract(carrier)``,
which gives an `Inbound` and never raises because of what came in.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from agent_run_id.inbound import Inbound, Policy, refusals

if TYPE_CHECKING:
    from agent_run_id.carriers import asgi, body, environ, headers, kafka, mcp, query
    from agent_run_id.carriers.envelope import Envelope

__all__ = [
    "Envelope",
    "Inbound",
    "Policy",
    "asgi",
    "body",
    "environ",
    "headers",
    "kafka",
    "mcp",
    "query",
    "refusals",
]

_ROOMS: Final = frozenset({"asgi", "body", "environ", "headers", "kafka", "mcp", "query"})


def __getattr__(name: str) -> Any:
    if name == "Envelope":
        return import_module(f"{__name__}.envelope").Envelope
    if name in _ROOMS:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
