"""Queries: what a person types to `runid find`, such as ``status:failed agent:planner since:2h refund``."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, get_args

from agent_run_id.cli.moments import moment_of
from agent_run_id.schema import Status

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["FIELDS", "Query", "parsed", "unknown"]

_STATUSES: Final[tuple[str, ...]] = get_args(Status)
_YES: Final = {"yes": True, "no": False}


@dataclass(slots=True)
class Query:
    """What is looked for.

    Attributes:
        conditions: The arguments of `RunRegistry.find`.
        kind_and_name: A field that is none, and its value: perhaps a kind, and the name of runs of it.
    """

    conditions: dict[str, Any] = field(default_factory=dict[str, Any])
    kind_and_name: tuple[str, str] | None = None


def _statuses(value: str) -> list[str]:
    found = [part.strip() for part in value.split(",")]
    for part in found:
        if part not in _STATUSES:
            raise ValueError(f"{part!r} is no status; type {', '.join(_STATUSES)}, or several with commas")
    return found


def _flag(value: str) -> bool:
    if value not in _YES:
        raise ValueError(f"root takes yes or no, not {value!r}")
    return _YES[value]


def _text(value: str) -> str:
    return value


FIELDS: Final[dict[str, tuple[str, Callable[[str], Any]]]] = {
    "status": ("status", _statuses),
    "kind": ("kind", _text),
    "name": ("name", _text),
    "key": ("key", _text),
    "user": ("user_id", _text),
    "session": ("session_id", _text),
    "tag": ("tag", _text),
    "text": ("text", _text),
    "since": ("since", moment_of),
    "until": ("until", moment_of),
    "under": ("under", _text),
    "root": ("root_only", _flag),
}
"""By what can be typed: the argument of `RunRegistry.find`, and how the value is read."""


def parsed(arguments: Sequence[str]) -> Query:
    """What was typed, as conditions.

    A word without a field is looked for in all texts. ``agent:planner`` is short for ``kind:agent name:planner``. A
    value with spaces is quoted, for the shell or inside the argument: ``'name:book a flight'``, ``text:"no seat"``.

    Raises:
        ValueError: it cannot be understood; the message says what can be typed.
    """
    query, words = Query(), list[str]()
    for piece in (piece for argument in arguments for piece in _pieces(argument)):
        name, colon, value = piece.partition(":")
        if not colon or not name.isidentifier() or value.startswith("//"):  # that is an address
            words.append(piece)
        elif not value:
            raise ValueError(f"nothing stands behind {piece!r}")
        elif name == "text":
            words.append(value)
        elif name in FIELDS:
            argument, read = FIELDS[name]
            if argument in query.conditions:
                raise ValueError(f"{name}: stands there twice, and a run has one")
            query.conditions[argument] = read(value)
        elif query.kind_and_name is None:
            query.kind_and_name = (name, value)
        else:
            raise unknown(name, value)
    if words:
        query.conditions["text"] = " ".join(words)
    if query.kind_and_name is not None and not query.conditions.keys().isdisjoint({"kind", "name"}):
        raise unknown(*query.kind_and_name)
    return query


def unknown(name: str, value: str) -> ValueError:
    """That there is no such field."""
    known = ", ".join(f"{each}:" for each in FIELDS)
    return ValueError(
        f"{name}: is neither a field nor the kind of any run; type {known}, a kind as in agent:planner,"
        f' or text:"{name}:{value}" to look for these words'
    )


def _pieces(argument: str) -> list[str]:
    """The conditions in one argument, which the shell has taken the quotes from, or which is a whole query."""
    if '"' not in argument and not any(map(str.isspace, argument)):
        return [argument]
    try:
        pieces = shlex.split(argument)
    except ValueError as error:
        raise ValueError(f"a quotation mark is missing in {argument!r}") from error
    if '"' not in argument and not any(":" in piece for piece in pieces[1:]):
        return [argument]  # one value, with the spaces that are in it
    return pieces
