"""MCP: the ``_meta`` of a request's params, with `traceparent` and `tracestate` as plain keys (SEP-414).

There is no place for a bare id in it: the token in `tracestate` is what counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from agent_run_id.carriers.fields import TRACEPARENT, TRACESTATE, Found, decide, fields_for, has_our_member
from agent_run_id.carriers.shapes import pairs_of
from agent_run_id.inbound import check_policy
from agent_run_id.scope import CURRENT, CurrentRun

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent_run_id.ids import RunId
    from agent_run_id.inbound import Inbound, Policy
    from agent_run_id.signing import SigningKeys

__all__ = ["extract", "inject"]

_FIELDS: Final = (TRACEPARENT, TRACESTATE)
_META: Final = "_meta"


def inject(
    carrier: Mapping[str, Any] | None = None,
    run_id: RunId | CurrentRun | None = CURRENT,
    *,
    keys: SigningKeys | None = None,
) -> dict[str, Any]:
    """Give a copy of a ``_meta`` with a run in it: ``session.call_tool(name, arguments, meta=carriers.mcp.inject())``.

    Args:
        carrier: What is to be in it besides; not changed.
        run_id: The run to name; the current one by default.
        keys: What to sign the token with; the keys of `configure` when None.
    """
    fields = fields_for(run_id, keys=keys)
    meta = dict(carrier or {})
    if fields or has_our_member(meta.get(TRACESTATE)):
        for name in _FIELDS:
            meta.pop(name, None)
            if name in fields:
                meta[name] = fields[name]
    return meta


def extract(carrier: Any, *, policy: Policy = "trust", keys: SigningKeys | None = None) -> Inbound:
    """Read the run out of a ``_meta``, or of the params that have one. Never raises because of what is in it.

    Args:
        carrier: A mapping, or the object that the MCP SDK makes of one.
        policy: What to make of the run: ``"trust"``, ``"link"`` or ``"ignore"``.
        keys: What tokens must be signed with to be trusted; the keys of `configure` when None.

    Raises:
        ConfigurationError: (a `ValueError`) there is no such policy.
    """
    check_policy(policy)
    found = Found([], [], [])
    try:
        if isinstance(carrier, dict) and _META in carrier:
            carrier = cast("dict[str, Any]", carrier)[_META]
        for name, value in pairs_of(carrier, _FIELDS):
            if name in _FIELDS:
                found.add(name, value)
    except Exception:  # an object of somebody else's, whose methods may do anything
        found = Found([], [], [])
    return decide(found, policy, keys)
