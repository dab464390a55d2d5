"""Referring: which run is meant by an id, the beginning of one, a name, or ``@last``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

from agent_run_id.errors import InvalidRunIdError, RunNotFound
from agent_run_id.finding import Query
from agent_run_id.ids import RunId
from agent_run_id.index.ids import id_text
from agent_run_id.index.layout import STATUSES
from agent_run_id.records import RUN

if TYPE_CHECKING:
    import sqlite3

    from agent_run_id.index import Index
    from agent_run_id.schema import Status

__all__ = ["LAST", "SHORT", "digits_of", "find_one"]

LAST: Final = "@last"
"""Means the latest root; ``@last:failed`` the latest that failed, and likewise with any other status."""
SHORT: Final = 8
"""Digits of an id in a log line. A shorter beginning gives way to a name: among many runs "4711" begins some id."""
_HEX: Final = frozenset("0123456789abcdef")


def find_one(index: Index, ref: RunId | str) -> sqlite3.Row:
    """The row of the run that is meant, as of the last update.

    Raises:
        RunNotFound: it is none, or more than one.
    """
    text = str(ref)
    if text.partition(":")[0] == LAST:
        return _last(index, text)
    prefix = digits_of(text)
    named = _named(index, prefix) if prefix else []
    if prefix is not None and len(prefix) == 32 and named:
        return named[0]  # a whole id is no other run's name, whoever gave it one
    found = index.read(f"{RUN} WHERE r.pk IN (SELECT run FROM aliases WHERE alias = ?) LIMIT 100", [text])
    if not found or (prefix is not None and len(prefix) >= SHORT):
        found += [row for row in named if row["pk"] not in {other["pk"] for other in found}]
    if len(found) != 1:
        raise RunNotFound(text, tuple(id_text(row["id"]) for row in found))
    return found[0]


def _last(index: Index, text: str) -> sqlite3.Row:
    """The latest root, of all or of those with the status that stands behind the colon."""
    status = text.removeprefix(LAST).removeprefix(":")
    query = Query(limit=1)
    query.roots_only()
    if text != LAST:
        if status not in STATUSES:
            raise RunNotFound(text)
        query.has_status(cast("Status", status))
    last = index.read(*query.sql())
    if not last:
        raise RunNotFound(text)
    return last[0]


def _named(index: Index, prefix: str) -> list[sqlite3.Row]:
    bounds = [bytes.fromhex(prefix.ljust(32, filler)) for filler in "0f"]
    named = "SELECT run FROM every_id WHERE id BETWEEN ? AND ?"
    return index.read(f"{RUN} WHERE r.pk IN ({named}) ORDER BY r.id LIMIT 100", bounds)


def digits_of(text: str) -> str | None:
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
