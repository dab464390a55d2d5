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
from contextlib import suppress
from contextvars import ContextVar, Token
from typing import TYPE_CHECKING, Final

from agent_run_id.ids import RunId
from agent_run_id.yields import warn_of_yield

if TYPE_CHECKING:
    from agent_run_id.inbound import Inbound

__all__ = [
    "CURRENT",
    "CurrentRun",
    "Scope",
    "ScopeOwner",
    "current_parent",
    "current_run_id",
    "current_scope",
    "drop_outermost",
    "enter",
    "enter_outermost",
    "leave",
    "scope_of",
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
    """One entry into a run: the value of the context variable."""

    __slots__ = ("_left", "_run_id", "_token")

    _run_id: RunId | None
    _token: Token[Scope | None] | None  # None until it is entered, and again once it is taken away
    _left: bool

    # Of those that have an owner: where it was entered, and from what.
    _frame: int = 0
    _in_generator: bool = False
    _inbound: Inbound | None = None

    def __init__(self, run_id: RunId | None) -> None:
        self._run_id = run_id
        self._token = None
        self._left = False

    @property
    def run(self) -> object:
        """The live `Run` that opened the scope, when there is one in this process; a carrier brings only the id."""
        return None


class _InboundScope(Scope):
    """A scope without a run, in which a run that starts goes on with what came in."""

    __slots__ = ("_inbound",)

    def __init__(self, inbound: Inbound) -> None:
        super().__init__(inbound.run_id)
        self._inbound = inbound


def scope_of(parent: RunId | Inbound | None) -> Scope:
    """A scope of what `current_parent` gave where the work was handed over."""
    return Scope(parent) if parent is None or type(parent) is RunId else _InboundScope(parent)


_current: Final[ContextVar[Scope | None]] = ContextVar("agent_run_id", default=None)
_outermost: Final[list[Scope]] = []
_get = _current.get
_set = _current.set
_reset = _current.reset


def current_run_id() -> RunId | None:
    """The id of the run in force here, or None."""
    scope = _get()
    if scope is None:
        return None
    if scope._left:
        scope = _settle(scope)
        return None if scope is None else scope._run_id
    return scope._run_id


def current_scope() -> Scope | None:
    """The scope in force here, or None."""
    scope = _get()
    if scope is not None and scope._left:
        return _settle(scope)
    return scope


def current_parent() -> RunId | Inbound | None:
    """What a run that starts here comes under: the run in force, else what an edge found instead of one, else None."""
    scope = current_scope()
    if scope is None:
        return None
    return scope._run_id or scope._inbound


def enter_outermost(run_id: RunId) -> Scope:
    """Put a run under everything this context will do, until `drop_outermost`."""
    scope = Scope(run_id)
    _set(scope)
    _outermost.append(scope)
    return scope


def drop_outermost() -> None:
    """Take the run of `enter_outermost` away again, in whatever contexts have got it meanwhile.

    A process that joined a run and turns out to serve many must not put the work of all into that one.
    """
    while _outermost:
        _outermost.pop()._run_id = None


def enter(scope: Scope) -> Scope:
    """Make `scope` the one in force, until whoever entered it gives it to `leave`."""
    scope._token = _set(scope)
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
    while scope is not None and scope._left:
        token = scope._token
        if token is None:
            break  # taken away where it was entered; this is a copy
        try:
            _reset(token)
        except ValueError:
            break  # entered in another context, of which this is a copy
        except RuntimeError:  # the token was used meanwhile
            scope._token = None
            break
        scope._token = None
        scope = _get()
    return scope


def _previous(scope: Scope) -> Scope | None:
    """The scope that `scope` was entered in; None when it was left, so that nothing keeps a chain of them alive."""
    token = scope._token
    if token is None:
        return None
    old = token.old_value
    return None if old is Token.MISSING else old


class ScopeOwner(Scope):
    """What opens scopes: any number at once, nested, and from any threads and tasks.

    Nearly always it opens one, so it is itself the scope of its first entry; further entries have scopes of their own.
    Leaving never raises. It looks for the scope that this frame entered, since a `with` block ends in the frame it
    began in, whichever thread or task runs it by then.
    """

    __slots__ = ("_entries", "_frame", "_in_generator", "_inbound", "_unused")

    def __init__(self, run_id: RunId | None, inbound: Inbound | None = None) -> None:
        self._run_id = run_id
        self._inbound = inbound
        self._token = None
        self._left = False
        self._frame = 0
        self._in_generator = False
        self._entries: list[_Entry] = []
        self._unused = True

    def begin(self) -> ScopeOwner | _Entry:
        """A scope for one entry, to be entered and left by whoever asks for it."""
        try:
            del self._unused  # atomic: of two threads one finds it gone
        except AttributeError:
            return _Entry(self)
        return self

    def _enter(self) -> None:
        frame = sys._getframe(2)  # as `inspect`, which is slow to import, does
        scope = self.begin()
        if isinstance(scope, _Entry):
            self._entries.append(scope)
        scope._frame = id(frame)
        if frame.f_code.co_flags & _IN_GENERATOR:
            scope._in_generator = True
            warn_of_yield(frame)
        scope._token = _set(scope)

    def _leave(self) -> None:
        scope: Scope | None = self
        if _get() is not self or self._entries:
            scope = self._entered_by(id(sys._getframe(2)))
        if scope is not None:  # else it is left more often than entered
            leave(scope)

    def _entered_by(self, frame: int) -> Scope | None:
        """The innermost open scope of this frame; else of this context (an `ExitStack` enters in frames of its own)."""
        entries = list(self._entries)
        candidates: list[Scope] = [self, *entries] if self._is_open_itself() else [*entries]
        scope = next((scope for scope in reversed(candidates) if scope._frame == frame), None)
        above = _get()
        while scope is None and above is not None:
            if above in candidates:
                scope = above
            above = _previous(above)
        if scope is None and candidates:
            scope = candidates[-1]
        if isinstance(scope, _Entry):
            with suppress(ValueError):  # another thread was first
                self._entries.remove(scope)
        return scope

    def _is_open_itself(self) -> bool:
        return self._token is not None and not self._left

    @property
    def _is_open(self) -> bool:
        """Whether it was entered more often than left."""
        return self._is_open_itself() or bool(self._entries)


class _Entry(Scope):
    """The scope of an owner that is entered again. It does not know the owner, which may hold things of the user's."""

    __slots__ = ("_frame", "_in_generator", "_inbound", "_run")

    def __init__(self, owner: ScopeOwner) -> None:
        super().__init__(owner._run_id)
        self._frame = 0
        self._in_generator = False
        self._inbound = owner._inbound
        self._run = owner.run

    @property
    def run(self) -> object:
        return self._run


def leave(scope: Scope) -> None:
    """Leave a scope, wherever that happens. Never raises."""
    token = scope._token
    if token is None:
        return
    above = top = _get()
    # A generator suspended inside a bare `with` leaves its scope above ours; ours ends, so it goes too.
    while above is not None and above is not scope and above._in_generator:
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
            scope._token = None
            return
    scope._left = True
