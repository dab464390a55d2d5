"""Ask `runid`: in a pipe, on a terminal, and without a process of its own."""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import pty
import struct
import subprocess
import sys
import termios
import unicodedata

from agent_run_id import child_env
from agent_run_id.cli.app import run
from tests.journal_programs.programs import NOBODY

__all__ = [
    "EXEC",
    "Screen",
    "answer",
    "as_nobody",
    "ended",
    "environment",
    "is_harmless",
    "runid",
    "runid_on_terminal",
    "without",
]

EXEC = (sys.executable, "-m", "agent_run_id.cli", "exec")
"""The beginning of a command line that runs a program as a run."""


def environment(**more: str) -> dict[str, str]:
    """That of a child that records where this test does, with no wish about colour or buffers."""
    unwanted = ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "TERM", "PYTHONUNBUFFERED")
    return {name: value for name, value in child_env().items() if name not in unwanted} | more


def runid(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """The real command, in a pipe."""
    return subprocess.run(
        [sys.executable, "-m", "agent_run_id.cli", *arguments],
        env=environment(**more),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=300,
        check=False,
    )


def as_nobody(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """The command, by a user who owns nothing; all that it needs is loaded while that may be read."""
    program = (
        "import importlib, os, sys\n"
        "import agent_run_id.cli.app, rich.console, rich.cells, rich.text, rich.markdown, cyclopts\n"
        "for room, _ in agent_run_id.cli.app.COMMANDS.values(): importlib.import_module(f'agent_run_id.cli.{room}')\n"
        f"if os.geteuid() == 0: os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})\n"
        "sys.exit(agent_run_id.cli.app.run(sys.argv[1:]))"
    )
    # Nobody could not save what was covered, and would say so.
    traced = [name for name in os.environ if name.startswith("COVERAGE_")]
    env = {name: value for name, value in environment(**more).items() if name not in traced}
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env=env,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def runid_on_terminal(columns: int, *arguments: str, **more: str) -> str:
    """The real command, on a terminal; what it wrote, with the line ends of a file."""
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-m", "agent_run_id.cli", *arguments],
        env=environment(**{"TERM": "xterm-256color", **more}),
        stdin=subprocess.DEVNULL,
        stdout=its,
        stderr=its,
    )
    os.close(its)
    chunks = []
    with contextlib.suppress(OSError):  # how Linux says that nobody has the other end any more
        while chunk := os.read(ours, 65_536):
            chunks.append(chunk)
    os.close(ours)
    process.wait(timeout=300)
    return b"".join(chunks).decode().replace("\r\n", "\n")


class Screen(io.StringIO):
    """A file that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def answer(*arguments: str, file: io.StringIO | None = None, status: int = 0, **more: str) -> str:
    """What the command writes, without a process of its own."""
    file = io.StringIO() if file is None else file
    assert ended(*arguments, file=file, **more) == status
    return file.getvalue()


def ended(*arguments: str, file: io.StringIO, **more: str) -> int:
    """The exit status of the command, which writes into the file and has no process of its own."""
    before, during = dict(os.environ), environment(**more)
    try:
        os.environ.clear()
        os.environ.update(during)
        with contextlib.redirect_stdout(file):
            return run(arguments)
    finally:
        os.environ.clear()
        os.environ.update(before)


def without(missing: tuple[str, ...]) -> str:
    """A program that is the command where these packages are not installed."""
    return f"""
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {missing!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Missing())
from agent_run_id.cli import main
sys.exit(main())
"""


def is_harmless(text: str) -> bool:
    return all(char == "\n" or unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Zl", "Zp") for char in text)
