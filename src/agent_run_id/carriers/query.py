"""Query strings: ``run_id`` holds the token, ``run_id_sig`` its signature.

Nothing else survives here: a W3C trace that began elsewhere does not travel in a URL. What else is in the URL stays as
it is to the last byte.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar, cast
from urllib.parse import unquote_plus

from agent_run_id.carriers.fields import read_token
from agent_run_id.carriers.lone import signed_token
from agent_run_id.carriers.shapes import pairs_of, texts_of
from agent_run_id.inbound import admit, check_policy
from agent_run_id.scope import CURRENT, CurrentRun

if TYPE_CHECKING:
    from collections.abc import Iterable

    from agent_run_id.ids import RunId
    from agent_run_id.inbound import Inbound, Policy
    from agent_run_id.signing import SigningKeys

__all__ = ["PARAMETER", "SIGNATURE", "extract", "inject"]

PARAMETER: Final = "run_id"
SIGNATURE: Final = "run_id_sig"
_OURS: Final = (PARAMETER, SIGNATURE)
_MAX_TEXT: Final = 65_536
"""A URL longer than this is not looked at."""
_MAX_NAME: Final = 64

Q = TypeVar("Q")


def inject(carrier: Q, run_id: RunId | CurrentRun | None = CURRENT, *, keys: SigningKeys | None = None) -> Q:
    """Give a URL, a query string or its parameters with a run in it, in the place of the one that was there.

    A text is a URL when it has a ``?``, a ``://`` or a ``#``, or begins with ``/``; else it is a query string, with
    nothing before it.

    Args:
        carrier: A text, its ASCII bytes, a mapping of parameters, or a list of pairs; not changed.
        run_id: The run to name; the current one by default. None, or no current run, only takes away.
        keys: What to sign the token with; those of `configure` when None.

    Returns:
        One of the same type; of a mapping, a dict.

    Raises:
        TypeError: `carrier` is none of those.
    """
    given: Any = carrier
    pairs = _parameters(run_id, keys)
    result: Any
    if isinstance(given, str):
        result = _into(given, pairs)
    elif isinstance(given, bytes):
        result = _into(given.decode("latin-1"), pairs).encode("latin-1")
    elif isinstance(given, list | tuple):
        kept = [pair for pair in cast("list[Any]", given) if pair[0] not in _OURS]
        result = type(cast("list[Any]", given))([*kept, *pairs])
    elif hasattr(given, "items"):
        result = {name: value for name, value in given.items() if name not in _OURS} | dict(pairs)
    else:
        raise TypeError(
            f"a query is a str, bytes, a mapping or a list of pairs, not {type(given).__name__}: use str(…)"
        )
    return cast("Q", result)


def extract(carrier: Any, *, policy: Policy = "trust", keys: SigningKeys | None = None) -> Inbound:
    """Read the run out of a URL, a query string or its parameters. Never raises because of what is in it.

    Args:
        carrier: A text, bytes, a mapping of one value or several each, or a list of pairs.
        policy: What to make of the run: ``"trust"``, ``"link"`` or ``"ignore"``.
        keys: What tokens must be signed with to be trusted; the keys of `configure` when None.

    Raises:
        ConfigurationError: (a `ValueError`) there is no such policy.
    """
    check_policy(policy)
    tokens: list[str] = []
    signatures: list[str] = []
    try:
        for name, value in _pairs(carrier):
            if name in _OURS:
                _add(tokens if name == PARAMETER else signatures, value)
    except Exception:  # an object of somebody else's, whose methods may do anything
        tokens = []
    run_id, problem = None, None
    if len(tokens) == 1:
        run_id, problem = read_token(tokens[0])
    elif tokens:
        problem = f"ambiguous: there are several values of {PARAMETER}"
    signature = signatures[0] if len(signatures) == 1 else None
    return admit(run_id, policy=policy, keys=keys, signature=signature, problem=problem)


def _add(values: list[str], value: Any) -> None:
    for text in texts_of(value):
        if len(values) < 2:  # the second is one too many already
            values.append(text)


def _parameters(run_id: RunId | CurrentRun | None, keys: SigningKeys | None) -> list[tuple[str, str]]:
    token, signature = signed_token(run_id, keys)
    pairs = [(PARAMETER, token), (SIGNATURE, signature)]
    return [(name, value) for name, value in pairs if value is not None]


def _into(text: str, pairs: Iterable[tuple[str, str]]) -> str:
    before, query, after = _split(text)
    kept = [part for part in query.split("&") if _name(part) not in _OURS] if query else []
    kept += [f"{name}={value}" for name, value in pairs]
    if not kept and query:
        before = before.removesuffix("?")  # it was there for our sake
    elif kept and not before.endswith("?") and _is_url(text):
        before += "?"
    return before + "&".join(kept) + after


def _is_url(text: str) -> bool:
    return text.startswith("/") or "?" in text or "://" in text or "#" in text


def _split(text: str) -> tuple[str, str, str]:
    """What is before the query, with its ``?``; the query; and what is behind it, with its ``#``."""
    rest, hash_mark, fragment = text.partition("#")
    path, mark, query = rest.partition("?")
    if not mark and not _is_url(text):
        path, query = "", rest
    return path + mark, query, hash_mark + fragment


def _name(part: str) -> str:
    name = part.partition("=")[0]
    return unquote_plus(name) if len(name) <= _MAX_NAME else ""


def _pairs(carrier: Any) -> Iterable[tuple[Any, Any]]:
    if isinstance(carrier, bytes | bytearray):
        carrier = carrier.decode("latin-1") if len(carrier) <= _MAX_TEXT else ""
    if not isinstance(carrier, str):
        return pairs_of(carrier, _OURS)
    if len(carrier) > _MAX_TEXT:
        return []
    parts = [part for part in _split(carrier)[1].split("&") if _name(part) in _OURS]
    return [(_name(part), unquote_plus(part.partition("=")[2])) for part in parts]
