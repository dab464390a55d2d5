"""Programs: running another program so that neither it nor whoever started us can tell that we are in between.

It gets our descriptors, our terminal and our process group as they are, so Ctrl-C and Ctrl-Z reach it without us. What
is sent to us alone is passed on to it, when it stops we stop, and how it ends is for the caller to repeat.

Choices that look odd
    `os.fork` and not `posix_spawn`: a spawn can put signals back to their defaults, but not leave one ignored that we
    need ourselves. Who starts us may ignore SIGCHLD; then the kernel would let us miss how the program ended, and the
    program is to find it ignored all the same.

    No handler is set. The signals are blocked from before there is a program, and taken one by one where we wait: none
    can come between looking and waiting, and no system call of ours is interrupted. The program gets the mask that we
    were given.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from typing import TYPE_CHECKING, Final, NamedTuple, NoReturn

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Ending", "Job", "die_of", "signal_name"]

# Sent by the kernel to the process that did something, which is us and never the program.
_OUR_OWN: Final = frozenset(
    {
        signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGTRAP, signal.SIGSYS,
        signal.SIGPIPE, signal.SIGXFSZ,
    }
)  # fmt: skip
_UNSTOPPABLE: Final = frozenset({signal.SIGKILL, signal.SIGSTOP})

# Python ignores them, whatever it was given, and cannot say any more what that was.
_IGNORED_BY_PYTHON: Final = (signal.SIGPIPE, signal.SIGXFSZ)

# What a terminal sends, it sends to the whole process group, so the program has it already. But when it hangs up, and
# we lead its session, then only we are told.
_TYPED: Final = frozenset(
    {signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU, signal.SIGWINCH}
)
_HANGING_UP: Final = frozenset({signal.SIGHUP, signal.SIGCONT})

_NO_CORE: Final = 1 if sys.platform == "linux" else 0
"""The largest core dump of ours. Linux asks a collector of dumps (a pipe) at 0 too, but at 1 neither it nor a disk."""


class Ending(NamedTuple):
    """How a program ended.

    Attributes:
        status: Its exit status, 0 to 255; None when it died of a signal.
        signal: The number of the signal it died of, if any.
        asked: Whether that signal was typed at the terminal, or was sent to us and passed on.
    """

    status: int | None
    signal: int | None
    asked: bool


class Job:
    """One program, from before its start to its end.

    From here on signals wait until there is a program to pass them on to. Make only one, in the main thread of a
    process that does nothing else: the signals stay blocked.
    """

    def __init__(self) -> None:
        self._inherited: Final = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        self._passed_on: Final = frozenset(
            number
            for number in signal.valid_signals() - _OUR_OWN - _UNSTOPPABLE - {signal.SIGCHLD}
            if signal.getsignal(number) is not signal.SIG_IGN  # else it goes on being ignored, by both
        )
        self._awaited: Final = self._passed_on | {signal.SIGCHLD}
        leads = os.getsid(0) == os.getpid()
        self._from_terminal: Final = _TYPED if leads else _TYPED | _HANGING_UP
        self._seen: set[int] = set()
        self._pid = 0
        signal.pthread_sigmask(signal.SIG_BLOCK, self._awaited)
        self._ignores_children: Final = signal.signal(signal.SIGCHLD, signal.SIG_DFL) is signal.SIG_IGN

    def run(self, command: Sequence[str], env: Mapping[str, str]) -> Ending:
        """Run a program to its end.

        Args:
            command: The program, looked for in the PATH of `env` when there is no slash in it, and its arguments.
            env: Its whole environment.

        Raises:
            OSError: it cannot be started; says why.
        """
        early = self._passed_on & signal.sigpending()
        self._start(command, env)
        for number in early:  # also what was typed: there was no program yet to get it from the terminal
            if _take(number):
                self._pass_on(number)
        return self._wait()

    def _start(self, command: Sequence[str], env: Mapping[str, str]) -> None:
        """Fork, and come back when the program is there or has failed to be."""
        reader, writer = os.pipe()  # closed by a successful exec, as is everything else that we have opened
        self._pid = os.fork()
        if self._pid == 0:
            self._become(command, env, writer)
        os.close(writer)
        with os.fdopen(reader, "rb") as failure:
            number = failure.read()
        if number:
            os.waitpid(self._pid, 0)
            raise OSError(int(number), os.strerror(int(number)))

    def _become(self, command: Sequence[str], env: Mapping[str, str], failure: int) -> NoReturn:
        """In the fork: put signals back to what we were given, and be the program."""
        number = errno.EIO
        try:
            for ignored in _IGNORED_BY_PYTHON:
                signal.signal(ignored, signal.SIG_DFL)
            if signal.SIGINT in self._passed_on:  # Python's handler must not run here, once it is not blocked any more
                signal.signal(signal.SIGINT, signal.SIG_DFL)
            if self._ignores_children:
                signal.signal(signal.SIGCHLD, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_SETMASK, self._inherited)
            number = _execute(command, env)
        finally:
            os.write(failure, str(number).encode())
            os._exit(127)

    def _wait(self) -> Ending:
        while True:
            number, sender = _next_signal(self._awaited)
            if number == signal.SIGCHLD:
                ending = self._look()
                if ending is not None:
                    return ending
            elif sender is None and number in self._from_terminal:
                self._seen.add(number)
            elif sender != self._pid:  # what it sends itself, to its whole group or to its parent, is no order to it
                self._pass_on(number)

    def _pass_on(self, number: int) -> None:
        self._seen.add(number)
        os.kill(self._pid, number)  # it is our child and not yet waited for, so its number is its own

    def _look(self) -> Ending | None:
        """What has become of the program; None while it goes on."""
        pid, status = os.waitpid(self._pid, os.WNOHANG | os.WUNTRACED)
        while pid and os.WIFSTOPPED(status):
            _stop_too(os.WSTOPSIG(status))
            pid, status = os.waitpid(self._pid, os.WNOHANG | os.WUNTRACED | os.WCONTINUED)
            if pid == 0:  # only we were told to go on
                os.kill(self._pid, signal.SIGCONT)
        if pid == 0 or os.WIFCONTINUED(status):
            return None
        if os.WIFEXITED(status):
            return Ending(os.WEXITSTATUS(status), None, asked=False)
        number = os.WTERMSIG(status)
        # One that was typed may have ended it before we took ours.
        return Ending(None, number, asked=number in self._seen or _take(number))


def _next_signal(awaited: frozenset[int]) -> tuple[int, int | None]:
    """The next signal, and the pid of who sent it; None for the kernel."""
    if sys.platform == "darwin":  # which does not tell, so that what can be typed counts as typed
        return signal.sigwait(awaited), None
    info = signal.sigwaitinfo(awaited)
    return info.si_signo, None if info.si_code > 0 else info.si_pid


def _take(number: int) -> bool:
    """Take a signal that is waiting; whether there was one."""
    if sys.platform == "darwin":
        return number in signal.sigpending() and bool(signal.sigwait({number}))
    return signal.sigtimedwait({number}, 0) is not None


def _stop_too(number: int) -> None:
    """Stop as the program was stopped by a signal, so that whoever waits for us sees it; return when we go on."""
    if _take(signal.SIGCONT):  # it is over already
        return
    if number not in (signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU) or signal.getsignal(number) is signal.SIG_IGN:
        number = signal.SIGSTOP
    os.kill(os.getpid(), number)  # is one with our own share of Ctrl-Z, if that is waiting still
    before = signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})  # here we stop
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    _take(signal.SIGCONT)


def _execute(command: Sequence[str], env: Mapping[str, str]) -> int:
    """Become a program, as `execvp` does it; the number of the error that it failed with.

    `os.execvpe` does not run a script without ``#!``, which shells and `env` do.
    """
    name = command[0]
    places = [""] if "/" in name else env.get("PATH", os.defpath).split(":")
    failure = errno.ENOENT
    for place in places if name else ():
        path = os.path.join(place, name)  # noqa: PTH118 - pathlib costs 5 ms to import
        number = _execute_file(path, command, env)
        if number not in (errno.ENOENT, errno.ENOTDIR, errno.EACCES) or len(places) == 1:
            return number
        if number == errno.EACCES:  # another place may have one that may be run
            failure = number
    return failure


def _execute_file(path: str, command: Sequence[str], env: Mapping[str, str]) -> int:
    try:
        os.execve(path, [*command], env)  # noqa: S606 - to run what it is given is what this is for
    except OSError as error:
        if error.errno != errno.ENOEXEC:
            return error.errno or errno.EIO
    try:
        os.execve("/bin/sh", ["/bin/sh", path, *command[1:]], env)  # noqa: S606
    except OSError as error:
        return error.errno or errno.EIO


def die_of(number: int) -> None:
    """Die of a signal, without a core dump. Returns only where that cannot be."""
    import resource

    _, most = resource.getrlimit(resource.RLIMIT_CORE)
    core = _NO_CORE if most == resource.RLIM_INFINITY else min(_NO_CORE, most)
    resource.setrlimit(resource.RLIMIT_CORE, (core, most))
    if number not in _UNSTOPPABLE:
        signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
    os.kill(os.getpid(), number)


def signal_name(number: int) -> str:
    """Such as ``SIGTERM``; a number where there is no name."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
