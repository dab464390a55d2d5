"""Planted faults: each does one thing wrong that the library is careful about, and is switched on alone.

The machine has to find every one of them. A fault is switched on before anything runs, in this process and, through its
environment, in all that it starts.
"""

from __future__ import annotations

import fcntl
import os
import random
import sys
import uuid
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import agent_run_id as ari
from agent_run_id import binding, generators, ids, journal_file, outcomes, scope
from agent_run_id.runs import Run

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["FAULT", "FAULTS", "plant"]

FAULT = "AGENT_RUN_MACHINE_FAULT"
"""The variable that says which fault is switched on."""


def plant(name: str) -> None:
    """Switch a fault on."""
    FAULTS[name]()
    os.environ[FAULT] = name


def _replace(old: object, new: object) -> None:
    """Put something in the place of a thing, wherever the library has it."""
    places = 0
    for name, room in list(sys.modules.items()):
        if name.partition(".")[0] == "agent_run_id":
            for key, value in list(vars(room).items()):
                if value is old:
                    setattr(room, key, new)
                    places += 1
    for kind, caller in list(binding._CALLERS.items()):
        if caller is old:
            binding._CALLERS[kind] = new  # type: ignore[assignment]
    assert places, f"{old!r} is nowhere"


# Scopes ---------------------------------------------------------------------------------------------------------------


def _reset_only() -> None:
    """A scope is left by resetting the token, and stays where that cannot be done."""

    def leave(left: scope.Scope) -> None:
        token = left._token
        if token is not None:
            with suppress(ValueError, RuntimeError):
                scope._current.reset(token)

    _replace(scope.leave, leave)


def _leave_to_nobody() -> None:
    """What was current before a scope is not current again: no run is."""

    def leave(left: scope.Scope) -> None:
        left._token = None
        scope._current.set(None)

    _replace(scope.leave, leave)


def _set_if_unset() -> None:
    """A bound call sets its run only where none is current."""
    _replace(binding.call_in, call_if_unset)


def _not_restored() -> None:
    """A bound call leaves its run in the worker."""
    _replace(binding.call_in, call_and_stay)


def _bound_when_called() -> None:
    """A bound call takes the run of wherever it is called."""
    _replace(binding.call_in, call_as_it_is)


_call_in = binding.call_in


def call_if_unset(fn: Callable[..., Any], parent: Any, /, *args: Any, **kwargs: Any) -> Any:
    return _call_in(fn, parent, *args, **kwargs) if ari.current_run_id() is None else fn(*args, **kwargs)


def call_and_stay(fn: Callable[..., Any], parent: Any, /, *args: Any, **kwargs: Any) -> Any:
    scope.swap(scope.scope_of(parent))
    return fn(*args, **kwargs)


def call_as_it_is(fn: Callable[..., Any], _: Any, /, *args: Any, **kwargs: Any) -> Any:
    return fn(*args, **kwargs)


# Walls ----------------------------------------------------------------------------------------------------------------


def _worker_keeps_its_own() -> None:
    """An item of a queue is handled in the run of the worker."""
    ari.Carried._enter = lambda self: None  # type: ignore[method-assign]


def _item_not_restored() -> None:
    """A worker goes on in the run of its last item."""
    ari.Carried._leave = lambda self: None  # type: ignore[method-assign]


def _stale_fork() -> None:
    """A process of a pool that was forked inside a run has that run for every job."""
    from concurrent.futures import ProcessPoolExecutor

    ari.BoundProcessPoolExecutor.submit = ProcessPoolExecutor.submit  # type: ignore[method-assign]


def _isolated_inherits() -> None:
    """What should run in no run at all runs in the current one."""
    _replace(ari.isolated, lambda fn: ari.bind(fn))


def _inherited_environment() -> None:
    """A child gets the environment of this process as it is."""
    real = ari.child_env
    _replace(real, lambda *args, **more: {**os.environ, **more})


# Identity -------------------------------------------------------------------------------------------------------------


def _lineage_dropped() -> None:
    """A run id arrives in another process without its lineage."""
    ari.RunId.__reduce__ = lambda self: (ari.RunId, (self.value,))  # type: ignore[method-assign]


def _one_too_deep() -> None:
    """A token says one level more than there is, from the second on."""
    real = ids.RunId.from_token.__func__  # type: ignore[attr-defined]

    def from_token(cls: Any, token: str) -> ari.RunId:
        found: ari.RunId = real(cls, token)
        if found.depth < 2:
            return found
        return real(cls, f"{token.rpartition('.')[0]}.{found.depth + 1}")  # type: ignore[no-any-return]

    ids.RunId.from_token = classmethod(from_token)  # type: ignore[method-assign,assignment]


