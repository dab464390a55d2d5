"""The environment of a process: ``AGENT_RUN_ID`` holds the token, ``TRACEPARENT`` and ``TRACESTATE`` the W3C's part.

The names are looked up as they are, in upper case, and in no other form.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

from agent_run_id.carriers.fields import (
    TRACEPARENT,
    TRACESTATE,
    Found,
    decide,
    fields_for,
    has_our_member,
    injected_run,
    run_in,
)
from agent_run_id.ids import RunId
from agent_run_id.inbound import check_policy
from agent_run_id.scope import CURRENT, CurrentRun

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent_run_id.inbound import Inbound, Policy
    from agent_run_id.signing import SigningKeys

__all__ = ["VARIABLE", "extract", "inject", "joinable"]

VARIABLE: Final = "AGENT_RUN_ID"
_TRACE: Final = {TRACEPARENT.upper(): TRACEPARENT, TRACESTATE.upper(): TRACESTATE}


def inject(
    carrier: Mapping[str, str] | None = None,
    run_id: RunId | CurrentRun | None = CURRENT,
    *,
    keys: SigningKeys | None = None,
) -> dict[str, str]:
    """Give a full copy of an environment with a run in it and nothing stale beside it.

    Outside any run the copy has none, and no trace that was one of ours.

    Args:
        carrier: What to copy; `os.environ` by default. It is not changed.
        run_id: The run to name; the current one by default.
        keys: What to sign the token with; the keys of `configure` when None.
    """
    env = dict(os.environ if carrier is None else carrier)
    run = injected_run(run_id)
    fields = fields_for(run if isinstance(run, RunId) else run_id, keys=keys)
    env.pop(VARIABLE, None)
    if fields or has_our_member(env.get("TRACESTATE")):
        for variable, field in _TRACE.items():
            env.pop(variable, None)
            if field in fields:
                env[variable] = fields[field]
    if isinstance(run, RunId):
        env[VARIABLE] = run.token
    return env


def extract(carrier: Any, *, policy: Policy = "trust", keys: SigningKeys | None = None) -> Inbound:
    """Read the run out of an environment. Never raises because of what is in it.

    Args:
        carrier: The environment, such as `os.environ`.
        policy: What to make of the run: ``"trust"``, ``"link"`` or ``"ignore"``.
        keys: What tokens must be signed with to be trusted; the keys of `configure` when None.

    Raises:
        ConfigurationError: (a `ValueError`) there is no such policy.
    """
    check_policy(policy)
    found, token = _found(carrier)
    return decide(found, policy, keys, token=token)


def joinable(carrier: Mapping[str, str]) -> RunId | None:
    """The run that a process joins: our own token decides, and a bare ``TRACEPARENT`` is nothing to join.

    Whoever started the process wrote its environment, so nothing in it has to be signed.
    """
    found, token = _found(carrier)
    return None if token is None else run_in(found, token)


def _found(carrier: Any) -> tuple[Found, str | None]:
    """What stands in the environment, and the token."""
    found = Found([], [], [])
    try:
        for variable, field in _TRACE.items():
            value = carrier.get(variable)
            if isinstance(value, str) and value:
                found.add(field, value)
        token = carrier.get(VARIABLE)
        # A plain text, and none of a type of somebody else's.
        token = str.__str__(token) if isinstance(token, str) and token else None
    except Exception:  # something that is no mapping, or one of somebody else's
        return Found([], [], []), None
    return found, token
