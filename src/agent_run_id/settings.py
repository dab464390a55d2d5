"""Settings: what `configure` and the environment say, read by every other room.

The environment is read when a setting is needed, not when this is imported: a program may still be preparing it.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Final

from agent_run_id.errors import ConfigurationError, StoreError
from agent_run_id.ids import MAX_DEPTH, depth_limit, set_depth_limit
from agent_run_id.signing import SigningKeys

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "DEPTH_VARIABLE",
    "DIRECTORY_VARIABLE",
    "KEEP",
    "Keep",
    "Snapshot",
    "adopt",
    "configure",
    "configured_directory",
    "directory",
    "observe",
    "signing_keys",
    "snapshot",
]

DIRECTORY_VARIABLE: Final = "AGENT_RUN_DIR"
DEPTH_VARIABLE: Final = "AGENT_RUN_MAX_DEPTH"
_OFF: Final = "off"


Snapshot = tuple[str | None, int, SigningKeys | None]
"""The settings of a process: the configured directory, the limit of depth and the keys."""


class Keep:
    """The type of `KEEP`, which stands for "leave this setting as it is"."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "KEEP"


KEEP: Final = Keep()

_configured: str | None = None
_signing_keys: SigningKeys | None = None
_observers: list[Callable[[], None]] = []


def configure(
    *,
    directory: str | os.PathLike[str] | Keep | None = KEEP,
    max_depth: int | Keep = KEEP,
    signing_keys: SigningKeys | Keep | None = KEEP,
) -> None:
    """Change the settings of this process; what is not given stays as it is.

    Args:
        directory: Where runs are recorded: a directory, made with mode 0700 when the first event is recorded;
            ``"off"`` records nothing; None goes back to ``AGENT_RUN_DIR`` and the per-user default.
        max_depth: How deep runs may be nested, 1 to 65,535; beyond it `start_run` and `RunId.generate` raise
            `RunDepthError`. By default what ``AGENT_RUN_MAX_DEPTH`` says; `child_env` passes it on.
        signing_keys: What carriers sign with and ask for; None for neither, which is the default.

    Raises:
        ConfigurationError: (a `ValueError`) a value cannot be used; nothing has been changed.
    """
    global _configured, _signing_keys
    if not isinstance(max_depth, Keep) and not _is_depth(max_depth):
        raise ConfigurationError(f"max_depth is a whole number from 1 to {MAX_DEPTH}, not {max_depth!r}")
    if not isinstance(signing_keys, SigningKeys | Keep | None):
        raise ConfigurationError(f"signing_keys is a SigningKeys or None, not a {type(signing_keys).__name__}")
    if not isinstance(directory, Keep):
        _configured = None if directory is None else _checked(directory)
        for observer in _observers:
            observer()
    if not isinstance(max_depth, Keep):
        set_depth_limit(max_depth)
    if not isinstance(signing_keys, Keep):
        _signing_keys = signing_keys


def signing_keys() -> SigningKeys | None:
    """What `configure(signing_keys=…)` said."""
    return _signing_keys


def _depth_from_environment() -> int:
    text = os.environ.get(DEPTH_VARIABLE, "")
    return int(text) if text.isascii() and text.isdigit() and 1 <= int(text) <= MAX_DEPTH else MAX_DEPTH


def _is_depth(value: object) -> bool:
    return isinstance(value, int) and 1 <= value <= MAX_DEPTH


def _checked(directory: str | os.PathLike[str]) -> str:
    try:
        path: object = os.fspath(directory)
    except TypeError:
        path = None
    if not isinstance(path, str) or not path or "\0" in path:
        raise ConfigurationError(f"directory is a path, 'off' or None, not {directory!r}")
    # Absolute at once: the program may change its working directory before it records anything.
    return _OFF if path == _OFF else os.path.abspath(path)  # noqa: PTH100 - pathlib costs 5 ms to import


def observe(observer: Callable[[], None]) -> None:
    """Call `observer` whenever `configure` sets the directory."""
    _observers.append(observer)


def configured_directory() -> str | None:
    """What `configure(directory=…)` said, as an absolute path or "off"; None when nothing was said."""
    return _configured


def snapshot() -> Snapshot:
    """What `configure` said in this process, for a child that this process starts; `adopt` reads it there."""
    return (_configured, depth_limit(), _signing_keys)


def adopt(given: Snapshot) -> None:
    """Take over the settings of the process that started this one."""
    directory, limit, keys = given
    if directory is not None and directory != _configured:
        configure(directory=directory)
    set_depth_limit(limit)
    configure(signing_keys=keys)


def directory() -> str | None:
    """Where runs are recorded: `configure`, else ``AGENT_RUN_DIR``, else the platform's state directory for the user.

    Returns:
        An absolute path, or None when recording is off.

    Raises:
        StoreError: there is no place for it: nothing is set and the user has no home directory.
    """
    named = _configured or os.environ.get(DIRECTORY_VARIABLE)
    if named is None or named == "":
        return _default()
    return None if named == _OFF else os.path.abspath(named)  # noqa: PTH100


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


set_depth_limit(_depth_from_environment())
