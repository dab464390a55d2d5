"""Hosts: what tells one process from every other, on this machine and on any.

A pid alone names nobody: it is reused, it is 1 in every container, and another machine has it too. Together with the
host, the boot, the pid namespace and the time the process began, it names one process for ever.
"""

from __future__ import annotations

import os
import sys
from functools import cache
from typing import Any

from agent_run_id.processes import joined

__all__ = ["boot_id", "describe_process", "host_name", "pid_namespace", "process_start"]


def describe_process() -> dict[str, Any]:
    """What a journal says of the process that owns it: never its arguments, which hold keys."""
    pid, run_id = os.getpid(), joined()
    return {
        # Which run it is under, and whose child it is: whether it was started in that run, or inherited the
        # environment of a process that was, is told by whether its parent has joined the same run.
        "joined": None if run_id is None else run_id.token,
        "parent_pid": os.getppid(),
        "pid": pid,
        "pid_started": process_start(pid),
        "pid_namespace": pid_namespace(),
        "host": host_name(),
        "boot": boot_id(),
        "program": _program(),
        "python": ".".join(map(str, sys.version_info[:3])),
        "platform": sys.platform,
    }


def _program() -> str:
    arguments = getattr(sys, "argv", None)  # a program may have taken it away
    path = str(arguments[0]) if arguments else ""
    return os.path.basename(path)[:255] or "python"  # noqa: PTH119


def host_name() -> str:
    """The name of this machine."""
    return os.uname().nodename


@cache
def boot_id() -> str | None:
    """What differs after every boot of this machine; None where the system does not say."""
    if sys.platform == "darwin":
        return _sysctl(b"kern.bootsessionuuid")
    return _read("/proc/sys/kernel/random/boot_id")


def pid_namespace() -> str | None:
    """The pid namespace of this process; None where there are none."""
    try:
        return os.readlink("/proc/self/ns/pid")  # noqa: PTH115
    except OSError:
        return None


def process_start(pid: int) -> str | None:
    """When the process with this pid began, in a unit of the system's own; None when it is not there or not told."""
    stat = _read(f"/proc/{pid}/stat")
    if stat is None:
        return None
    # The second field is the program's name in parentheses and may hold anything, parentheses and spaces too.
    fields = stat[stat.rindex(")") + 2 :].split()
    return fields[19]


def _read(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:  # noqa: PTH123
            return file.read().strip()
    except OSError:
        return None


def _sysctl(name: bytes) -> str | None:
    import ctypes

    libc = ctypes.CDLL(None)
    buffer = ctypes.create_string_buffer(64)
    size = ctypes.c_size_t(len(buffer))
    if libc.sysctlbyname(name, buffer, ctypes.byref(size), None, 0) != 0:
        return None
    return buffer.value.decode("ascii", "replace")
