"""Lone tokens: what a carrier writes that has no place for a W3C trace."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent_run_id.carriers.fields import injected_run
from agent_run_id.ids import RunId
from agent_run_id.settings import signing_keys

if TYPE_CHECKING:
    from agent_run_id.scope import CurrentRun
    from agent_run_id.signing import SigningKeys

__all__ = ["signed_token"]


def signed_token(run_id: RunId | CurrentRun | None, keys: SigningKeys | None) -> tuple[str | None, str | None]:
    """The token of a run and its signature; None for each that there is not."""
    run = injected_run(run_id)
    if not isinstance(run, RunId):
        return None, None
    keys = keys or signing_keys()
    return run.token, None if keys is None else keys.sign(run.token)
