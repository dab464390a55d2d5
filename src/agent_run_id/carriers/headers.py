"""Headers, as a mapping of text: those of HTTP requests and responses, of message brokers, of tasks.

Writing takes mutable mappings, those with several values for a name among them (``httpx.Headers``,
``email.message.Message``, the headers of werkzeug, starlette, aiohttp and requests). Reading takes anything that is
like headers: mappings of text or bytes in any case, lists of pairs, a WSGI environ, a request that has headers, or an
object with attributes of these names, such as the request of a task.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar, cast, overload

from agent_run_id.carriers.fields import (
    RUN_ID,
    TRACEPARENT,
    TRACESTATE,
    extract_fields,
    fields_for,
    has_our_member,
    write_new,
)
from agent_run_id.carriers.shapes import pairs_of
from agent_run_id.ids import RunId
from agent_run_id.inbound import check_policy
from agent_run_id.scope import CURRENT, CurrentRun, current_run_id

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent_run_id.inbound import Inbound, Policy
    from agent_run_id.signing import SigningKeys

__all__ = ["extract", "inject", "write"]

_FIELDS: Final = frozenset({RUN_ID, TRACEPARENT, TRACESTATE})
_LENGTHS: Final = frozenset(map(len, _FIELDS))


class _Headers(Protocol):
    """What can be written to."""

    def __iter__(self) -> Iterator[Any]: ...
    def __getitem__(self, name: str, /) -> Any: ...
    def __setitem__(self, name: str, value: str, /) -> None: ...
    def __delitem__(self, name: str, /) -> None: ...


H = TypeVar("H", bound=_Headers)


# The first for `{}`, of which a checker cannot say what mapping it is.
@overload
def inject(
    carrier: dict[str, str], run_id: RunId | CurrentRun | None = CURRENT, *, keys: SigningKeys | None = None
) -> dict[str, str]: ...


@overload
def inject(carrier: H, run_id: RunId | CurrentRun | None = CURRENT, *, keys: SigningKeys | None = None) -> H: ...


def inject(carrier: H, run_id: RunId | CurrentRun | None = CURRENT, *, keys: SigningKeys | None = None) -> H:
    """Write a run into headers, and take away what an earlier hop put there; everything else stays as it is.

    Call it once for every outgoing request: each has a parent-id of its own.

    Args:
        carrier: A mutable mapping of text; it is changed.
        run_id: The run to name; the current one by default. None, or no current run, only takes away.
        keys: What to sign the token with; the keys of `configure` when None.

    Returns:
        `carrier`.

    Raises:
        TypeError: `carrier` cannot be written to as a mapping.
    """
    run = current_run_id() if run_id is CURRENT else run_id
    if type(carrier) is not dict or type(run) is not RunId or not write_new(cast("Any", carrier), run, keys):
        write(carrier, fields_for(run_id, keys=keys))
    return carrier


def extract(carrier: Any, *, policy: Policy = "trust", keys: SigningKeys | None = None) -> Inbound:
    """Read the run out of anything that is like headers. Never raises because of what is in it.

    Args:
        carrier: What came in.
        policy: What to make of the run: ``"trust"``, ``"link"`` or ``"ignore"``.
        keys: What tokens must be signed with to be trusted; the keys of `configure` when None.

    Raises:
        ConfigurationError: (a `ValueError`) there is no such policy.
    """
    check_policy(policy)
    return extract_fields(carrier, policy=policy, keys=keys)


def write(carrier: _Headers, fields: dict[str, str]) -> None:
    """Put fields in the place of those of an earlier hop; without any, take away what was ours."""
    if not hasattr(carrier, "__setitem__") or isinstance(carrier, list):
        raise TypeError(
            f"headers are written to a mutable mapping, not to a {type(carrier).__name__}; lists of pairs are written "
            "by carriers.asgi and carriers.kafka"
        )
    stale = [
        name for name in _names(carrier) if isinstance(name, str) and len(name) in _LENGTHS and name.lower() in _FIELDS
    ]
    if not fields and not has_our_member(_states(carrier)):
        stale = [name for name in stale if name.lower() == RUN_ID]
    for name in stale:
        with suppress(KeyError):  # it stood there several times, and all went at once
            del carrier[name]
    for name, value in fields.items():
        carrier[name] = value


def _states(carrier: Any) -> list[Any]:
    # Not `carrier[name]`: where there are several headers of a name, most types give the first.
    return [value for name, value in pairs_of(carrier, ()) if isinstance(name, str) and name.lower() == TRACESTATE]


def _names(carrier: Any) -> list[Any]:
    names = getattr(carrier, "keys", None)  # werkzeug's headers iterate over pairs
    found: Any = names() if callable(names) else carrier
    return list(found)
