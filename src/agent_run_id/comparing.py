"""Comparing: what two runs did, field by field, as JSON values.

A value is compared by one text: keys sorted, 1 and 1.0 the same number, 1 and true not the same thing.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Final, Literal

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


def _decisions(record: RunRecord) -> JsonValue:
    # Not the reason and the confidence: a model words them anew every time, for the same choice.
    return [[made.question, list(made.options), made.chosen] for made in record.decisions]


def _outcomes(record: RunRecord) -> JsonValue:
    return [made.outcome for made in record.decisions]


def _error(error: ErrorRecord | None) -> JsonValue:
    # Not the traceback: it tells of line numbers, which change with every edit.
    if error is None:
        return None
    return [error.type, error.message, error.expected, [_error(leaf) for leaf in error.leaves]]


_VALUES: Final[Mapping[Field, Callable[[RunRecord], JsonValue]]] = {
    "kind": lambda record: record.kind,
    "name": lambda record: record.name,
    "input": lambda record: record.input,
    "decisions": _decisions,
    "output": lambda record: record.output,
    "status": lambda record: record.status,
    "error": lambda record: _error(record.error),
    "outcomes": _outcomes,
}


def value_of(record: RunRecord, field: Field) -> JsonValue:
    """What is compared of a field of a run, as a JSON value."""
    return _VALUES[field](record)


def same(one: JsonValue, other: JsonValue, *, volatile: bool = True) -> bool:
    """Whether two JSON values are equal.

    Args:
        one: A value.
        other: Another.
        volatile: Whether what `masked` masks counts too.
    """
    if _same(one, other):
        return True
    if volatile or one is None or other is None:
        return False
    return masked(canonical(one)) == masked(canonical(other))


def _same(one: JsonValue, other: JsonValue) -> bool:
    """As the texts would say, and faster. `==` would do, but takes True for 1, and no NaN for another."""
    if one is other:
        return True
    if isinstance(one, dict):
        if not isinstance(other, dict) or len(one) != len(other):
            return False
        return all(key in other and _same(value, other[key]) for key, value in one.items())
    if isinstance(one, list):
        if not isinstance(other, list) or len(one) != len(other):
            return False
        return all(_same(mine, theirs) for mine, theirs in zip(one, other, strict=True))
    if isinstance(one, bool) or isinstance(other, bool):
        return False  # the two that there are would be the same object
    return one == other or (one != one and other != other)  # NaN


def canonical(value: JsonValue) -> str:
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
