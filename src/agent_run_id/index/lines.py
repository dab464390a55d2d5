"""Lines on their way into the index: many at once, since one by one they would cost three times as much.

A whole piece of a journal is decoded as one JSON array. Only where that fails is each of its lines looked at by itself,
as `reading` does it, which is also the measure of what the fast way may accept.
"""

from __future__ import annotations

import json
import os
import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from pydantic_core import from_json

from agent_run_id.errors import InvalidTokenError
from agent_run_id.events import BUNDLE_STARTED, PROCESS_STARTED
from agent_run_id.ids import RunId
from agent_run_id.reading import ENVELOPE, LAST_MOMENT, is_count, parse_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = ["Line", "Tokens", "parse_piece", "read_pieces"]

_PIECE: Final = 4 * 1024 * 1024
_HEADERS: Final = frozenset({PROCESS_STARTED, BUNDLE_STARTED})
# An event as `Journal` writes it. What looks otherwise may be one all the same.
_EVENTS: Final = re.compile(
    r'^\{"v":1,"type":"([a-z._]+)","run":"([0-9a-f.-]+)","time":([0-9]{1,18}),"seq":([0-9]{1,18})(?:,(".*))?\}$',
    re.MULTILINE,
).findall


class Line(NamedTuple):
    """An event as it was read: `time` in microseconds, `raw` the JSON of the fields of its type without the braces.

    A header has 0 for its number, and all its fields in `data`.
    """

    run: str
    seq: int
    time: int
    type: str
    raw: str
    data: dict[str, Any]


# Half the time of `Line(…)`.
_new = cast("Callable[[type[Line], tuple[Any, ...]], Line]", tuple.__new__)  # pyright: ignore[reportUnknownMemberType]


class Tokens(dict[str, RunId]):
    """The run ids that were read, by token: most tokens come twice at least."""

    def knows(self, token: Any) -> bool:
        """Whether this is the token of a run."""
        if token in self:
            return True
        try:
            self[token] = RunId.from_token(token)
        except (InvalidTokenError, TypeError):
            return False
        return True


def read_pieces(path: str, offset: int, size: int) -> Iterator[tuple[bytes, int]]:
    """The lines of `path` from `offset` to `size`, some at a time, without the end of the last, and the offset behind.

    Of the last line, where it has no end, that is the offset before it: it may be continued, or be whole all the same.
    """
    if offset >= size:
        return
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)  # not `open`, which asks the system for more than is needed
    try:
        at, rest = offset, b""
        while at < size and (chunk := os.pread(file, min(_PIECE, size - at), at)):
            at += len(chunk)
            piece, end, rest = (rest + chunk).rpartition(b"\n")
            if end:
                offset += len(piece) + 1
                yield piece, offset
        if rest:
            yield rest, offset
    finally:
        os.close(file)


def parse_piece(piece: bytes, tokens: Tokens) -> tuple[list[Line], int]:
    """The events and headers in some lines, and how many pieces of them could not be read."""
    found = _all_at_once(piece, tokens)
    if found is not None:
        return found, 0
    first, _, rest = piece.partition(b"\n")  # the header of a journal
    found = _all_at_once(rest, tokens)
    if found is not None:
        head, bad = _carefully(first, tokens)
        return head + found, bad
    return _line_by_line(piece, tokens)


def _decoded(text: str, count: int) -> list[dict[str, Any]] | None:
    """The JSON of so many lines; None where any of them is none."""
    try:
        # The zeros between them keep two halves of a line from making a whole.
        values: list[Any] = from_json(f"[{text.replace(chr(10), ',0,')}]", allow_inf_nan=False)
    except ValueError:
        return None
    if len(values) != 2 * count - 1 or values[1::2] != [0] * (count - 1):
        return None
    return values[::2]


def _all_at_once(piece: bytes, tokens: Tokens) -> list[Line] | None:
    """The events of lines that all are as `Journal` writes them; None where any is not."""
    try:
        text = piece.decode()
    except UnicodeDecodeError:
        return None
    matches: list[tuple[str, str, str, str, str]] = _EVENTS(text)
    count = text.count("\n") + 1
    if len(matches) != count or not _HEADERS.isdisjoint({match[0] for match in matches}):
        return None
    values = _decoded(text, count)
    if values is None or not all(map(tokens.knows, {match[1] for match in matches})):
        return None
    return [
        _new(Line, (token, int(seq), int(time), kind, raw, value))
        for (kind, token, time, seq, raw), value in zip(matches, values, strict=True)
    ]


def _line_by_line(piece: bytes, tokens: Tokens) -> tuple[list[Line], int]:
    """The same of any lines. Garbage is rare, so even here JSON is decoded at once, if that works."""
    lines = piece.split(b"\n")
    text = piece.decode(errors="replace")
    values = _decoded(text, len(lines))
    if values is None:
        return _one_by_one(lines, tokens)
    found: list[Line] = []
    unreadable = 0
    for line, one, value in zip(lines, text.split("\n"), values, strict=True):
        match = _EVENTS(one)
        if match and match[0][0] not in _HEADERS and tokens.knows(match[0][1]):
            [(kind, token, time, seq, raw)] = match
            found.append(_new(Line, (token, int(seq), int(time), kind, raw, value)))
            continue
        events, bad = _carefully(line, tokens)
        found += events
        unreadable += bad
    return found, unreadable


def _one_by_one(lines: Sequence[bytes], tokens: Tokens) -> tuple[list[Line], int]:
    found: list[Line] = []
    unreadable = 0
    for line in lines:
        events, bad = _carefully(line, tokens)
        found += events
        unreadable += bad
    return found, unreadable


def _carefully(line: bytes, tokens: Tokens) -> tuple[list[Line], int]:
    events, bad = parse_line(line)
    found: list[Line] = []
    for event in events:
        one = _line(event, tokens)
        if one is None:
            bad += 1
        else:
            found.append(one)
    return found, bad


def _line(event: dict[str, Any], tokens: Tokens) -> Line | None:
    """What a JSON object says; None when it is no event."""
    seq, time, kind, run = event.get("seq"), event.get("time"), event.get("type"), event.get("run")
    if kind in _HEADERS:
        return Line("", 0, 0, cast("str", kind), "", event)
    if not (is_count(seq) and is_count(time) and isinstance(kind, str) and isinstance(run, str) and tokens.knows(run)):
        return None
    data = {name: value for name, value in event.items() if name not in ENVELOPE}
    raw = json.dumps(data, ensure_ascii=False, separators=(",", ":"))[1:-1]
    return Line(run, seq, min(time, LAST_MOMENT), kind, raw, event)
