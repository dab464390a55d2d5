"""Liveness: whether the process that owns a journal still lives."""

from __future__ import annotations

import fcntl
import json
import os
from typing import TYPE_CHECKING, Any, Final, Literal, cast

from agent_run_id.events import PROCESS_STARTED
from agent_run_id.hosts import boot_id, host_name, pid_namespace, process_start

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["State", "first_line", "is_header", "liveness_of", "owner_of"]

State = Literal["alive", "dead", "unknown"]

_LAST_SEGMENT: Final = 2**31
_FIRST_LINE: Final = 1024 * 1024


def is_header(fields: Mapping[str, Any]) -> bool:
    """Whether a line says which process wrote what follows, and which of its files this is."""
    process, segment = fields.get("process"), fields.get("segment")
    is_place = isinstance(process, str) and isinstance(segment, int) and 0 < segment < _LAST_SEGMENT
    return is_place and fields.get("type") == PROCESS_STARTED


def first_line(path: str) -> dict[str, Any] | None:
    """What the first line of a file says; None where it is no JSON object, or there is none."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - pathlib costs 5 ms to import
            return _object(file.readline(_FIRST_LINE))
    except OSError:
        return None


def _object(line: bytes) -> dict[str, Any] | None:
    try:
        fields: Any = json.loads(line.decode())
    except (ValueError, RecursionError):
        return None
    return cast("dict[str, Any]", fields) if isinstance(fields, dict) else None


def owner_of(path: str) -> State:
    """Whether the process lives whose journal is at `path`; ``unknown`` where that is not to be told from here.

    Raises:
        OSError: it cannot be looked at now, or is not there.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # somebody may have put a pipe there
    try:
        inode, head = os.fstat(fd).st_ino, os.read(fd, _FIRST_LINE)
    finally:
        os.close(fd)
    fields = _object(head.partition(b"\n")[0])
    if fields is None or not is_header(fields):
        return "unknown"
    state = liveness_of(path, fields)
    ours = (fields.get("host"), fields.get("boot"), fields.get("inode")) == (host_name(), boot_id(), inode)
    if state == "unknown" and ours:
        raise OSError(f"{path} cannot be looked at")
    return state


def liveness_of(path: str, fields: Mapping[str, Any]) -> State:
    """Whether the process that owns the first journal at `path` lives.

    Its lock is its heartbeat: the kernel drops it at death. A lock can outlive its process, held by a descriptor that
    was handed on, so a pid that is gone is a second sign. A journal that was copied here, or written on another host
    or before the last boot of a host we cannot see, tells nothing.

    Args:
        path: The journal.
        fields: What its first line says.
    """
    if fields.get("host") != host_name() or fields.get("boot") != boot_id():
        return "unknown"
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return "unknown"
    try:
        if os.fstat(fd).st_ino != fields.get("inode"):
            return "unknown"  # a copy: nobody holds its lock, whoever lives
        if not fields.get("locked"):
            return "dead" if _pid_is_gone(fields) else "alive"
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared: two readers must not take each other for the owner
    except BlockingIOError:
        return "dead" if _pid_is_gone(fields) else "alive"
    except OSError:
        return "unknown"
    finally:
        os.close(fd)
    return "dead"


def _pid_is_gone(fields: Mapping[str, Any]) -> bool:
    pid, started = fields.get("pid"), fields.get("pid_started")
    if not isinstance(pid, int) or fields.get("pid_namespace") != pid_namespace():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return started is not None and process_start(pid) not in (None, started)
