"""Positions: how far somebody has followed the journals of a directory, as a value and as a text.

Where one is in a journal is told by the process, the number of its file and the offset in it, never by a path: a file
that is folded into a bundle is in there as it was, so an offset means the same in both.

Only processes that may still record something are named, or a position would grow for ever. All others are over and
done with; they are told from those that came later by when they began. Because a file may get its name some time after
it was begun, and clocks differ by a little, those over that began in the last minute are named, too.
"""

from __future__ import annotations

import json
import zlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, Final, NoReturn, TypeGuard, cast

from agent_run_id.errors import InvalidCursorError
from agent_run_id.reading import is_count

__all__ = ["Position", "key_of"]

_FORM: Final = "w1."
_LARGEST: Final = 8 * 1024 * 1024
_MOST_OVER: Final = 256


@dataclass(frozen=True, slots=True)
class Position:
    """How far the journals of a directory were followed.

    Attributes:
        since: Of the processes that are in neither of the following, those that began later, in microseconds, are new.
        over: By their keys, processes that are over although they began later than that; and when they began.
        open: By their keys, processes that may record more; by the number of each of their files how far it was read.
            Of a file with a higher number nothing was read, of one with a lower number everything.
    """

    since: int
    over: dict[str, int] = field(default_factory=dict[str, int])
    open: dict[str, dict[int, int]] = field(default_factory=dict[str, dict[int, int]])

    def to_text(self) -> str:
        """The position as one word."""
        since = self.since
        over = sorted(((began, key) for key, began in self.over.items() if began > since), reverse=True)
        if len(over) > _MOST_OVER:  # so many are born in a minute that they have to do with less
            since = over[_MOST_OVER][0]
            over = [(began, key) for began, key in over if began > since]
        value = [since, {key: began - since for began, key in over}, self.open]
        return _FORM + urlsafe_b64encode(zlib.compress(json.dumps(value, separators=(",", ":")).encode())).decode()

    @classmethod
    def from_text(cls, text: str) -> Position:
        """Read what `to_text` made.

        Raises:
            InvalidCursorError: (a `ValueError`) it is something else.
        """
        if not isinstance(text, str):
            _refuse(text)
        if not text.startswith(_FORM) or not text.isascii():
            _refuse(text)
        try:
            inflater = zlib.decompressobj()
            content = inflater.decompress(urlsafe_b64decode(text[len(_FORM) :]), _LARGEST)
            value: Any = json.loads(content) if inflater.eof else None
        except (ValueError, zlib.error, RecursionError):
            value = None
        position = _checked(value)
        return _refuse(text) if position is None else position


def key_of(process: str) -> str:
    """What stands for a process in a position: as long as it has to be, however long the id that somebody gave it."""
    return blake2b(process.encode("utf-8", "replace"), digest_size=8).hexdigest()


def _refuse(text: object) -> NoReturn:
    shown = repr(text) if len(repr(text)) <= 60 else f"{repr(text)[:50]}…"
    raise InvalidCursorError(
        f"a cursor is what `watch.cursor` gave, unchanged, not {shown}; without `after`, a watch begins now"
    )


def _checked(value: Any) -> Position | None:
    try:
        since, over, places = value
        numbers = {key: {int(number): offset for number, offset in files.items()} for key, files in places.items()}
    except (TypeError, ValueError, AttributeError):
        return None
    if not (is_count(since) and _is_counts(over) and all(map(_is_counts, numbers.values()))):
        return None
    return Position(since, {key: since + behind for key, behind in over.items()}, numbers)


def _is_counts(value: Any) -> TypeGuard[dict[str, int]]:
    return isinstance(value, dict) and all(map(is_count, cast("dict[str, Any]", value).values()))