def _ids_repeat() -> None:
    """A forked process makes the ids of its parent once more."""
    source = random.Random(1)  # noqa: S311 - that is the fault
    _replace(ids.random_id, lambda: str(uuid.UUID(int=source.getrandbits(128), version=4)))


# Runs and generators --------------------------------------------------------------------------------------------------


def _ends_twice() -> None:
    """A run that was ended in its block ends once more with it."""
    real: Any = Run._end

    def end(self: Any, *args: Any) -> None:
        self._ended.clear()
        real(self, *args)

    Run._end = end  # type: ignore[method-assign,assignment]


def _cancelled_is_failed() -> None:
    """Cancellation counts as failure."""
    real = outcomes.outcome_of

    def outcome_of(*args: Any) -> Any:
        found = real(*args)
        return "failed" if found == "cancelled" else found

    _replace(real, outcome_of)


def _generator_ends_early() -> None:
    """The run of a generator ends with its first item."""

    def drive(generator: Any, driven: Any) -> Any:
        steps = generators._Steps(driven.begin())
        for item in steps.over(generator):
            driven.finish(None)
            yield item

    _replace(generators.drive, drive)


def _generator_leaks() -> None:
    """The consumer of a generator sees its run between the items."""

    def drive(generator: Any, driven: Any) -> Any:
        begun = scope.enter(driven.begin())
        try:
            yield from generator
        except BaseException as error:
            driven.finish(error)
            raise
        finally:
            scope.leave(begun)
        driven.finish(None)

    _replace(generators.drive, drive)


def _generator_by_first_step() -> None:
    """A generator that another thread resumes goes on in the run of that thread."""

    def over(self: Any, body: Any) -> Any:
        outer = scope.swap(self.scope)
        try:
            item = next(body)
        except StopIteration as stop:
            return stop.value
        finally:
            scope.swap(outer)
        yield item
        return (yield from body)

    generators._Steps.over = over  # type: ignore[method-assign]


# Journal and index ----------------------------------------------------------------------------------------------------


def _lock_dropped() -> None:
    """A process lets go of the lock of its journal as soon as it has begun it."""
    real = journal_file._create

    def create(*args: Any) -> Any:
        made = real(*args)
        fcntl.flock(made[0], fcntl.LOCK_UN)
        return made

    journal_file._create = create  # type: ignore[assignment]


def _offset_off_by_one() -> None:
    """The index goes on reading a journal one byte behind where it was."""
    from agent_run_id.index import lines

    real = lines.read_pieces

    def read_pieces(path: str, offset: int, size: int) -> Any:
        return real(path, offset + 1 if offset else 0, size)

    _replace(real, read_pieces)


def _applied_by_highest() -> None:
    """The index takes only events with a higher number than any before: what others wrote meanwhile is lost."""
    from agent_run_id.index.applied import Ranges

    real = Ranges.add

    def add(self: Ranges, first: int, last: int) -> None:
        real(self, 0, last + 2)
        del first

    Ranges.add = add  # type: ignore[method-assign]


def _claim_not_taken() -> None:
    """Who accepts a message does not say so, and it is for ever queued."""
    from agent_run_id import handing

    def accept(message: Any = None, *, name: str = "message", **_: Any) -> Any:
        del message
        return ari.start_run(name)

    _replace(handing.accept, accept)


FAULTS: dict[str, Callable[[], None]] = {
    "token reset instead of the owner's rule": _reset_only,
    "nobody's after a scope": _leave_to_nobody,
    "set if unset": _set_if_unset,
    "bound run not taken away": _not_restored,
    "bound when called": _bound_when_called,
    "worker's own run kept": _worker_keeps_its_own,
    "item's run not restored": _item_not_restored,
    "stale scope of a fork": _stale_fork,
    "isolated inherits": _isolated_inherits,
    "environment inherited as it is": _inherited_environment,
    "lineage dropped": _lineage_dropped,
    "depth off by one": _one_too_deep,
    "ids repeat after a fork": _ids_repeat,
    "double end": _ends_twice,
    "cancellation counted as failure": _cancelled_is_failed,
    "early end of a generator": _generator_ends_early,
    "generator leaks into its consumer": _generator_leaks,
    "generator resumed in a stranger's run": _generator_by_first_step,
    "lock dropped early": _lock_dropped,
    "index offset off by one": _offset_off_by_one,
    "applied by the highest number": _applied_by_highest,
    "hand-over not taken": _claim_not_taken,
}
