"""Output: lines on standard output, as whoever reads them needs them.

In a pipe they are plain and whole, and rich is not even loaded. On a terminal they are painted and fitted. What is
recorded is never markup to rich: it gets `Text` made of cleaned parts, and no string to interpret.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from typing import TYPE_CHECKING, Final, cast

from agent_run_id.rendering import Line, clean

if TYPE_CHECKING:
    from typing import TextIO

    from rich.console import Console

    from agent_run_id.rendering import Role

__all__ = ["STYLES", "Output", "abandon", "complain"]

STYLES: Final[dict[Role, str]] = {
    "plain": "",
    "name": "bold",
    "id": "cyan",
    "heading": "bold blue",
    "quiet": "dim",
    "running": "bright_blue",
    "paused": "blue",
    "queued": "blue",
    "succeeded": "green",
    "failed": "bold red",
    "cancelled": "yellow",
    "lost": "bold magenta",
}

_NARROWEST: Final = 20


class Output:
    """Where a command writes its answer: standard output.

    ``NO_COLOR`` takes the colour from a terminal, ``FORCE_COLOR`` gives it to a pipe; neither changes what is cut.

    Args:
        encoding: That of what is written, where it is not for this terminal; None is that of the locale.

    Attributes:
        width: The columns of the terminal; None where nothing may be cut, as in a pipe.
    """

    width: int | None

    def __init__(self, *, encoding: str | None = None) -> None:
        self._file: TextIO = _standard_output(encoding)
        terminal = self._file.isatty()
        self.width = _terminal_width() if terminal else None
        self._colour = _wants_colour(terminal=terminal)
        self._console: Console | None = None

    def line(self, line: Line | str = "", *, head: str = "", rest: str | None = None) -> None:
        """Write one line.

        Args:
            line: What it says; a text is cleaned.
            head: Stands before it.
            rest: Stands before each further line, where a terminal is too narrow for one; by default the terminal
                breaks it by itself.
        """
        line = Line(line) if isinstance(line, str) else line
        if self._colour or (self.width is not None and rest is not None):
            self._paint(line, head, rest)
        else:
            self.write(f"{head}{line}\n")

    def write(self, text: str) -> None:
        """Write a text as it is."""
        self._file.write(text)

    def flush(self) -> None:
        """Let whoever reads see what was written so far."""
        self._file.flush()

    def _paint(self, line: Line, head: str, rest: str | None) -> None:
        from rich.text import Text

        console = self._console = self._console or _console(colour=self._colour)
        text = Text.assemble(*((part, STYLES[role]) for part, role in line.parts))
        lines = [text]
        if rest is not None and self.width is not None:
            head, rest = (_cut(before, self.width - _NARROWEST) for before in (head, rest))
            room = self.width - max(len(head), len(rest))
            lines = list(text.wrap(console, max(room, _NARROWEST))) or lines
            for part in lines:
                part.rstrip()
        for number, part in enumerate(lines):
            with console.capture() as painted:  # so that it is we who write, and who meet a pipe that is broken
                console.print(Text.assemble((head if number == 0 else rest or "", "dim"), part), soft_wrap=True)
            self.write(painted.get())


def _cut(head: str, width: int) -> str:
    """The end of what stands before a line: all of the branches of a deep tree would leave no room for the line."""
    if len(head) <= width:
        return head
    return f"⋯{head[len(head) - width + 1 :]}" if width > 0 else ""


def _standard_output(encoding: str | None) -> TextIO:
    file: TextIO | None = sys.stdout
    if file is None:  # closed by whoever started us
        return io.StringIO()
    with contextlib.suppress(AttributeError):  # a locale without "✓" is no reason to say nothing
        cast("io.TextIOWrapper", file).reconfigure(encoding=encoding, errors="backslashreplace")
    return file


def _terminal_width() -> int:
    import shutil

    return shutil.get_terminal_size().columns


def _wants_colour(*, terminal: bool) -> bool:
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return terminal and os.environ.get("TERM") not in ("dumb", "unknown")


def _console(*, colour: bool) -> Console:
    from rich.console import Console

    # The sixteen colours, because they are those of the reader's own theme. The width is nobody's, because what is
    # printed has been fitted already, and rich takes the spaces off an end beyond it.
    return Console(
        width=2**31,
        force_terminal=True,
        color_system="standard" if colour else None,
        markup=False,
        emoji=False,
        highlight=False,
        legacy_windows=False,
    )


def complain(message: object) -> None:
    """Tell standard error, in one line."""
    if sys.stderr is not None:
        print(f"runid: {clean(str(message))}", file=sys.stderr)  # noqa: T201 - the command talks to its user


def abandon() -> None:
    """Let what is not written yet go to nobody, so that the interpreter does not complain about it at its exit."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        nobody = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nobody, sys.stdout.fileno())
        os.close(nobody)
