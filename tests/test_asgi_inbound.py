"""ASGI: whose run a request comes under, by the policy of the edge, its keys and what the client has sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from starlette.responses import PlainTextResponse

from agent_run_id import ConfigurationError, RunId, SigningKeys, carriers
from agent_run_id.integrations.asgi import RunMiddleware

from .services import client_of

if TYPE_CHECKING:
    from agent_run_id import RunRegistry

CALLER = RunId.generate(RunId.generate())
token_app = PlainTextResponse("served")
KEYS = SigningKeys({"new": "n" * 32, "old": "o" * 32})
OLD = SigningKeys({"old": "o" * 32})
FORGED = SigningKeys({"old": "x" * 32})
UNKNOWN = SigningKeys({"whose": "w" * 32})


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("inbound", "keys", "signed", "becomes", "refused"),
    [
        ("trust", None, None, "child", None),
        ("trust", None, OLD, "child", None),
        ("trust", KEYS, KEYS, "child", None),
        ("trust", KEYS, OLD, "child", None),
        ("trust", KEYS, None, "link", "unsigned"),
        ("trust", KEYS, FORGED, "link", "forged"),
        ("trust", KEYS, UNKNOWN, "link", "unknown key"),
        ("link", None, None, "link", None),
        ("link", KEYS, KEYS, "link", None),
        ("link", KEYS, FORGED, "link", None),
        ("ignore", None, None, "root", None),
        ("ignore", KEYS, KEYS, "root", None),
    ],
)
async def test_the_policy_and_the_keys_decide_what_becomes_of_a_caller(
    registry: RunRegistry, inbound: Any, keys: Any, signed: Any, becomes: str, refused: str | None
) -> None:
    app = RunMiddleware(token_app, inbound=inbound, keys=keys)
    async with client_of(app) as client:
        response = await client.get("/", headers=carriers.headers.inject({}, CALLER, keys=signed))
    run = registry.get(response.headers["x-run-id"])
    assert run.parent_id == (CALLER.value if becomes == "child" else None)
    assert run.links == ((CALLER.token,) if becomes == "link" else ())
    assert (run.refused_parent or "").partition(":")[0] == (refused or "")


@pytest.mark.anyio
async def test_what_is_no_run_is_refused_in_the_record_and_the_request_is_served(registry: RunRegistry) -> None:
    async with client_of(RunMiddleware(token_app, inbound="trust")) as client:
        response = await client.get("/", headers={"X-Run-Id": "yes"})
    assert response.status_code == 200
    assert (registry.get("@last").refused_parent or "").startswith("malformed: ")


def test_the_policy_has_to_be_said_and_to_be_one() -> None:
    with pytest.raises(TypeError, match="inbound"):
        RunMiddleware(token_app)  # type: ignore[call-arg]
    with pytest.raises(ConfigurationError, match="trust, link, ignore"):
        RunMiddleware(token_app, inbound="yes")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="expected"):
        RunMiddleware(token_app, inbound="trust", expected="KeyError")  # type: ignore[arg-type]
