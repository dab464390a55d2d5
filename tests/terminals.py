"""Programs that signals are sent to: alone, or on a terminal of their own where they are typed."""

from __future__ import annotations

import contextlib
import os
import pty
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

from tests.commands import environment

if TYPE_CHECKING:
    from collections.abc import Generator
    from typing import Self

__all__ = ["SHELL", "Started", "Terminal", "afresh", "stopped"]

# Whoever runs the tests may ignore signals or block them, as what runs in the background does, and a child inherits
# that. Whatever hangs is ended by the kernel.
_AFRESH = """
import os, signal, sys
ignored = [int(number) for number in sys.argv[1].split()]
for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
    signal.signal(number, signal.SIG_IGN if number in ignored else signal.SIG_DFL)
signal.pthread_sigmask(signal.SIG_SETMASK, [int(number) for number in sys.argv[2].split()])
signal.alarm(300)
if os.isatty(0) and os.getsid(0) == os.getpid():
    import fcntl, termios
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execvp(sys.argv[3], sys.argv[3:])
"""

SHELL = """
import os, signal, sys

def foreground(pid):
    os.tcsetpgrp(0, pid)

signal.signal(signal.SIGTTOU, signal.SIG_IGN)
pid = os.fork()
if pid == 0:
    os.setpgid(0, 0)
    foreground(os.getpid())
    for number in (signal.SIGTTOU, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    os.execvp(sys.argv[1], sys.argv[1:])
_, status = os.waitpid(pid, os.WUNTRACED)
while os.WIFSTOPPED(status):
    foreground(os.getpgrp())
    input(f"shell: stopped by {signal.Signals(os.WSTOPSIG(status)).name} ")
    foreground(pid)
    os.killpg(pid, signal.SIGCONT)
    _, status = os.waitpid(pid, os.WUNTRACED)
foreground(os.getpgrp())
print(f"shell: ended with {os.waitstatus_to_exitcode(status)}")
"""
"""A shell with job control that runs its arguments in the foreground; when they stop, a line goes on with them."""


def afresh(*command: str, ignoring: tuple[int, ...] = (), blocking: tuple[int, ...] = ()) -> list[str]:
    """The command line of a program that finds every signal as it is by default, but for these."""
    ignored, blocked = (" ".join(str(int(number)) for number in numbers) for numbers in (ignoring, blocking))
    return [sys.executable, "-c", _AFRESH, ignored, blocked, *command]


@contextlib.contextmanager
def stopped(pid: int) -> Generator[None]:
    """Keep a child from doing anything for a while, so that it takes what is sent to it later than others do."""
    os.kill(pid, signal.SIGSTOP)
    os.waitpid(pid, os.WUNTRACED)
    yield
    os.kill(pid, signal.SIGCONT)


class Started:
    """A program with pipes, in a process group of its own. Leaving the block kills what still runs of it."""

    def __init__(self, *command: str, ignoring: tuple[int, ...] = (), **more: str) -> None:
        self.process = subprocess.Popen(
            afresh(*command, ignoring=ignoring),
            env=environment(**more),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            process_group=0,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()
        self.process.wait()

    @property
    def pid(self) -> int:
        return self.process.pid

    def hear(self) -> str:
        """The next line it prints; empty at the end."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().rstrip("\n")

    def tell(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def ending(self) -> int:
        """What it ends with: its exit status, or minus the number of a signal."""
        return self.process.wait(timeout=300)


class Terminal:
    """A program on a terminal that it controls: what is typed reaches whatever is in the foreground there."""

    def __init__(self, *command: str) -> None:
        self._ours, its = pty.openpty()
        self.process = subprocess.Popen(
            afresh(*command), env=environment(), stdin=its, stdout=its, stderr=its, start_new_session=True
        )
        os.close(its)
        self._heard = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.process.kill()  # and the kernel hangs up on the others
        self.process.wait()
        self.hang_up()

    def hang_up(self) -> None:
        """Close the other end."""
        if self._ours >= 0:
            os.close(self._ours)
        self._ours = -1

    def hear(self, expected: str) -> str:
        """Read until something is printed; what was printed up to there."""
        while expected not in self._heard:
            try:
                chunk = os.read(self._ours, 4096)
            except OSError:  # how Linux says that nobody has the other end any more
                chunk = b""
            assert chunk, f"{expected!r} was not printed, but {self._heard!r}"
            self._heard += chunk.decode()
        before, _, self._heard = self._heard.partition(expected)
        return before

    def tell(self, keys: str) -> None:
        """Type."""
        os.write(self._ours, keys.encode())

    def ending(self) -> int:
        """What it ends with: its exit status, or minus the number of a signal."""
        return self.process.wait(timeout=300)
