"""Sizes: how a person types and reads an amount of bytes."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["bytes_of", "size"]

_UNITS: Final = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB")
_SIZE: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?(?:([kmgtp])(i?)b?|b|bytes)?", re.IGNORECASE)
_PREFIXES: Final = "kmgtp"


def bytes_of(text: str) -> int:
    """The bytes that are meant: ``5GiB``, ``500MB``, ``1.5g``, ``4096``. MB are millions, MiB and M are 1024 KiB.

    Raises:
        ValueError: it is no size; the message says what can be typed.
    """
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text!r} is no size; type 5GiB, 500MB or a number of bytes.")
    prefix, is_binary = found[2], found[3] == "i" or not text.strip().lower().endswith("b")
    power = 0 if prefix is None else _PREFIXES.index(prefix.lower()) + 1
    return int(float(found[1]) * (1024 if is_binary else 1000) ** power)


def size(amount: int) -> str:
    """An amount of bytes in the unit that suits it: "4,310 bytes", "12.4 MiB"."""
    shown, unit = float(amount), 0
    while shown >= 1024 and unit < len(_UNITS) - 1:
        shown /= 1024
        unit += 1
    return f"{amount:,} bytes" if unit == 0 else f"{shown:,.1f} {_UNITS[unit]}"
