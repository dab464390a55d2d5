"""Tables: cells in columns, fitted to a terminal or whole in a pipe; and a line cut to what a terminal has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from agent_run_id.rendering import Line

if TYPE_CHECKING:
    from collections.abc import Container, Sequence

    from agent_run_id.rendering import Role

__all__ = ["Layout", "fitted", "shortened"]

_NARROWEST: Final = 4
_GAP: Final = "  "


class Layout:
    """How wide each column is, and whether what is wider is cut, as it is on a terminal.

    Args:
        widths: Of each column; what is wider than that moves the others, unless it is cut.
        right: The places of the columns that are set to the right, such as those of numbers.
        cuts: Whether to cut what is wider.
    """

    def __init__(self, widths: Sequence[int], *, right: Container[int] = (), cuts: bool = False) -> None:
        self._widths = widths
        self._right = right
        self._cuts = cuts

    def padded(self, row: Sequence[str]) -> list[str]:
        """The cells of a row with the space between them; the last has none behind it."""
        cells = [self._cell(place, text) for place, text in enumerate(row)]
        return [*(f"{cell}{_GAP}" for cell in cells[:-1]), cells[-1].rstrip()]

    def _cell(self, place: int, text: str) -> str:
        if self._cuts:
            text = _cut(text, self._widths[place])
        space = " " * (self._widths[place] - (_columns(text) if self._cuts else len(text)))
        return f"{space}{text}" if place in self._right else f"{text}{space}"


def fitted(
    rows: Sequence[Sequence[str]], width: int | None, *, shrinking: Sequence[int], right: Container[int] = ()
) -> Layout:
    """Every column as wide as its widest cell, but for those that must give way on a terminal.

    Args:
        rows: All rows, that of the headings included.
        width: The columns of the terminal; None where nothing may be cut.
        shrinking: The places of the columns that may give way.
        right: As in `Layout`.
    """
    if width is None:
        return Layout([max(map(len, column)) for column in zip(*rows, strict=True)], right=right)
    widths = [min(max(map(_columns, column)), width) for column in zip(*rows, strict=True)]
    excess = sum(widths) + len(_GAP) * (len(widths) - 1) - width
    while excess > 0:
        widest = max(shrinking, key=widths.__getitem__)
        if widths[widest] <= _NARROWEST:
            break
        widths[widest] -= 1
        excess -= 1
    return Layout(widths, right=right, cuts=True)


def shortened(line: Line, width: int | None) -> Line:
    """The line, cut where it is wider than a terminal has columns; None cuts nothing."""
    if width is None or _columns(str(line)) <= width:
        return line
    parts: list[tuple[str, Role]] = []
    for text, role in line.parts:
        needs = _columns(text)
        if needs >= width:
            # What follows is cut too, and it must be told even where this part just fits.
            return Line(*parts, (_cut(f"{text} ", width), role))
        parts.append((text, role))
        width -= needs
    return Line(*parts)


def _cut(text: str, width: int) -> str:
    if _columns(text) <= width:
        return text
    from rich.cells import set_cell_size

    return f"{set_cell_size(text, width - 1)}…"


def _columns(text: str) -> int:
    """What a terminal needs for it: two columns for a Chinese character, none for an accent that stands alone."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)
