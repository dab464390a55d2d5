"""`patch_stdlib`: plain calls of the standard library that bring the current run along.

For programs whose calls cannot be changed. What is patched is what starts a thread or a process, or hands a call to a
pool of them; nothing is patched before it is asked for. A worker of a pool serves many, so it is started in no run,
and each call that it is given sets its own, also when that is none: a pool does not know who made it start a worker.
"""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from functools import partial, wraps
from types import FunctionType
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from agent_run_id import settings
from agent_run_id.binding import call_in
from agent_run_id.carriers.environ import VARIABLE
from agent_run_id.processes import child_env
from agent_run_id.run_context import RunContext
from agent_run_id.scope import current_parent
from agent_run_id.threads import run_plainly, start_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from agent_run_id.ids import RunId
    from agent_run_id.inbound import Inbound

__all__ = ["patch_stdlib", "unpatch_stdlib"]

Function = Any  # of whatever signature; what is made of one has the same

# Whose threads and processes are workers, or serve some: what they do belongs to no run, or to that of each item.
# Those of anyio and trio need not be here, for they call everything in a copy of its sender's context.
_MACHINERY: Final = frozenset(
    {
        "concurrent.futures.process",
        "concurrent.futures.thread",
        "joblib.externals.loky.backend.queues",
        "joblib.externals.loky.process_executor",
        "logging.handlers",
        "loky.backend.queues",
        "loky.process_executor",
        "multiprocessing.managers",
        "multiprocessing.pool",
        "multiprocessing.queues",
        "socketserver",
    }
)
_MACHINERY_PROGRAMS: Final = ("anyio.to_process",)
_RUN_BY_TARGET: Final = ("threading", "multiprocessing.process")
_JOBS: Final = ("apply_async", "imap", "imap_unordered", "map", "map_async", "starmap", "starmap_async")
_ENV: Final = 10  # where `env` stands among the arguments of `Popen`


class _Patch(NamedTuple):
    """A function of ours in the place of another one."""

    owner: type
    name: str
    original: Function
    ours: Function


_depth = 0
_patches: Final[list[_Patch]] = []
_retired: Final[list[_Patch]] = []
_lock = threading.RLock()


def patch_stdlib() -> None:
    """Have plain calls of the standard library bring the run along that is current where they are made.

    Those of `threading.Thread.start`, of `submit` and `map` of `ThreadPoolExecutor` and `ProcessPoolExecutor` and so of
    `loop.run_in_executor`, of `multiprocessing.Process.start` and the jobs of its pools, and of `subprocess.Popen`. It
    holds for the whole process, for objects made before, too, for children it forks, and for those of
    `multiprocessing`. Called several times, it is to be undone as often.
    """
    global _depth
    with _lock:
        for owner, name, make in _places():
            _put(owner, name, make)
        _depth += 1


def unpatch_stdlib() -> None:
    """Undo one `patch_stdlib`; the last one puts everything back as it was. Without any, nothing happens.

    Where somebody else has patched on top meanwhile, theirs stays, and ours in it does nothing any more.
    """
    global _depth
    with _lock:
        _depth = max(0, _depth - 1)
        if _depth:
            return
        for patch in _patches[::-1]:
            _take_away(patch)


def _put(owner: type, name: str, make: Callable[[Function], Function]) -> None:
    there = vars(owner)[name]
    if not _leads_to_ours(there):
        retired = (old.ours for old in _retired if old.name == name and old.owner is owner and old.original is there)
        patch = _Patch(owner, name, there, next(retired, None) or wraps(there)(make(_unbound(there))))
        _patches.append(patch)
        setattr(owner, name, patch.ours)


