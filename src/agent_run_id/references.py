"""References: how a person names a run: an id or the beginning of one, a token, the latest root."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from agent_run_id.errors import InvalidRunIdError, RunNotFound
from agent_run_id.ids import RunId
from agent_run_id.index.ids import id_text
from agent_run_id.index.layout import STATUSES

if TYPE_CHECKING:
    from agent_run_id.schema import Status

__all__ = ["SHORT", "is_last", "last_of", "prefix_of"]

_LAST: Final = "@last"
_HEX: Final = frozenset("0123456789abcdef")
SHORT: Final = 8
"""Digits of an id in a log line. A shorter beginning gives way to a name: among many runs "4711" begins some id."""


def is_last(text: str) -> bool:
    """Whether it means the latest root, of all or of those with some status."""
    return text == _LAST or text.startswith(f"{_LAST}:")


def last_of(text: str) -> Status | None:
    """The status that the latest root is to have; None for any.

    Raises:
        RunNotFound: there is no such status.
    """
    if text == _LAST:
        return None
    status: Any = text.removeprefix(f"{_LAST}:")
    if status not in STATUSES:
        raise RunNotFound(text)
    return cast("Status", status)


def prefix_of(text: str) -> str | None:
    """The hexadecimal digits a reference gives of an id; None when it cannot be one."""
    text = text.strip()
    try:
        run_id = RunId.from_token(text) if "." in text else RunId(text)
    except InvalidRunIdError:
        digits = text.lower().replace("-", "")
        if len(digits) >= 32 or not _HEX.issuperset(digits):
            return None
        # Hyphens may be left out, but not be elsewhere than they are in an id: "-a" is somebody's name for a run.
        is_beginning = "-" not in text or id_text(bytes.fromhex(digits.ljust(32, "0"))).startswith(text.lower())
        return digits if is_beginning else None
    return run_id.value.replace("-", "")
