"""Moments: how a person types a point in time, or a length of it."""

from __future__ import annotations

import re
from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING, Any, Final

from cyclopts import Parameter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cyclopts import Token

__all__ = ["MOMENTS", "length_of", "moment_of", "when"]

MOMENTS: Final = "2h, 90m, 3d or 2w (so long ago), today, yesterday, 03:14, 2026-11-28, 2026-11-28T03:14"
"""What can be typed, for a help text."""

_UNITS: Final = {
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
}
_LENGTH: Final = re.compile(r"([0-9]+)([smhdw])")
_TIME: Final = r"[0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,6})?)?"
_CLOCK: Final = re.compile(_TIME)
_DATE: Final = re.compile(rf"[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}(?:[Tt ]{_TIME}(?:[Zz]|[+-][0-9]{{2}}:?[0-9]{{2}})?)?")
_FIRST: Final = datetime(1970, 1, 1, tzinfo=UTC)
"""Before that nothing was recorded."""


def when(name: str, text: str) -> Parameter:
    """An option that takes a moment: a `datetime` with a time zone.

    Args:
        name: The option, such as ``--since``.
        text: What it is for.
    """
    return Parameter(name=name, help=text, converter=_converted)


def _converted(_: object, tokens: Sequence[Token]) -> Any:
    return moment_of(tokens[0].value)


def moment_of(text: str, now: datetime | None = None) -> datetime:
    """The moment that is meant: local time, unless it has a time zone.

    Args:
        text: As in `MOMENTS`, or an ISO 8601 time with a zone.
        now: The present, with a time zone; by default that of the clock.

    Raises:
        ValueError: it is none; the message says what can be typed.
    """
    now = datetime.now(UTC) if now is None else now
    typed = text.strip()
    try:
        found = _meant(typed.lower(), now)
    except (ValueError, OverflowError):
        found = None  # there is no 30th of February, no 25 o'clock, and no local time in the year 1
    if found is None:
        raise ValueError(f"{text!r} is no moment; type {MOMENTS}, or an ISO 8601 time with a zone.")
    return found


def _meant(typed: str, now: datetime) -> datetime | None:
    today = now.astimezone().date()
    if typed in ("today", "yesterday"):
        return _local(datetime.combine(today if typed == "today" else today - timedelta(days=1), time()))
    if _LENGTH.fullmatch(typed):
        return _ago(typed, now)
    if _CLOCK.fullmatch(typed):
        return _local(datetime.combine(today, time.fromisoformat(typed)))
    if _DATE.fullmatch(typed):
        found = datetime.fromisoformat(typed.upper())
        return found if found.tzinfo is not None else _local(found)
    return None


def _ago(typed: str, now: datetime) -> datetime:
    try:
        return max(now - length_of(typed), _FIRST)
    except OverflowError:
        return _FIRST


def _local(naive: datetime) -> datetime:
    return naive.astimezone()


def length_of(text: str) -> timedelta:
    """The length of time that is meant: ``90m``, ``2h``, ``30d``, ``2w``.

    Raises:
        ValueError: it is none; the message says what can be typed.
        OverflowError: there is none so long.
    """
    found = _LENGTH.fullmatch(text.strip().lower())
    if found is None:
        raise ValueError(f"{text!r} is no length of time; type 90m, 2h, 30d or 2w.")
    return int(found[1]) * _UNITS[found[2]]
