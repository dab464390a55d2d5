"""Markup: HTML in which a text can only be text.

Whatever is put into an element is escaped, unless it is `Html`, and only this room makes that of recorded texts. A
place that forgets to escape cannot be written, for there is none that has to think of it.
"""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Final

from agent_run_id.rendering import clean

if TYPE_CHECKING:
    from collections.abc import Iterable

    from agent_run_id.rendering import Line

__all__ = ["Html", "element", "escaped", "joined", "painted"]

_VOID: Final = frozenset({"meta"})


class Html(str):
    """A piece of HTML. What is made of one by the methods of `str` is a text again, and will be escaped."""

    __slots__ = ()


def escaped(text: str) -> Html:
    """A text as HTML, in an element or between the quotes of an attribute, with every control character written out."""
    return Html(html.escape(clean(text)))


def joined(pieces: Iterable[Html | str], between: str = "") -> Html:
    """Pieces one behind the other; those that are no HTML are escaped.

    Args:
        pieces: What they are.
        between: What stands between two of them; it is text, and its line ends stay.
    """
    gap = html.escape(between)
    return Html(gap.join(piece if isinstance(piece, Html) else escaped(piece) for piece in pieces))


def element(name: str, /, *content: Html | str, **attributes: str | None) -> Html:
    """An element.

    Args:
        name: Its name.
        content: What is in it.
        **attributes: Its attributes: an underscore stands for a hyphen, or for nothing at the end; None is left out.
            Their values are escaped whatever they are.
    """
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escaped(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Html(f"<{name}{given}>" if name in _VOID else f"<{name}{given}>{joined(content)}</{name}>")


def painted(line: Line) -> Html:
    """A line, its parts marked with their roles."""
    return joined(text if role == "plain" else element("span", text, class_=role) for text, role in line.parts if text)
