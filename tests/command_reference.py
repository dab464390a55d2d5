"""The reference of the command, made of the command itself: `make command-reference`."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from textwrap import fill
from typing import Final

from agent_run_id.cli.app import COMMANDS, application

__all__ = ["PAGE", "made"]

PAGE: Final = Path(__file__).parent.parent / "docs" / "command.md"
_TOP: Final = """# Command

What each command of `runid` does and takes, made from the command itself; `runid COMMAND --help` says the same. How
they are used together, from a line in a log to the cause, is told in [Your first incident](incident.md), what they look
like in [In a terminal](terminal.md).

`runid` comes with the extra `cli`: `pip install "agent-run-id[cli]"`. `exec` needs no extra.
"""


def made() -> str:
    """The text of the page."""
    return "\n".join([_TOP, *map(_section, COMMANDS), _exec(), "## In common\n", f"{_epilogue()}\n"])


def _section(name: str) -> str:
    text = application(name)[name].generate_docs(output_format="markdown", heading_level=2)
    text = text.replace(f"## {name}\n", f"## runid {name}\n", 1).replace(f"\n{name} ", f"\nrunid {name} ", 1)
    text = text.replace(f"\n{name}\n", f"\nrunid {name}\n", 1).replace("```console\n", "```usage\n")
    return f"{text.strip()}\n"


def _exec() -> str:
    command = [sys.executable, "-m", "agent_run_id.cli", "exec", "--help"]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    usage, _, rest = told.partition("\n")
    lines = re.sub(r"^  (--\w+(?: [A-Z]+)?) +(.*)$", r"* `\1`: \2", rest.strip(), flags=re.MULTILINE)
    lines = lines.replace("Options:\n", "**Parameters**:\n\n")
    return f"## runid exec\n\n```usage\n{usage.removeprefix('Usage: ')}\n```\n\n{lines}\n"


def _epilogue() -> str:
    text: str = application().help_epilogue or ""
    return fill(re.sub(r"(?<= )(NO_COLOR|FORCE_COLOR|--utc)", r"`\1`", text), 120)


if __name__ == "__main__":
    PAGE.write_text(made(), encoding="utf-8")
    print(PAGE)  # noqa: T201 - for whoever called it