def _unbound(there: Function) -> Function:
    """What stands in a class, to be called with an instance."""
    if type(there) is FunctionType:
        return there

    # A wrapper of `wrapt` takes the first argument for the instance only when it is got from the class.
    def call(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        return there.__get__(self, type(self))(*args, **kwargs)

    return call


def _take_away(patch: _Patch) -> None:
    if vars(patch.owner).get(patch.name) is patch.ours:
        setattr(patch.owner, patch.name, patch.original)
        _patches[:] = [each for each in _patches if each is not patch]  # what wrappers are equal to, is theirs to say
        if not any(old.ours is patch.ours for old in _retired):
            _retired.append(patch)


def _leads_to_ours(function: Function) -> bool:
    """Whether a function calls one of ours in the end: somebody else may have put theirs around it."""
    ours = {id(patch.ours) for patch in (*_patches, *_retired)}
    for _ in range(100):  # for what makes up any attribute that it is asked for
        if function is None or id(function) in ours:
            break
        function = getattr(function, "__wrapped__", None)
    return id(function) in ours


def _places() -> Iterator[tuple[type, str, Callable[[Function], Function]]]:
    """What is to be patched, as it is now: somebody else may have put other classes there."""
    for kind, name, make in _functions():
        homes = [each for each in getattr(kind, "__mro__", ()) if name in vars(each)]
        if homes:
            yield homes[0], name, make


def _functions() -> Iterator[tuple[Any, str, Callable[[Function], Function]]]:
    import subprocess

    yield threading.Thread, "start", _thread_start
    yield threading.Timer, "start", _thread_start  # that of a thread, but for OpenTelemetry, which gives it its own
    yield subprocess.Popen, "__init__", _popen
    with suppress(ImportError):  # there are platforms without processes
        from concurrent.futures import process, thread
        from multiprocessing.pool import Pool
        from multiprocessing.process import BaseProcess

        yield thread._WorkItem, "__init__", _work_item  # noqa: SLF001 - see there
        yield process._WorkItem, "__init__", _work_item  # noqa: SLF001
        yield BaseProcess, "start", _process_start
        for name in _JOBS:
            yield Pool, name, _job


def _thread_start(start: Function) -> Function:
    def started(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        parent = current_parent() if _depth else None
        if parent is None:
            return start(self, *args, **kwargs)
        start_in(self, None if _is_machinery(self) else parent, partial(start, self, *args, **kwargs))
        return None

    return started


def _work_item(init: Function) -> Function:
    """What executors make of a call that is submitted, in the thread that submits it.

    Not `submit` itself, which others patch, too: Logfire patches it only where it is the very function that Logfire
    found when it was imported, and calls that one.
    """

    def made(self: Any, future: Any, *task: Any) -> None:
        if _depth and len(task) == len(("fn", "args", "kwargs")):
            fn, args, kwargs = task
            init(self, future, call_in, (fn, current_parent(), *args), kwargs)
        else:
            init(self, future, *task)

    return made


def _job(method: Function) -> Function:
    def given(self: Any, func: Any, *args: Any, **kwargs: Any) -> Any:
        return method(self, partial(call_in, func, current_parent()) if _depth else func, *args, **kwargs)

    return given


def _process_start(start: Function) -> Function:
    def started(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        if not _depth:
            return start(self, *args, **kwargs)
        attributes = cast("dict[str, Any]", vars(self))
        parent, own = None if _is_machinery(self) else current_parent(), attributes.get("run")
        # On the instance, so that it goes along when the instance is pickled for a child that is not a fork.
        attributes["run"] = partial(_begin, settings.snapshot(), parent, own)
        try:
            return start(self, *args, **kwargs)
        finally:
            run_plainly(self, own)

    return started


def _begin(given: settings.Snapshot, parent: RunId | Inbound | None, own: Callable[[], None] | None) -> None:
    """Run a process, in the child."""
    from multiprocessing.process import current_process  # and none is pickled, which may say how that is done

    process = current_process()
    run_plainly(process, own)
    settings.adopt(given)
    if not _depth:  # it is no fork, but the same program
        patch_stdlib()
    with RunContext(parent):
        cast("Any", process).run()


def _popen(init: Function) -> Function:
    def started(self: Any, /, *args: Any, **kwargs: Any) -> None:
        if _depth:
            named = len(args) <= _ENV
            given = kwargs.get("env") if named else args[_ENV]
            env = _environment(args[0] if args else kwargs.get("args"), given)
            if env is not given and named:
                kwargs["env"] = env
            elif env is not given:
                args = (*args[:_ENV], env, *args[_ENV + 1 :])
        init(self, *args, **kwargs)

    return started


def _environment(command: Any, given: Any) -> Any:
    """What to give a child process for an environment."""
    with suppress(Exception):  # it is no environment, and whoever started the process shall hear that from `subprocess`
        if isinstance(command, list | tuple) and command[-1:] and command[-1] in _MACHINERY_PROGRAMS:
            return given
        if given is None:
            env = child_env()
            return given if env == os.environ else env
        if _is_copy(given):
            changed = {name: value for name, value in given.items() if os.environ.get(name) != value}
            return {**child_env(given), **changed}
    return given


def _is_copy(given: Mapping[str, str]) -> bool:
    """Whether an environment is a copy of ours, changed or not, that names no run of its own choice.

    One that names the run this process has joined was copied from ours. One that names none was, too, if it has all
    the variables that ours has. Any other was put together by somebody who decides what is in it.
    """
    inherited = os.environ.get(VARIABLE)
    if given.get(VARIABLE) != inherited:
        return False
    return inherited is not None or (len(os.environ) > 0 and all(name in given for name in os.environ))


def _is_machinery(worker: Any) -> bool:
    """Whether a thread or a process is a worker or serves some, by the code it runs."""
    module = getattr(cast("Any", type(worker)).run, "__module__", None)
    if module in _RUN_BY_TARGET:
        module = getattr(getattr(worker, "_target", None), "__module__", None)
    return isinstance(module, str) and module in _MACHINERY


def _unlock() -> None:
    """In a forked child: the thread that may have held it is not there."""
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_unlock)
