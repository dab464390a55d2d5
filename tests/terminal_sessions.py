"""What `runid` looks like on a terminal, recorded on one: `make terminal-sessions` writes the page and its pictures."""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.terminal_theme import DEFAULT_TERMINAL_THEME, MONOKAI
from rich.text import Text

import agent_run_id as ari
from agent_run_id.testing import fixed_runs
from tests.commands import runid_on_terminal

__all__ = ["DOCS", "made"]

DOCS: Final = Path(__file__).parent.parent / "docs"
COMMANDS: Final = (
    ("ls",), ("find", "status:failed"), ("tree", "@last"), ("show", "@last:failed"), ("events", "@last:failed"),
    ("usage", "@last"), ("tail", "-n", "4"),
)  # fmt: skip
WIDTHS: Final = (80, 200)
_THEMES: Final = {"dark": MONOKAI, "light": DEFAULT_TERMINAL_THEME}
_START: Final = datetime(2025, 11, 28, 3, 14, tzinfo=UTC)
_PROCESS: Final = re.compile(r"[\w.-]+, pid \d+ on [\w.-]+, \w+")
_TOP: Final = """# In a terminal

What `runid` prints on a terminal of 80 and of 200 columns, recorded on one. `make terminal-sessions` makes this page. A
pipe gets the same without colour, and nothing is cut there.

![Some commands on a terminal of 80 columns, dark](pictures/terminal-dark.svg)

![The same, light](pictures/terminal-light.svg)
"""
_PICTURE: Final = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">
<style>{styles} .{unique_id}-matrix {{ font-family: Menlo, Consolas, "DejaVu Sans Mono", monospace;
 font-size: {char_height}px; line-height: {line_height}px; }}</style>
<rect width="100%" height="100%" fill="{background}" rx="8"/>
<g transform="translate(9, 9)" class="{unique_id}-matrix">
{backgrounds}
{matrix}
</g>
</svg>
"""


def record() -> None:
    """An agent that fails, one that answers, and a night in which one of thirty refunds fails."""
    with ari.start_run("answer", kind="agent", user_id="u-17", input="Where is my order?") as run:
        run.decide("look it up or ask?", options=["look it up", "ask"], chosen="ask", why="there are two open orders")
        run.end(error="the user has gone")
    with ari.start_run("answer", kind="agent", user_id="u-42", input="When do you open?") as run:
        run.step("looked up", source="hours.md")
        with ari.start_run("complete", kind="llm") as call:
            call.usage(model="small-1", input_tokens=120, output_tokens=18, cost=0.0002)
        run.end(output="At nine.")
    with ari.start_run("nightly refunds", kind="batch", user_id="ops"):
        for number in range(1, 31):
            with suppress(ConnectionError), ari.start_run("refund", kind="agent", key=f"order-{number}"):
                with ari.start_run("ask", kind="llm") as call:
                    call.usage(model="large-1", input_tokens=812, output_tokens=64, cost=0.0031)
                with ari.start_run("pay", kind="tool", input={"order": f"order-{number}", "amount": 20}):
                    if number == 17:
                        raise ConnectionError("payments.example refused the connection")


def made() -> dict[Path, str]:
    """The page and its pictures, each with the file it belongs in."""
    with fixed_runs(start=_START, step=timedelta(milliseconds=37)) as registry:
        record()
        told = [_TOP, *(_session(columns, registry.directory) for columns in WIDTHS)]
        painted = _painted(registry.directory)
    pictures = {DOCS / "pictures" / f"terminal-{name}.svg": _picture(painted, name) for name in _THEMES}
    return {DOCS / "terminal.md": "\n".join(told), **pictures}


def _session(columns: int, directory: str) -> str:
    parts = [f"## {columns} columns\n"]
    for command in COMMANDS:
        text = _seen(columns, *command, directory=directory, NO_COLOR="1")
        parts.append(f"```screen\n$ runid {' '.join(command)}\n{text}\n```\n")
    return "\n".join(parts)


def _seen(columns: int, *command: str, directory: str, **more: str) -> str:
    seen = runid_on_terminal(columns, *command, "--dir", directory, "--utc", **more)
    lines = _PROCESS.sub("refunds.py, pid 4711 on atlas, dead", seen).splitlines()
    return "\n".join(line.rstrip() for line in lines)


def _painted(directory: str) -> Text:
    parts: list[Text] = []
    for command in (("ls",), ("tree", "@last"), ("show", "@last:failed"), ("usage", "@last")):
        parts += [
            Text(f"$ runid {' '.join(command)}", "bold"),
            Text.from_ansi(_seen(80, *command, directory=directory)),
        ]
        parts.append(Text())
    return Text("\n").join(parts[:-1])


def _picture(painted: Text, name: str) -> str:
    theme = _THEMES[name]
    console = Console(record=True, width=80, force_terminal=True, color_system="standard", file=StringIO())
    console.print(painted)
    code = _PICTURE.replace("{background}", theme.background_color.hex)
    return console.export_svg(title="", theme=theme, unique_id="terminal", code_format=code)


if __name__ == "__main__":
    for path, text in made().items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        print(path)  # noqa: T201 - for whoever called it
