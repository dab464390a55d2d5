"""Messages: what is sent when a run is handed off, and what is found in one that comes, in whatever form it does."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from agent_run_id.carriers import body
from agent_run_id.carriers import headers as headers_carrier
from agent_run_id.carriers.shapes import pairs_of, texts_of
from agent_run_id.inbound import NOTHING, Inbound, admit, check_policy

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from agent_run_id.ids import RunId
    from agent_run_id.inbound import Policy
    from agent_run_id.runs import Run
    from agent_run_id.signing import SigningKeys

__all__ = ["HandOff", "found_in", "payload_of"]

T = TypeVar("T")

HEADER: Final = "x-run-hand-off"
"""The header that says that the run is handed over with the message, and not only that of whoever sent it: its id."""
_MARK: Final = "hand_off"
_PAYLOAD: Final = "payload"


class HandOff(Generic[T]):
    """A run that waits to be picked up, with what it is about. `hand_off` makes them.

    Send it in whatever way the queue takes: pickled, as `to_json`, or any body of your own with `headers` beside it. As
    a block, ``with hand_off(…) as message: channel.publish(message.to_json())`` records when sending it fails.

    Attributes:
        run_id: The run.
        payload: What it is about.
    """

    __slots__ = ("_run", "payload", "run_id")

    run_id: RunId
    payload: T

    def __init__(self, run_id: RunId, payload: T, run: Run | None = None) -> None:
        self.run_id = run_id
        self.payload = payload
        self._run = run

    def to_json(self) -> bytes:
        """The message as a JSON object in UTF-8: the payload, and the run under the key of message bodies.

        Raises:
            TypeError: the payload is nothing that JSON has, contains itself, or has a number that is none: send a body
                of your own, and `headers` beside it.
        """
        try:
            said = {**(body.lineage(self.run_id, None) or {}), _MARK: True}
            said_and_sent = {body.KEY: said, _PAYLOAD: self.payload}
            text = json.dumps(said_and_sent, default=_plain, ensure_ascii=False, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise TypeError(
                f"the payload cannot be sent as JSON: {error}; give hand_off what JSON has, or send a body of your own "
                "with the headers of this beside it"
            ) from None
        return text.encode(errors="replace")  # of half a character, which is no text

    @property
    def headers(self) -> dict[str, str]:
        """The run as headers, for a broker whose messages have some; anew each time, as W3C Trace Context wants it."""
        return {**headers_carrier.inject({}, self.run_id), HEADER: self.run_id.value}

    def cancel(self, error: BaseException | str | None = None) -> None:
        """Record that nobody shall pick it up; in the process that handed it off, and as long as nobody has.

        Args:
            error: Why, where it was a failure: then the run has failed, otherwise it was cancelled.
        """
        if self._run is not None:
            self._run.end(status="cancelled" if error is None else None, error=error)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if exc is not None and self._run is not None:
            self._run.finish(exc)

    def __repr__(self) -> str:
        return f"<HandOff {self.run_id.short()}>"  # the payload is not recorded, and belongs into no log either

    def __reduce__(self) -> tuple[type[HandOff[T]], tuple[RunId, T]]:
        return (HandOff, (self.run_id, self.payload))


def found_in(message: Any, headers: Any, policy: Policy, keys: SigningKeys | None) -> tuple[Inbound, bool]:
    """What came in, and whether its run is the message's own, and not only that of whoever sent it.

    A run that is handed over wins over any that only comes along, as a client puts one into headers by itself.
    """
    check_policy(policy)
    if _is_hand_off(message):  # whoever can send objects can do anything
        sent: RunId = message.run_id
        return (Inbound(sent) if policy == "trust" else admit(sent, policy=policy, keys=keys)), True
    in_headers = NOTHING if headers is None else headers_carrier.extract(headers, policy=policy, keys=keys)
    if in_headers != NOTHING and _is_marked(headers, in_headers):
        return in_headers, True
    in_body = body.extract(message, policy=policy, keys=keys)
    if in_body != NOTHING and _has_mark(message):
        return in_body, True
    return (in_headers if in_headers != NOTHING else in_body), False


def _is_marked(headers: Any, found: Inbound) -> bool:
    """Whether headers hand over the run in them: they name it once more, or an earlier hop has left its mark there."""
    run_id = found.run_id or found.link
    try:
        for name, value in pairs_of(headers, (HEADER,)):
            text = name.decode("latin-1") if isinstance(name, bytes) else str(name)
            if text.lower().removeprefix("http_").replace("_", "-") == HEADER:
                return run_id is not None and list(texts_of(value)) == [run_id.value]
    except Exception:  # noqa: S110 - an object of somebody else's, whose methods may do anything
        pass
    return False


def _has_mark(message: Any) -> bool:
    try:
        return any(said.get(_MARK) is True for said in body.values(message))
    except Exception:  # no JSON, or an object of somebody else's
        return False


def payload_of(message: Any) -> Any:
    """What a message is about: what stands beside the run in it, or all of it."""
    try:
        if _is_hand_off(message) or hasattr(message, body.KEY):  # an `Envelope` has that
            return message.payload
        fields: Any = json.loads(message) if type(message) in (str, bytes, bytearray) else message
        rest = {name: value for name, value in fields.items() if name != body.KEY} if body.KEY in fields else None
    except Exception:  # no JSON, or an object of somebody else's, whose methods may do anything
        return message
    if rest is None:
        return message
    return rest[_PAYLOAD] if set(rest) == {_PAYLOAD} else rest


def _is_hand_off(message: Any) -> bool:
    return issubclass(type(message), HandOff)  # not `isinstance`, which asks the object


def _plain(value: Any) -> Any:
    """What `json` cannot encode itself, of which pydantic's models say how."""
    dump = getattr(value, "model_dump", None)
    if dump is None:
        raise TypeError(f"{type(value).__name__} is nothing that JSON has")
    return dump(mode="json")
