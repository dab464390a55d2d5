"""Logs: the run's id on every line, so that one `grep` for a root finds its whole tree in any log store.

A `Filter` on the root logger is not asked about records of child loggers, and a record factory that sets `run_id` makes
a user's own ``extra={"run_id": …}`` raise `KeyError`. So `setup_logging` stamps records in `Logger.handle`, which every
record of every logger passes, in the thread that made it and after its `extra` is in place.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import IO, Any, Final

from agent_run_id.scope import current_run_id

__all__ = ["FORMAT", "RunIdFilter", "reset_logging", "setup_logging"]

FORMAT: Final = "%(asctime)s %(levelname)s %(name)s [root=%(root_run_id)s run=%(run_id)s] %(message)s"
"""The format of the handler that `setup_logging` installs where there is none."""

_FIELDS: Final = ("run_id", "root_run_id", "parent_run_id", "run_depth")


class RunIdFilter(logging.Filter):
    """Put `run_id`, `root_run_id`, `parent_run_id` and `run_depth` on every record; drop none.

    Add it to a *handler*: a filter on a logger does not see the records of the loggers below it. What a record carries
    already, from `extra` or from the thread that made it, stays.

    Args:
        short: Whether to give the first 8 characters of each id instead of all 36.
        placeholder: What stands where there is no run, or no parent.
    """

    def __init__(self, short: bool = False, placeholder: str = "-") -> None:  # noqa: FBT001, FBT002 - the contract
        super().__init__()
        self.short = short
        self.placeholder = placeholder

    def filter(self, record: logging.LogRecord) -> bool:
        """Stamp `record`; always True."""
        fields = record.__dict__
        if "run_id" in fields and "root_run_id" in fields:
            return True
        run_id = current_run_id()
        if run_id is None:
            values = (self.placeholder,) * 4
        else:
            end = 8 if self.short else 36
            parent = run_id.parent_id
            values = (
                run_id.value[:end],
                run_id.root_id[:end],
                self.placeholder if parent is None else parent[:end],
                str(run_id.depth),
            )
        for name, value in zip(_FIELDS, values, strict=True):
            fields.setdefault(name, value)
        return True


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
    global _stamp, _plain_handle
    _stamp = RunIdFilter(short=short, placeholder=placeholder)
    if _plain_handle is None:
        _plain_handle = logging.Logger.handle
        _set_handle(_stamped_handle)
    root = logging.getLogger()
    if not root.handlers:
        handler = logging.StreamHandler(stream)
        defaults: dict[str, Any] = dict.fromkeys(_FIELDS, placeholder)
        handler.setFormatter(logging.Formatter(format, defaults=defaults))
        root.addHandler(handler)
    if level is not None:
        root.setLevel(level)


def reset_logging() -> None:
    """Undo what `setup_logging` did to the records; handlers it installed stay."""
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


def _set_handle(handle: _Handle) -> None:
    logger: Any = logging.Logger
    logger.handle = handle
