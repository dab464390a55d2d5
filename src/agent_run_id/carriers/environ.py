"""The environment of a child process as a carrier: ``AGENT_RUN_ID`` holds the token."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from agent_run_id.errors import InvalidTokenError
from agent_run_id.ids import RunId

if TYPE_CHECKING:
    from collections.abc import Mapping, MutableMapping

__all__ = ["VARIABLE", "extract", "inject"]

VARIABLE: Final = "AGENT_RUN_ID"


def inject(carrier: MutableMapping[str, str], run_id: RunId | None) -> None:
    """Put `run_id` into a copy of an environment; without one, take away what is stale there."""
    if run_id is None:
        carrier.pop(VARIABLE, None)
    else:
        carrier[VARIABLE] = run_id.token


def extract(carrier: Mapping[str, str]) -> RunId | None:
    """Read the run id out of an environment; None when there is none or it is malformed. Never raises."""
    token = carrier.get(VARIABLE)
    if not token:
        return None
    try:
        return RunId.from_token(token)
    except InvalidTokenError:
        return None
