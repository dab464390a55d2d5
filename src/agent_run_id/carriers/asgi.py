"""ASGI: headers as a list of pairs of bytes, with names in lower case.

As in the scope of a connection, and in the messages that answer it. See the `ASGI specification`_.

.. _ASGI specification: https://asgi.readthedocs.io/en/latest/specs/www.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from agent_run_id.carriers.fields import extract_fields, fields_for
from agent_run_id.carriers.pairs import write_pairs
from agent_run_id.inbound import check_policy
from agent_run_id.scope import CURRENT, CurrentRun

if TYPE_CHECKING:
    from agent_run_id.ids import RunId
    from agent_run_id.inbound import Inbound, Policy
    from agent_run_id.signing import SigningKeys

__all__ = ["extract", "inject"]


def inject(
    carrier: list[tuple[bytes, bytes]] | None = None,
    run_id: RunId | CurrentRun | None = CURRENT,
    *,
    keys: SigningKeys | None = None,
) -> list[tuple[bytes, bytes]]:
    """Write a run into a list of headers, which is changed and returned; the rest is as for `carriers.headers`.

    Raises:
        TypeError: `carrier` is not a list.
    """
    return write_pairs(carrier, fields_for(run_id, keys=keys), str.encode)


def extract(carrier: Any, *, policy: Policy = "trust", keys: SigningKeys | None = None) -> Inbound:
    """Read the run out of a list of headers, or out of the scope that has it; as `carriers.headers.extract`."""
    check_policy(policy)
    headers = _headers_of(carrier)
    return extract_fields(carrier if headers is None else headers, policy=policy, keys=keys)


def _headers_of(carrier: Any) -> Any:
    try:
        return cast("Any", carrier).get("headers") if isinstance(carrier, dict) else None
    except Exception:  # even to be asked for its type can be too much for an object of somebody else's
        return None
