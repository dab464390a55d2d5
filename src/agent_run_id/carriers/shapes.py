"""Shapes: how to find named values in anything that is like headers, without knowing the library it comes from.

Nothing here writes, for of an empty ``{}`` nobody can guess the shape it is to have.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["INVALID", "MAX_TEXT", "MAX_VALUES", "pairs_of", "texts_of"]

MAX_TEXT: Final = 65_536
"""A value longer than this is not looked at, nor more than this of all values that have to be decoded."""
MAX_VALUES: Final = 100
"""More values than this of one name are not looked at."""
INVALID: Final = "="
"""Stands for what is not looked at: it is valid nowhere, where nothing at all is an empty but valid `tracestate`."""


def pairs_of(carrier: Any, names: Iterable[str]) -> Iterator[tuple[Any, Any]]:
    """The pairs of name and value in `carrier`, with a name as often as it occurs there.

    Args:
        carrier: A mapping of one value or several each, a list of pairs, or an object with attributes.
        names: The attributes to ask an object for that is nothing else.
    """
    if type(carrier) is dict:
        return iter(cast("Any", carrier).items())
    if isinstance(carrier, str | bytes | bytearray | int | float | type(None)):
        return iter(())
    if isinstance(carrier, list | tuple):
        return _pairs(carrier)
    for method in ("multi_items", "items"):  # that of httpx and starlette first: their `items` joins what is repeated
        read = getattr(carrier, method, None)
        if callable(read):
            return _pairs(read())
    return _attributes(carrier, names)


def _pairs(items: Any) -> Iterator[tuple[Any, Any]]:
    for item in items:
        if isinstance(item, tuple | list) and len(cast("list[Any]", item)) == 2:
            yield item[0], item[1]


def _attributes(carrier: Any, names: Iterable[str]) -> Iterator[tuple[Any, Any]]:
    """What an object such as a request, or the request of a task, has as attributes or keeps as its headers."""
    found = False
    for name in names:
        for attribute in dict.fromkeys((name, name.replace("-", "_"))):
            value = getattr(carrier, attribute, None)
            if isinstance(value, str | bytes):
                found = True
                yield name, value
                break
    headers = None if found else getattr(carrier, "headers", None)
    if isinstance(headers, list | tuple) or callable(getattr(headers, "items", None)):
        yield from pairs_of(headers, ())


def texts_of(value: Any) -> Iterator[str]:
    """The texts in a value: itself, or several. What is too long, or no text, counts as one that is not valid."""
    several = cast("list[Any]", value) if isinstance(value, list | tuple) else [value]
    for one in several if len(several) <= MAX_VALUES else [INVALID, INVALID]:
        if type(one) is str and len(one) <= MAX_TEXT:
            yield one
        elif isinstance(one, bytes | bytearray) and len(one) <= MAX_TEXT:
            yield one.decode("latin-1")
        elif isinstance(one, str) and len(one) <= MAX_TEXT:
            yield str.__str__(one)
        elif one is not None:
            yield INVALID
