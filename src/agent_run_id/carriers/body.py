"""Message bodies: one reserved key, ``agent_run``, of a mapping or of the JSON object that a text is.

``{"agent_run": {"run_id": "<token>", "sig": "<signature>"}, …}``, without ``sig`` where nothing is signed. A W3C trace
that began elsewhere does not travel in a body. `Envelope` is the same as a pydantic model.
"""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from agent_run_id.carriers.fields import read_token
from agent_run_id.carriers.lone import signed_token
from agent_run_id.inbound import admit, check_policy
from agent_run_id.scope import CURRENT, CurrentRun

if TYPE_CHECKING:
    from agent_run_id.carriers.envelope import Envelope as Envelope
    from agent_run_id.ids import RunId
    from agent_run_id.inbound import Inbound, Policy
    from agent_run_id.signing import SigningKeys

__all__ = ["KEY", "Envelope", "extract", "inject", "lineage", "values"]

KEY: Final = "agent_run"
TOKEN: Final = "run_id"  # noqa: S105 - the name of a field
SIGNATURE: Final = "sig"

_SEARCHED: Final = 1_048_576
"""A longer text is only looked at as far as its first member, which is where `inject` puts ours."""
_FIRST: Final = 4096
_WHITE: Final = " \t\n\r"
_decode: Final = json.JSONDecoder().raw_decode

B = TypeVar("B")


def inject(carrier: B, run_id: RunId | CurrentRun | None = CURRENT, *, keys: SigningKeys | None = None) -> B:
    """Give a body with a run in it, in the place of the one that was there.

    Args:
        carrier: A mapping, or a JSON object as text or UTF-8 bytes; not changed. What else is in a text stays as it is.
        run_id: The run to name; the current one by default. None, or no current run, only takes away.
        keys: What to sign the token with; those of `configure` when None.

    Returns:
        One of the same type; of a mapping, a dict.

    Raises:
        TypeError: `carrier` is none of those.
        ValueError: the text is no JSON object.
    """
    given: Any = carrier
    value = lineage(run_id, keys)
    result: Any
    if isinstance(given, str):
        result = _into(given, value)
    elif isinstance(given, bytes):
        result = _into(given.decode(), value).encode()
    elif hasattr(given, "items"):
        result = {} if value is None else {KEY: value}
        result |= {name: item for name, item in given.items() if name != KEY}
    else:
        raise TypeError(
            f"a body is a mapping, or a JSON object as str or bytes, not {type(given).__name__}: "
            "wrap anything else with Envelope.wrap(…)"
        )
    return cast("B", result)


def extract(carrier: Any, *, policy: Policy = "trust", keys: SigningKeys | None = None) -> Inbound:
    """Read the run out of a body. Never raises because of what is in it.

    Args:
        carrier: A mapping, a JSON object as text or UTF-8 bytes, or an `Envelope`.
        policy: What to make of the run: ``"trust"``, ``"link"`` or ``"ignore"``.
        keys: What tokens must be signed with to be trusted; the keys of `configure` when None.

    Raises:
        ConfigurationError: (a `ValueError`) there is no such policy.
    """
    check_policy(policy)
    try:
        run_id, signature, problem = _read(values(carrier))
    except Exception:  # no JSON, or an object of somebody else's, whose methods may do anything
        run_id, signature, problem = None, None, None
    return admit(run_id, policy=policy, keys=keys, signature=signature, problem=problem)


def lineage(run_id: RunId | CurrentRun | None, keys: SigningKeys | None) -> dict[str, str] | None:
    """What stands under the reserved key; None where there is no run."""
    token, signature = signed_token(run_id, keys)
    if token is None:
        return None
    return {TOKEN: token} if signature is None else {TOKEN: token, SIGNATURE: signature}


def _read(values: list[Any]) -> tuple[RunId | None, str | None, str | None]:
    """The run in what stands under the reserved key, its signature, and what is wrong where something is."""
    if len(values) > 1:
        return None, None, f"ambiguous: {KEY!r} is there {len(values)} times"
    if not values or values[0] is None:
        return None, None, None
    token, signature = _item(values[0], TOKEN), _item(values[0], SIGNATURE)
    if not isinstance(token, str) or not isinstance(signature, str | None):
        return None, None, f"malformed: {KEY!r} is an object with a {TOKEN!r} that is a text"
    run_id, problem = read_token(str.__str__(token))
    return run_id, None if signature is None else str.__str__(signature), problem


def values(carrier: Any) -> list[Any]:
    """All that stands under the reserved key; any code of an object that is looked at may raise."""
    if isinstance(carrier, bytes | bytearray):
        # A long one is cut before it is decoded; the cut may go through a character.
        carrier = carrier.decode(errors="replace") if len(carrier) <= _SEARCHED else _head(carrier)
    if isinstance(carrier, str):
        if len(carrier) > _SEARCHED:
            carrier = carrier[:_FIRST]
        members = _Members(carrier)
        with suppress(ValueError):  # what comes before a mistake, or a cut, counts
            members.read_all()
        return [value for name, value, _, _ in members.found if name == KEY]
    return [_item(carrier, KEY)]


def _item(carrier: Any, name: str) -> Any:
    lookup = getattr(carrier, "get", None)
    return lookup(name) if callable(lookup) else getattr(carrier, name, None)


def _head(carrier: bytes | bytearray) -> str:
    return carrier[:_FIRST].decode(errors="replace")


def _into(text: str, value: dict[str, str] | None) -> str:
    """Put a value under the reserved key first in a JSON object, and leave every other character as it is."""
    members = _Members(text)
    end = members.read_all()
    kept = [text[begin:end] for name, _, begin, end in members.found if name != KEY]
    if value is not None:
        kept.insert(0, f'"{KEY}":{json.dumps(value, separators=(",", ":"))}')
    elif len(kept) == len(members.found):
        return text
    return text[: members.start] + ",".join(kept) + text[end:]


class _Members:
    """The members of the JSON object that a text is: name, value, and from where to where it stands between commas."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.found: list[tuple[str, Any, int, int]] = []
        opening = _skip(text, 1 if text.startswith("\ufeff") else 0)
        if text[opening : opening + 1] != "{":
            raise ValueError("this is no JSON object, so no run can be put into it: wrap it with Envelope.wrap(…)")
        self.start = opening + 1

    def read_all(self) -> int:
        """Read to the end of the object, and give its place.

        Raises:
            ValueError: it is not well-formed; `found` has what comes before the mistake.
        """
        begin = self.start
        if self.text[(place := _skip(self.text, begin)) : place + 1] == "}":
            return place
        while True:
            name, value, end = self._read(begin)
            self.found.append((name, value, begin, end))
            if self.text[end] == "}":
                return end
            begin = end + 1

    def _read(self, begin: int) -> tuple[str, Any, int]:
        text = self.text
        try:
            name, place = _decode(text, _skip(text, begin))
            place = _skip(text, place)
            if isinstance(name, str) and text[place : place + 1] == ":":
                value, place = _decode(text, _skip(text, place + 1))
                place = _skip(text, place)
                if text[place : place + 1] in ("}", ","):
                    return name, value, place
        except (ValueError, RecursionError):
            pass
        raise ValueError(f"this JSON object is not well-formed behind character {begin}, so no run can be put into it")


def _skip(text: str, place: int) -> int:
    while place < len(text) and text[place] in _WHITE:
        place += 1
    return place


def __getattr__(name: str) -> Any:
    if name == "Envelope":  # it needs pydantic, which takes longer to load than everything else here
        from agent_run_id.carriers.envelope import Envelope

        return Envelope
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
