"""Settings: what `configure` and the environment say, read by every other room.

The environment is read when a setting is needed, not when this is imported: a program may still be preparing it.
"""

from __future__ import annotations

import math
import os
import sys
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, cast

from agent_run_id.errors import ConfigurationError, StoreError
from agent_run_id.ids import MAX_DEPTH, depth_limit, set_depth_limit
from agent_run_id.signing import SigningKeys

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "BYTES_VARIABLE",
    "DAYS_VARIABLE",
    "DEPTH_VARIABLE",
    "DIRECTORY_VARIABLE",
    "FSYNCS",
    "FSYNC_VARIABLE",
    "KEEP",
    "Fsync",
    "Keep",
    "Retention",
    "Snapshot",
    "adopt",
    "configure",
    "configured_directory",
    "directory",
    "for_environment",
    "fsync",
    "ignored",
    "named_by",
    "observe",
    "retention",
    "signing_keys",
    "snapshot",
]

DIRECTORY_VARIABLE: Final = "AGENT_RUN_DIR"
DEPTH_VARIABLE: Final = "AGENT_RUN_MAX_DEPTH"
DAYS_VARIABLE: Final = "AGENT_RUN_RETENTION_DAYS"
BYTES_VARIABLE: Final = "AGENT_RUN_RETENTION_BYTES"
FSYNC_VARIABLE: Final = "AGENT_RUN_FSYNC"
_OFF: Final = "off"

Fsync = Literal["never", "ends", "always"]
"""When what was recorded is sure to survive a power cut.

``"never"``: when the system writes it, after half a minute or so. ``"ends"``: when the end of a run has been recorded.
``"always"``: when anything has.
"""
FSYNCS: Final[tuple[Fsync, ...]] = ("never", "ends", "always")


_PARTS: Final = 8
"""One file holds at most so small a part of what is kept, in bytes and in days: retention removes whole files."""


