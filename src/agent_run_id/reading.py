"""Reading journals: lines back into events.

A reader never trusts a journal: a torn last line, garbage in the middle or two lines glued together by a full disk are
counted, and the rest is read.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeGuard, cast

from agent_run_id.events import MAX_LEVELS, finite, plain
from agent_run_id.liveness import State, is_header, liveness_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = [
    "ENVELOPE",
    "LAST_MOMENT",
    "Header",
    "decode",
    "header_of",
    "is_count",
    "lines_from",
    "parse_line",
    "read_header",
    "state_of",
]

ENVELOPE: Final = frozenset({"v", "type", "run", "time", "seq"})
"""The fields every event has; those of its type come behind them."""
LAST_MOMENT: Final = 253_402_300_799_999_999
"""The end of the year 9999, where `datetime` ends, in microseconds."""
_HEADER_BYTES: Final = 65_536
_CHUNK: Final = 4 * 1024 * 1024
_BEGINNING: Final = b'{"v":'
_HALF_CHARACTER: Final = rb"\ud"
# Infinity and NaN are not JSON, and a number too large for a float reads as one: as our own events write them.
decode: Callable[[str], Any] = json.JSONDecoder(parse_constant=str, parse_float=lambda text: finite(float(text))).decode


@dataclass(frozen=True, slots=True)
class Header:
    """The first line of a journal: which process wrote it, and which of its files this is."""

    process: str
    segment: int
    fields: dict[str, Any]


def read_header(path: str) -> Header | None:
    """The header of the journal at `path`; None when there is none that can be read."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            line = file.readline(_HEADER_BYTES)
    except OSError:
        return None
    fields = _loads(line)
    return None if fields is None else header_of(fields)


def header_of(fields: dict[str, Any]) -> Header | None:
    """What a line says of the process whose events follow; None when it does not."""
    return Header(fields["process"], fields["segment"], fields) if is_header(fields) else None


def state_of(path: str, header: Header) -> State:
    """Whether the process that owns the journal at `path` lives."""
    return liveness_of(path, header.fields)


def lines_from(path: str, offset: int) -> Iterator[tuple[bytes, int]]:
    """The lines of `path` from `offset` on, each with the offset behind it.

    Of the last, where it has no end, that is the offset before it: it may be continued, or be whole all the same.
    """
    with open(path, "rb") as file:  # noqa: PTH123
        file.seek(offset)
        rest = b""
        while chunk := file.read(_CHUNK):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                offset += len(line) + 1
                yield line, offset
        if rest:
            yield rest, offset


def parse_line(line: bytes) -> tuple[list[dict[str, Any]], int]:
    """The events of one line, and how many pieces of it could not be read.

    A line that a full disk cut short may have the next event glued to it: what begins like an event is tried.
    """
    event = _loads(line)
    if event is not None:
        return [event], 0
    if not line.strip():
        return [], 0
    start = line.find(_BEGINNING, 1)
    while start > 0:
        event = _loads(line[start:])
        if event is not None:
            return [event], 1
        start = line.find(_BEGINNING, start + 1)
    return [], 1


def _loads(line: bytes) -> dict[str, Any] | None:
    try:
        value: Any = decode(line.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict):
        return None
    if _HALF_CHARACTER in line.lower():  # a lone surrogate is no text, and SQLite takes none
        value = decode(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace").decode())
    if line.count(b"[") + line.count(b"{") > MAX_LEVELS:  # it may be deeper than we would have written it
        value = {name: plain(item) for name, item in cast("dict[str, Any]", value).items()}
    return cast("dict[str, Any]", value)


def is_count(value: Any) -> TypeGuard[int]:
    """Whether this is a number or a time as an event has it: a whole number that SQLite can hold, from 0."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63
