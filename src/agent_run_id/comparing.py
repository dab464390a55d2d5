"""Comparing: what two runs did, field by field, as JSON values.

A value is compared by one text: keys sorted, 1 and 1.0 the same number, 1 and true not the same thing.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pydantic import JsonValue

    from agent_run_id.schema import ErrorRecord, RunRecord

__all__ = ["AFTER", "BEFORE", "FIELDS", "Field", "canonical", "masked", "same", "value_of"]

Field = Literal["kind", "name", "input", "decisions", "output", "status", "error", "outcomes"]
"""What is compared of a run. ``outcomes`` are how its decisions turned out."""

BEFORE: Final[tuple[Field, ...]] = ("kind", "name", "input", "decisions")
"""What is settled before the runs below a run."""

AFTER: Final[tuple[Field, ...]] = ("output", "status", "error", "outcomes")
"""What is settled after them, and may be their doing."""

FIELDS: Final[tuple[Field, ...]] = BEFORE + AFTER


def _decisions(record: RunRecord) -> list[Any]:
    # Not the reason and the confidence: a model words them anew every time, for the same choice.
    return [[made.question, made.options, made.chosen] for made in record.decisions]


def _outcomes(record: RunRecord) -> list[str | None]:
    return [made.outcome for made in record.decisions]


def _error(error: ErrorRecord | None) -> list[Any] | None:
    # Not the traceback: it tells of line numbers, which change with every edit.
    if error is None:
        return None
    return [error.type, error.message, error.expected, [_error(leaf) for leaf in error.leaves]]


_VALUES: Final[Mapping[Field, Callable[[RunRecord], Any]]] = {
    "kind": lambda record: record.kind,
    "name": lambda record: record.name,
    "input": lambda record: record.input,
    "decisions": _decisions,
    "output": lambda record: record.output,
    "status": lambda record: record.status,
    "error": lambda record: _error(record.error),
    "outcomes": _outcomes,
}


def value_of(record: RunRecord, field: Field) -> Any:
    """What is compared of a field of a run, as a JSON value."""
    return _VALUES[field](record)


def same(one: Any, other: Any, *, volatile: bool = True) -> bool:
    """Whether two JSON values are equal.

    Args:
        one: A value.
        other: Another.
        volatile: Whether what `masked` masks counts too.
    """
    if one is None or other is None or isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if not one and not other and type(one) is type(other):
        return True
    if isinstance(one, str) and isinstance(other, str) and (volatile or one == other):
        return one == other
    written, also = canonical(one), canonical(other)
    return written == also or (not volatile and masked(written) == masked(also))


def canonical(value: Any) -> str:
    """The one text of a JSON value."""
    written = json.dumps(value, sort_keys=True, separators=(",", ":"))
    if _MAYBE_FLOAT.search(written):
        written = json.dumps(_whole_numbers(json.loads(written)), sort_keys=True, separators=(",", ":"))
    return written


_MAYBE_FLOAT: Final = re.compile(r"\d(?:\.0|e[+-])")


def _whole_numbers(value: JsonValue) -> JsonValue:
    """The value with 1 where it says 1.0. Recorded values are nested less deep than Python recurses."""
    if isinstance(value, float):
        return int(value) if value.is_integer() else value
    if isinstance(value, dict):
        return {key: _whole_numbers(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_whole_numbers(inner) for inner in value]
    return value


_HEX: Final = "[0-9a-fA-F]"
_VOLATILE: Final = re.compile(
    rf"(?<!{_HEX})(?:{_HEX}{{8}}-(?:{_HEX}{{4}}-){{3}}{_HEX}{{12}}|{_HEX}{{32}})(?!{_HEX})"  # ids
    rf"|\b0x{_HEX}{{6,16}}\b"  # where in memory an object is
    r"|\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d)?(?:[.,]\d{1,9})?(?:Z|[+-]\d\d:?\d\d)?"
    r"|(?:/private)?(?:/var/folders/[^/\s\"\\]+/[^/\s\"\\]+/T|/var/tmp|/tmp)/[^/\s\"\\]+"
    r"|\btmp[a-z0-9_]{8}\b"
)


def masked(written: str) -> str:
    """The text of a value without what differs from run to run by nature: ids, times, addresses, temporary paths."""
    return _VOLATILE.sub("*", written)
