"""Scopes: the stretch of code in which a run is current, and the only context variable of the library.

Everything that travels together is in the one value the variable holds, so nothing can be half restored.

How a scope is left, and why not simply with `reset` in a `finally`
    `ContextVar.reset` raises when it runs in another `Context` than its `set`. That happens in correct programs: an
    async generator finalised by the event loop, a generator closed by another thread, a test fixture. So leaving tries
    the reset, and *its success is the proof that this is the context the scope was entered in*: no thread or task has
    to be remembered and compared. A scope that cannot be taken away where it is left marks itself `left`; whoever next
    reads the variable where it was entered takes it away then, by the same proof. A reader for whom the proof fails
    holds a copy of the context: it is a task that outlives the scope, and goes on reporting that run.
"""

from __future__ import annotations

import sys
from contextvars import ContextVar, Token
from typing import TYPE_CHECKING, Final

from agent_run_id.yields import warn_of_yield

if TYPE_CHECKING:
    from agent_run_id.ids import RunId

__all__ = [
    "CURRENT",
    "CurrentRun",
    "Scope",
    "ScopeOwner",
    "current_run_id",
    "current_scope",
    "enter_outermost",
    "swap",
]

_IN_GENERATOR: Final = 0x20 | 0x200  # inspect.CO_GENERATOR | CO_ASYNC_GENERATOR; inspect costs 10 ms to import


class CurrentRun:
    """The type of `CURRENT`, which stands for the run in force where it is used."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "CURRENT"

    def __reduce__(self) -> str:
        return "CURRENT"


CURRENT: Final = CurrentRun()
"""The run in force where it is used: the default parent of a new run, and what `bind` binds."""


class Scope:
    """One entry into a run: the value of the context variable.

    Attributes:
        run_id: The run in force, or None for "no run here".
        run: The live `Run` that opened the scope, when there is one in this process; a carrier brings only the id.
    """

    __slots__ = ("left", "run", "run_id", "token")

    run_id: RunId | None
    run: object
    token: Token[Scope | None] | None
    left: bool

    owner: ScopeOwner | None = None
    frame: int = 0
    in_generator: bool = False

    def __init__(self, run_id: RunId | None, run: object = None) -> None:
        self.run_id = run_id
        self.run = run
        self.token = None
        self.left = False


class OwnedScope(Scope):
    """A scope that is left in the frame it was entered in, by whoever entered it there."""

    __slots__ = ("frame", "in_generator", "owner")

    token: Token[Scope | None] | None
    owner: ScopeOwner | None
    frame: int
    in_generator: bool

    def __init__(self, run_id: RunId | None, run: object = None) -> None:
        self.run_id = run_id
        self.run = run
        self.token = None
        self.left = False
        self.owner = None
        self.frame = 0
        self.in_generator = False


_current: Final[ContextVar[Scope | None]] = ContextVar("agent_run_id", default=None)
_get = _current.get
_set = _current.set
_reset = _current.reset


def current_run_id() -> RunId | None:
    """The id of the run in force here, or None."""
    scope = _get()
    if scope is None:
        return None
    if scope.left:
        scope = _settle(scope)
        return None if scope is None else scope.run_id
    return scope.run_id


def current_scope() -> Scope | None:
    """The scope in force here, or None."""
    scope = _get()
    if scope is not None and scope.left:
        return _settle(scope)
    return scope


def enter_outermost(run_id: RunId) -> Scope:
    """Put a run under everything this context will do, for as long as it lives."""
    scope = Scope(run_id)
    _set(scope)
    return scope


def enter(scope: Scope) -> Scope:
    """Make `scope` the one in force, until whoever entered it gives it to `leave`."""
    scope.token = _set(scope)
    return scope


def swap(scope: Scope | None) -> Scope | None:
    """Make `scope` the one in force and return the one that was.

    For code that is stepped from outside, such as a generator: whoever steps it swaps its scope in and out again.
    Nothing is kept that would have to be reset, so the next step may come from any thread, task or context.
    """
    previous = _get()
    _set(scope)
    return previous


def _settle(scope: Scope | None) -> Scope | None:
    """Take away the scopes that were left elsewhere, as far as they were entered in this context."""
    while scope is not None and scope.left:
        token = scope.token
        if token is None:
            break  # taken away where it was entered; this is a copy
        try:
            _reset(token)
        except ValueError:
            break  # entered in another context, of which this is a copy
        except RuntimeError:  # the token was used meanwhile
            scope.token = None
            break
        scope.token = None
        scope = _get()
    return scope


def _previous(scope: Scope) -> Scope | None:
    """The scope that `scope` was entered in; None when it was left, so that nothing keeps a chain of them alive."""
    token = scope.token
    if token is None:
        return None
    old = token.old_value
    return None if old is Token.MISSING else old


class ScopeOwner:
    """What opens scopes: any number at once, nested, and from any threads and tasks.

    Leaving never raises. It looks for the scope that this frame entered, since a `with` block ends in the frame it
    began in, whichever thread or task runs it by then.
    """

    __slots__ = ("_open",)

    def __init__(self) -> None:
        self._open: dict[int, Scope] = {}

    def _enter(self, run_id: RunId | None, run: object = None) -> None:
        frame = sys._getframe(2)  # noqa: SLF001 - as `inspect`, which is slow to import, does
        scope = OwnedScope(run_id, run)
        scope.owner = self
        scope.frame = id(frame)
        if frame.f_code.co_flags & _IN_GENERATOR:
            scope.in_generator = True
            warn_of_yield(frame)
        self._open[id(scope)] = scope
        scope.token = _set(scope)

    def _leave(self, caller: int = 2) -> None:
        frame = id(sys._getframe(caller))  # noqa: SLF001
        scope = _get()
        if scope is None or scope.owner is not self or scope.frame != frame:
            scope = self._entered_by(frame)
            if scope is None:
                return  # left more often than entered
        self._open.pop(id(scope), None)
        leave(scope)

    def _entered_by(self, frame: int) -> Scope | None:
        """The innermost open scope of this frame; else of this context (an `ExitStack` enters in frames of its own)."""
        open_scopes = list(self._open.values())
        for scope in reversed(open_scopes):
            if scope.frame == frame:
                return scope
        above = _get()
        while above is not None:
            if above.owner is self and id(above) in self._open:
                return above
            above = _previous(above)
        return open_scopes[-1] if open_scopes else None


def leave(scope: Scope) -> None:
    token = scope.token
    if token is None:
        return
    above = top = _get()
    # A generator suspended inside a bare `with` leaves its scope above ours; ours ends, so it goes too.
    while above is not None and above is not scope and above.in_generator:
        above = _previous(above)
    if above is scope:
        try:
            _reset(token)
        except ValueError:  # entered in another context
            if top is scope:
                _set(_previous(scope))
        except RuntimeError:
            pass
        else:
            # Cuts the chain: a task that outlives this scope keeps the scope, and only the scope, alive.
            scope.token = None
            return
    scope.left = True
