"""Outcomes: what an exception that leaves a run means for it, and what is recorded of the exception."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final, Literal

from agent_run_id.events import Shaped

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent_run_id.ids import RunId

__all__ = ["ENDINGS", "Ending", "Expected", "describe_error", "expected_exceptions", "note_run", "outcome_of"]

Ending = Literal["succeeded", "failed", "cancelled"]
"""The statuses a run can be ended with."""
ENDINGS: Final[tuple[Ending, ...]] = ("succeeded", "failed", "cancelled")

Expected = tuple[type[BaseException], ...]
"""The exceptions that are not failures of a run."""

_NOTE: Final = "agent run "
_MAX_LEAVES: Final = 100

# The cancellations of the async libraries, and what a handler gets whose client has gone. They are looked up where they
# are loaded: none was raised by a library that is not.
_CANCELLED: Final = (
    ("asyncio", "CancelledError"),
    ("trio", "Cancelled"),
    ("concurrent.futures", "CancelledError"),
    ("starlette.requests", "ClientDisconnect"),
    ("starlette.websockets", "WebSocketDisconnect"),
)


def expected_exceptions(expected: Expected | type[BaseException]) -> Expected:
    """What a caller gave as expected exceptions, as a tuple.

    Raises:
        TypeError: it is no exception class and no tuple of them.
    """
    kinds = expected if isinstance(expected, tuple) else (expected,)
    for kind in kinds:
        if not _is_exception_class(kind):
            raise TypeError(f"expected is an exception class or a tuple of them, not {kind!r}")
    return kinds


def _is_exception_class(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseException)


def outcome_of(error: BaseException | str | None, expected: Expected = ()) -> Ending:
    """The status of a run that ended with `error`.

    Cancellation is not failure: a cancelled task, Ctrl-C and a consumer's `break` are ``cancelled``. `SystemExit` is
    success when its code says so. A group is what the worst of its leaves is.
    """
    if error is None:
        return "succeeded"
    if isinstance(error, str):
        return "failed"
    if isinstance(error, expected):
        return "succeeded"
    if isinstance(error, BaseExceptionGroup):
        outcomes = {outcome_of(leaf, expected) for leaf in leaves(error)}
        return "failed" if "failed" in outcomes else "succeeded" if "succeeded" in outcomes else "cancelled"
    if isinstance(error, SystemExit):
        return "succeeded" if error.code in (None, 0) else "failed"
    return "cancelled" if _is_cancellation(error) else "failed"


def _is_cancellation(error: BaseException) -> bool:
    if isinstance(error, KeyboardInterrupt | GeneratorExit):
        return True
    for module, name in _CANCELLED:
        kind = getattr(sys.modules.get(module), name, None)
        if kind is not None and isinstance(error, kind):
            return True
    return False


def leaves(error: Any) -> Iterator[BaseException]:
    """The exceptions of a group that are not groups themselves, in order; an exception is its own only leaf."""
    pending: list[Any] = [error]
    while pending:
        top: Any = pending.pop()
        if isinstance(top, BaseExceptionGroup):
            pending.extend(reversed(_exceptions_of(top)))
        else:
            yield top


def _exceptions_of(group: Any) -> tuple[BaseException, ...]:
    exceptions: tuple[BaseException, ...] = group.exceptions
    return exceptions


def describe_error(error: BaseException | str, expected: Expected = ()) -> Shaped:
    """What is recorded of an error: its type, message and traceback, and the leaves of a group."""
    if isinstance(error, str):
        return Shaped(message=error)
    described = _named(error)
    if outcome_of(error, expected) != "cancelled":  # where a cancellation came from says nothing about the run
        described["traceback"] = _traceback(error)
    if isinstance(error, BaseExceptionGroup):
        described["leaves"] = [_named(leaf) for leaf, _ in zip(leaves(error), range(_MAX_LEAVES), strict=False)]
    if isinstance(error, expected):
        described["expected"] = True
    return described


def _named(error: BaseException) -> Shaped:
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    try:
        message = str(error)
    except Exception as raised:
        message = f"<its message cannot be read: {type(raised).__name__}>"
    return Shaped(type=name, message=message)


def _traceback(error: BaseException) -> str | None:
    import traceback  # here, because a program in which nothing fails never needs it

    try:
        return "".join(traceback.format_exception(error))
    except Exception as raised:
        return f"<its traceback cannot be read: {type(raised).__name__}>"


def note_run(error: BaseException, run_id: RunId, name: str | None, expected: Expected = ()) -> None:
    """Put the run's id into an error report: a note on the exception, of the innermost run it left, once."""
    if outcome_of(error, expected) != "failed":
        return
    try:
        if not any(note.startswith(_NOTE) for note in getattr(error, "__notes__", ())):
            error.add_note(f"{_NOTE}{run_id.value} ({name})")
    except Exception:  # noqa: S110 - an exception that takes no notes is reported without one
        pass
