"""Programs in processes of their own, which say and are told things line by line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Self

IS_ROOT = os.geteuid() == 0
NOBODY = 54321
"""A user id that no machine has."""

OURS = ("AGENT_RUN_ID", "AGENT_RUN_DIR", "TRACEPARENT", "TRACESTATE")
# Python 3.12 and later warn when a process with threads forks, which some programs do on purpose.
FORKS_WITH_THREADS = ("-W", "ignore:This process:DeprecationWarning")
# Whatever hangs is ended by the kernel; what is read from it then ends, and the test fails instead of waiting.
_ALARM = "import signal as _signal; _signal.alarm(300)\n"


class Program:
    """A running Python program: a text, or the path of a file. Leaving the block kills what still runs."""

    def __init__(
        self,
        program: str | Path,
        *args: str,
        directory: Path | str | None = None,
        options: Sequence[str] = (),
        env: Mapping[str, str | None] | None = None,
    ) -> None:
        environ = {name: value for name, value in os.environ.items() if name not in OURS}
        environ["AGENT_RUN_DIR"] = "off" if directory is None else str(directory)
        for name, value in (env or {}).items():
            environ.pop(name, None)
            if value is not None:
                environ[name] = value
        what = [str(program)] if isinstance(program, Path) else ["-c", _ALARM + program]
        self._complaints = tempfile.TemporaryFile()  # noqa: SIM115 - closed on leaving
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", *options, *what, *args],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._complaints,
            env=environ,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.process.kill()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()
        self.process.wait()
        self._complaints.close()

    @property
    def pid(self) -> int:
        return self.process.pid

    def hear(self) -> str:
        """The next line it prints."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"it ended with {self.process.wait()}: {self.complaints()}"
        return line.rstrip("\n")

    def tell(self, line: str = "go on") -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def complaints(self) -> str:
        """What it wrote to its standard error."""
        self._complaints.seek(0)
        return self._complaints.read().decode(errors="replace")

    def kill(self) -> None:
        """Kill it as `kill -9` does, and wait until it is gone."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def finish(self) -> str:
        """What else it prints until it ends, as it should, without an error."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        said = self.process.stdout.read()
        code = self.process.wait()
        assert code == 0, f"it ended with {code}: {self.complaints()}"
        return said


def run_program(
    program: str | Path,
    *args: str,
    directory: Path | str | None = None,
    options: Sequence[str] = (),
    env: Mapping[str, str | None] | None = None,
) -> str:
    """Run a program to its end and return what it printed."""
    with Program(program, *args, directory=directory, options=options, env=env) as running:
        return running.finish()
