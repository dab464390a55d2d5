"""Logs: the run's id on every line, so that one `grep` for a root finds its whole tree in any log store.

A filter on a logger, the root logger included, is not asked about records of the loggers below it, and a record
factory that sets `run_id` makes a user's own ``extra={"run_id": …}`` raise `KeyError`. So once there is a
`RunIdFilter`, records are stamped in `Logger.handle`: every one of them passes it, whatever its logger, in the thread
that made it and with its `extra` in place. What a filter then adds is its own way of writing the ids.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from copy import copy
from typing import IO, Any, Final

from agent_run_id.ids import RunId
from agent_run_id.scope import current_run_id

__all__ = ["FORMAT", "RunIdFilter", "reset_logging", "setup_logging"]

FORMAT: Final = "%(asctime)s %(levelname)s %(name)s [root=%(root_run_id)s run=%(run_id)s] %(message)s"
"""The format of the handler that `setup_logging` installs where there is none."""

_FIELDS: Final = ("run_id", "root_run_id", "parent_run_id", "run_depth")
# On a stamped record: the token of its run, how it was written, and the names that were ours to write. All of it plain
# text, for a record may be pickled and sent to a program that does not know this library.
_STAMP: Final = "_agent_run"
_CAN_REPLACE: Final = sys.version_info >= (3, 12)


class RunIdFilter(logging.Filter):
    """Put `run_id`, `root_run_id`, `parent_run_id` and `run_depth` on every record; drop none.

    From the moment the first one exists, records of all loggers carry the names, wherever it is added, written as it
    says or as `setup_logging` says. On a handler it decides how that handler shows them (before Python 3.12 the
    handlers after it too, for a filter could not give another record then). What a record has of its own, from
    `extra`, stays; what another thread or process stamped, stays that run's.

    Args:
        short: Whether to give the first 8 characters of each id instead of all 36.
        placeholder: What stands where there is no run, or no parent.
    """

    short: bool
    placeholder: str

    def __init__(self, short: bool = False, placeholder: str = "-") -> None:  # noqa: FBT001, FBT002 - the contract
        super().__init__()
        self.short = short
        self.placeholder = placeholder
        if _stamp is None:
            _stamp_with(self)

    def filter(  # type: ignore[override, unused-ignore]
        self, record: logging.LogRecord
    ) -> bool | logging.LogRecord:  # pyright: ignore[reportIncompatibleMethodOverride] - possible since Python 3.12
        """Stamp `record`, and let it pass; one that was stamped to be written otherwise passes as a copy."""
        fields = record.__dict__
        how = f"{self.short:d}{self.placeholder}"
        stamp: tuple[str, str, tuple[str, ...]] | None = fields.get(_STAMP)
        if stamp is None:
            run_id = current_run_id()
            ours = tuple(name for name in _FIELDS if name not in fields)
        elif stamp[1] == how:
            return True
        else:
            run_id = RunId.from_token(stamp[0]) if stamp[0] else None
            ours = stamp[2]
            if _CAN_REPLACE:
                record = copy(record)
                fields = record.__dict__
        for name, text in zip(_FIELDS, self._texts(run_id), strict=True):
            if name in ours:
                fields[name] = text
        fields[_STAMP] = ("" if run_id is None else run_id.token, how, ours)
        return record if stamp is not None and _CAN_REPLACE else True

    def _texts(self, run_id: RunId | None) -> tuple[str, str, str, str]:
        if run_id is None:
            return (self.placeholder, self.placeholder, self.placeholder, self.placeholder)
        end = 8 if self.short else 36
        parent = self.placeholder if run_id.parent_id is None else run_id.parent_id[:end]
        return (run_id.value[:end], run_id.root_id[:end], parent, str(run_id.depth))


_Handle = Callable[[logging.Logger, logging.LogRecord], None]
_stamp: RunIdFilter | None = None
_plain_handle: _Handle | None = None


def setup_logging(
    *,
    level: int | str | None = None,
    format: str = FORMAT,  # noqa: A002 - as in `logging.basicConfig`
    stream: IO[str] | None = None,
    short: bool = False,
    placeholder: str = "-",
) -> None:
    """Put the run on every record of every logger, and show it where nothing is configured yet.

    Records carry `run_id`, `root_run_id`, `parent_run_id` and `run_depth` from the moment they are made, whichever
    logger makes them and whichever handler, now or later, gets them. Where the root logger has no handler, one is
    installed that writes `format`; handlers that exist are left alone, and their formats may use the names.
    Calling it again changes what was given before.

    Args:
        level: The level of the root logger; unchanged when None.
        format: What the installed handler writes.
        stream: Where it writes; standard error by default.
        short: Whether to give the first 8 characters of each id.
        placeholder: What stands where there is no run.
    """
    _stamp_with(RunIdFilter(short=short, placeholder=placeholder))
    root = logging.getLogger()
    if not root.handlers:
        handler = logging.StreamHandler(stream)
        defaults: dict[str, Any] = dict.fromkeys(_FIELDS, placeholder)
        handler.setFormatter(logging.Formatter(format, defaults=defaults))
        root.addHandler(handler)
    if level is not None:
        root.setLevel(level)


def reset_logging() -> None:
    """Stop stamping records. Handlers and filters that were added stay where they are."""
    global _stamp, _plain_handle
    _stamp = None
    if _plain_handle is not None and logging.Logger.handle is _stamped_handle:
        _set_handle(_plain_handle)
        _plain_handle = None


def _stamped_handle(self: logging.Logger, record: logging.LogRecord) -> None:
    if _stamp is not None:
        _stamp.filter(record)
    if _plain_handle is not None:
        _plain_handle(self, record)


def _stamp_with(stamp: RunIdFilter) -> None:
    global _stamp, _plain_handle
    _stamp = stamp
    if _plain_handle is None:
        _plain_handle = logging.Logger.handle
        _set_handle(_stamped_handle)


def _set_handle(handle: _Handle) -> None:
    logger: Any = logging.Logger
    logger.handle = handle