class Retention(NamedTuple):
    """How long and how much is kept; None for ever, and for any size."""

    days: float | None = 30
    size: int | None = 5 * 1024**3

    @property
    def part(self) -> int:
        """The most bytes one file is to hold."""
        return sys.maxsize if self.size is None else max(1, self.size // _PARTS)

    @property
    def age_s(self) -> float:
        """How old what is kept may become, in seconds."""
        return math.inf if self.days is None else self.days * 86_400

    @property
    def part_s(self) -> float:
        """For how many seconds one file is to be written."""
        return self.age_s / _PARTS


Snapshot = dict[str, Any]
"""What `configure` said in a process, by its names."""


class Keep:
    """The type of `KEEP`, which stands for "leave this setting as it is"."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "KEEP"

    def __reduce__(self) -> str:
        return "KEEP"


KEEP: Final = Keep()

_said: Final[Snapshot] = {}
_observers: list[Callable[[], None]] = []


def configure(
    *,
    directory: str | os.PathLike[str] | Keep | None = KEEP,
    max_depth: int | Keep = KEEP,
    signing_keys: SigningKeys | Keep | None = KEEP,
    retention_days: float | Keep | None = KEEP,
    retention_bytes: int | Keep | None = KEEP,
    fsync: Fsync | Keep = KEEP,
) -> None:
    """Change the settings of this process; what is not given stays as it is.

    Args:
        directory: Where runs are recorded: a directory, made with mode 0700 when the first event is recorded;
            ``"off"`` records nothing; None goes back to ``AGENT_RUN_DIR`` and the per-user default.
        max_depth: How deep runs may be nested, 1 to 65,535; beyond it `start_run` and `RunId.generate` raise
            `RunDepthError`. By default what ``AGENT_RUN_MAX_DEPTH`` says; `child_env` passes it on.
        signing_keys: What carriers sign with and ask for; None for neither, which is the default.
        retention_days: How many days journals are kept that nobody writes any more; None for ever. By default what
            ``AGENT_RUN_RETENTION_DAYS`` says, else 30.
        retention_bytes: How many bytes of journals are kept; the oldest go first. None for any number. By default what
            ``AGENT_RUN_RETENTION_BYTES`` says, else 5 GiB.
        fsync: When to wait for the disk, for those who fear power cuts: ``"never"``, ``"ends"`` (of runs, and
            when one is paused or handed off) or ``"always"``. By default what ``AGENT_RUN_FSYNC`` says, else
            ``"never"``.

    Raises:
        ConfigurationError: (a `ValueError`) a value cannot be used; nothing has been changed.
    """
    given = {
        "directory": directory,
        "max_depth": max_depth,
        "signing_keys": signing_keys,
        "retention_days": retention_days,
        "retention_bytes": retention_bytes,
        "fsync": fsync,
    }
    said = {name: _CHECKS[name](name, value) for name, value in given.items() if not isinstance(value, Keep)}
    _said.update(said)
    if "max_depth" in said:
        set_depth_limit(said["max_depth"])
    for observer in _observers:
        observer()


def _directory(name: str, value: Any) -> str | None:
    if value is None:
        return None
    path: object = None
    if isinstance(value, str | os.PathLike):
        path = os.fspath(cast("str | os.PathLike[str]", value))
    if not isinstance(path, str) or not path or "\0" in path:
        raise ConfigurationError(f"{name} is a path, 'off' or None, not {value!r}")
    # Absolute at once: the program may change its working directory before it records anything.
    return _OFF if path == _OFF else os.path.abspath(path)  # noqa: PTH100 - pathlib costs 5 ms to import


def _depth(name: str, value: Any) -> int:
    if not isinstance(value, int) or not 1 <= value <= MAX_DEPTH:
        raise ConfigurationError(f"{name} is a whole number from 1 to {MAX_DEPTH}, not {value!r}")
    return value


def _keys(name: str, value: Any) -> SigningKeys | None:
    if not isinstance(value, SigningKeys | None):
        raise ConfigurationError(f"{name} is a SigningKeys or None, not a {type(value).__name__}")
    return value


def _amount(name: str, value: Any) -> float | None:
    if value is not None and not _is_amount(value):
        raise ConfigurationError(f"{name} is a number above 0, or None for no limit, not {value!r}")
    return cast("float | None", value)


def _policy(name: str, value: Any) -> Fsync:
    if value not in FSYNCS:
        raise ConfigurationError(f"{name} is one of {', '.join(FSYNCS)}, not {value!r}")
    policy: Fsync = value
    return policy


_CHECKS: Final[dict[str, Callable[[str, Any], Any]]] = {
    "directory": _directory,
    "max_depth": _depth,
    "signing_keys": _keys,
    "retention_days": _amount,
    "retention_bytes": _amount,
    "fsync": _policy,
}


def observe(observer: Callable[[], None]) -> None:
    """Call `observer` whenever `configure` is called."""
    _observers.append(observer)


def configured_directory() -> str | None:
    """What `configure(directory=…)` said, as an absolute path or "off"; None when nothing was said."""
    return _said.get("directory")


def signing_keys() -> SigningKeys | None:
    """What `configure(signing_keys=…)` said."""
    return _said.get("signing_keys")


def retention() -> Retention:
    """How long and how much is kept: what `configure` said, else the environment, else 30 days and 5 GiB."""
    default = Retention()
    days = _said.get("retention_days", KEEP)
    size = _said.get("retention_bytes", KEEP)
    days = _amount_in(DAYS_VARIABLE, default.days) if isinstance(days, Keep) else days
    size = _amount_in(BYTES_VARIABLE, default.size) if isinstance(size, Keep) else size
    return Retention(days, None if size is None else int(size))


def fsync() -> Fsync:
    """When to wait for the disk: what `configure` said, else the environment, else never."""
    said = _said.get("fsync") or os.environ.get(FSYNC_VARIABLE)
    for policy in FSYNCS:
        if policy == said:
            return policy
    return "never"


def _amount_in(variable: str, default: float | None) -> float | None:
    text = os.environ.get(variable, "")
    if text == _OFF:
        return None
    try:
        amount = float(text or "nothing")
    except ValueError:
        return default
    return amount if _is_amount(amount) else default


def _is_amount(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf


def _depth_in_environment(default: int = MAX_DEPTH) -> int:
    text = os.environ.get(DEPTH_VARIABLE, "")
    return int(text) if text.isascii() and text.isdigit() and 1 <= int(text) <= MAX_DEPTH else default


def snapshot() -> Snapshot:
    """What `configure` said in this process, for a child that this process starts; `adopt` reads it there."""
    return dict(_said)


def adopt(given: Snapshot) -> None:
    """Take over the settings of the process that started this one."""
    if given != _said:
        configure(**given)


def for_environment() -> dict[str, str]:
    """What `configure` said in this process, as variables for a child process; never keys."""
    said = {
        DIRECTORY_VARIABLE: configured_directory(),
        DEPTH_VARIABLE: None if depth_limit() == MAX_DEPTH else depth_limit(),
        FSYNC_VARIABLE: _said.get("fsync"),
    }
    for name, variable in (("retention_days", DAYS_VARIABLE), ("retention_bytes", BYTES_VARIABLE)):
        if name in _said:
            said[variable] = _OFF if _said[name] is None else _said[name]
    return {name: str(value) for name, value in said.items() if value is not None}


def directory() -> str | None:
    """Where runs are recorded: `configure`, else ``AGENT_RUN_DIR``, else the platform's state directory for the user.

    Returns:
        An absolute path, or None when recording is off.

    Raises:
        StoreError: there is no place for it: nothing is set and the user has no home directory.
    """
    named = configured_directory() or os.environ.get(DIRECTORY_VARIABLE)
    if named is None or named == "":
        return _default()
    return None if named == _OFF else os.path.abspath(named)  # noqa: PTH100


def named_by() -> str:
    """What says where runs are recorded: ``configure``, ``AGENT_RUN_DIR`` or ``default``."""
    if configured_directory() is not None:
        return "configure"
    return DIRECTORY_VARIABLE if os.environ.get(DIRECTORY_VARIABLE) else "default"


def ignored() -> dict[str, str]:
    """The variables of the environment that hold no such value, each with what it takes instead."""
    amount = "a number above 0, or 'off' for no limit"
    fits: dict[str, tuple[bool, str]] = {
        DAYS_VARIABLE: (_amount_in(DAYS_VARIABLE, -1) != -1, amount),
        BYTES_VARIABLE: (_amount_in(BYTES_VARIABLE, -1) != -1, amount),
        FSYNC_VARIABLE: (os.environ.get(FSYNC_VARIABLE) in FSYNCS, f"one of {', '.join(FSYNCS)}"),
        DEPTH_VARIABLE: (_depth_in_environment(-1) != -1, f"a whole number from 1 to {MAX_DEPTH}"),
    }
    return {name: takes for name, (fit, takes) in fits.items() if os.environ.get(name) and not fit}


def _default() -> str:
    if sys.platform == "darwin":
        base = os.path.expanduser("~/Library/Application Support")  # noqa: PTH111
    else:
        base = os.environ.get("XDG_STATE_HOME", "")
        if not os.path.isabs(base):  # noqa: PTH117 - the XDG specification ignores relative paths
            base = os.path.expanduser("~/.local/state")  # noqa: PTH111
    if not os.path.isabs(base):  # noqa: PTH117
        raise StoreError(
            f"this user has no home directory to record runs in: set {DIRECTORY_VARIABLE} to a directory, or to 'off'"
        )
    return os.path.join(base, "agent-run-id")  # noqa: PTH118


set_depth_limit(_depth_in_environment())
