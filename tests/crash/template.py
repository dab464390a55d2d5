"""The template: a small process with one thread that has imported what is needed, and is forked on request.

A fork costs a millisecond or two where an interpreter costs fifty, and nothing but the fork is in a writer's memory.
On Linux it also takes in the children of those that died, so that none is left that nobody waits for.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tests.journal_programs.programs import OURS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Self

    from tests.crash.plans import Order

    Be = Callable[[dict[str, Any], list[int]], None]

_HERE: Final = Path(__file__).parents[2]
_PR_SET_CHILD_SUBREAPER: Final = 36


class Template:
    """The harness's end of a template.

    Args:
        role: What its forks are: ``writer`` or ``reader``.
    """

    def __init__(self, role: str) -> None:
        self._channel, other = socket.socketpair()
        environ = {name: value for name, value in os.environ.items() if name not in OURS}
        environ["AGENT_RUN_DIR"] = "off"
        self._complaints = tempfile.TemporaryFile()  # noqa: SIM115 - closed on leaving
        self._process = subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "tests.crash.template", role, str(other.fileno())],
            cwd=_HERE,
            env=environ,
            pass_fds=[other.fileno()],
            stdin=subprocess.DEVNULL,
            stderr=self._complaints,
            start_new_session=True,  # an interrupt from the keyboard is the harness's alone
        )
        other.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._channel.close()
        self._process.wait()
        self._complaints.close()

    def fork(self, what: Order | dict[str, Any], *pipes: int) -> int:
        """Fork it to be what is told; the pid."""
        return self._ask("fork", what if isinstance(what, dict) else asdict(what), *pipes)

    def start(self, what: Order, pipe: int) -> int:
        """Start an interpreter of its own for a writer; the pid."""
        return self._ask("start", asdict(what), pipe)

    def has_ended(self, pid: int) -> bool:
        """Whether a writer it started has ended, all its threads too; only then is its pid let go."""
        return bool(self._ask("ended", {"pid": pid}))

    def tidy(self) -> None:
        """Let go of all children that are dead, those taken in too."""
        self._ask("tidy", {})

    def end(self, pids: Iterable[int]) -> None:
        """Kill those of its children that still live, and wait for them."""
        for pid in pids:
            self._ask("end", {"pid": pid})

    def complaints(self) -> str:
        """The end of what it and its children wrote to standard error."""
        self._complaints.seek(0)
        return self._complaints.read().decode(errors="replace")[-3000:]

    def _ask(self, what: str, told: dict[str, Any], *pipes: int) -> int:
        data = json.dumps([what, told]).encode()
        try:
            socket.send_fds(self._channel, [data], pipes)
            answer = self._channel.recv(100)
        except OSError:
            answer = b""
        if not answer:
            raise RuntimeError(f"the template is gone: {self.complaints()}")
        return int(answer)


def serve(channel: socket.socket, be: Be) -> Callable[[], None] | None:
    """Answer requests until the harness is gone; in a forked child return what it has to do."""
    children: set[int] = set()
    while True:
        data, pipes, _, _ = socket.recv_fds(channel, 65_536, 4)
        if not data:
            for pid in children:
                os.kill(pid, signal.SIGKILL)
            return None
        what, told = json.loads(data)
        if what == "fork":
            answer = os.fork()
            if answer == 0:
                channel.close()
                return lambda: be(told, pipes)
            children.add(answer)
        elif what == "start":
            answer = _start(told, pipes[0])
            children.add(answer)
        else:
            answer = _wait(what, told.get("pid", -1), children)
        for pipe in pipes:
            os.close(pipe)
        channel.send(str(int(answer)).encode())


def _start(told: dict[str, Any], pipe: int) -> int:
    from tests.crash.writers import COLD_PIPE

    arguments = [sys.executable, "-W", "error", "-m", "tests.crash.writers", json.dumps(told)]
    return os.posix_spawn(sys.executable, arguments, os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, pipe, COLD_PIPE)])


def _wait(what: str, pid: int, children: set[int]) -> bool:
    """Wait for children; whether none is left, or that one is not."""
    if what == "end" and pid in children:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        children.discard(pid)
    with contextlib.suppress(ChildProcessError):
        while (what == "tidy" or pid in children) and (dead := os.waitpid(pid, os.WNOHANG)[0]):
            children.discard(dead)
    return pid not in children


def _be_writer(told: dict[str, Any], pipes: list[int]) -> None:
    from tests.crash.plans import Order
    from tests.crash.writers import be_writer

    be_writer(Order(**told), pipes[0])


def _be_reader(told: dict[str, Any], pipes: list[int]) -> None:
    from tests.crash.readers import be_reader

    be_reader(told["directory"], told["seed"], *pipes)


def main(role: str, channel: int) -> None:
    """Import what the forks need, and serve."""
    if role == "writer":
        import tests.crash.writers

        be: Be = _be_writer
    else:
        import tests.crash.readers  # noqa: F401

        be = _be_reader
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    gc.collect()
    gc.freeze()  # or the first collection of every fork copies all pages
    job = serve(socket.socket(fileno=channel), be)
    if job is not None:
        job()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
