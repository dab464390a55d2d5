"""`Envelope`: a message body that is a pydantic model, with the run of its sender beside the payload."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from pydantic import BaseModel, Field, field_validator

from agent_run_id.carriers import body
from agent_run_id.inbound import count
from agent_run_id.run_context import RunContext
from agent_run_id.scope import CURRENT, CurrentRun

if TYPE_CHECKING:
    from collections.abc import Generator

    from agent_run_id.ids import RunId
    from agent_run_id.inbound import Inbound, Policy
    from agent_run_id.signing import SigningKeys

__all__ = ["Envelope"]

T = TypeVar("T")


class Lineage(BaseModel):
    """The run of a sender, as `carriers.body` writes it."""

    run_id: str = Field(description="The token of the run: <id>, or <id>.<parent>.<root>.<depth>.", max_length=116)
    sig: str | None = Field(default=None, description="Its signature: <key id>.<digest>.", max_length=87)


class Envelope(BaseModel, Generic[T]):
    """A payload with the run it was sent in.

    ``Envelope.wrap(order)`` on the one side; on the other ``Envelope[Order]`` as the type of the body, and
    ``with envelope.open() as order: …``. What is no run where one should be does not make the message invalid: it is
    counted, and as if there were none.
    """

    agent_run: Lineage | None = Field(default=None, description="The run that sent this; written by agent-run-id.")
    payload: T

    @field_validator("agent_run", mode="wrap")
    @classmethod
    def _lenient(cls, value: Any, validate: Any) -> Lineage | None:
        try:
            lineage: Lineage | None = validate(value)
        except ValueError:
            count(f"malformed: {body.KEY!r} is not the run of a sender")
            return None
        return lineage

    @classmethod
    def wrap(
        cls, payload: T, run_id: RunId | CurrentRun | None = CURRENT, *, keys: SigningKeys | None = None
    ) -> Envelope[T]:
        """Put a payload into an envelope of a run.

        Args:
            payload: What to send.
            run_id: The run to name; the current one by default.
            keys: What to sign the token with; the keys of `configure` when None.
        """
        found = body.lineage(run_id, keys)
        return cls(payload=payload, agent_run=None if found is None else Lineage(**found))

    def extract(self, *, policy: Policy = "trust", keys: SigningKeys | None = None) -> Inbound:
        """The run of the sender, as `carriers.body.extract` gives it."""
        lineage = None if self.agent_run is None else self.agent_run.model_dump()
        return body.extract({body.KEY: lineage}, policy=policy, keys=keys)

    @contextmanager
    def open(self, *, policy: Policy = "trust", keys: SigningKeys | None = None) -> Generator[T]:
        """Handle the payload in the run of the sender, or in none; never in one that happens to be current.

        Args:
            policy: What to make of the run: ``"trust"``, ``"link"`` or ``"ignore"``.
            keys: What tokens must be signed with to be trusted; the keys of `configure` when None.

        Raises:
            ConfigurationError: (a `ValueError`) there is no such policy.
        """
        with RunContext(self.extract(policy=policy, keys=keys)):
            yield self.payload
