"""Executors that run each call in the run of whoever submitted it.

The run is set for that call alone. It does not matter when the pool was made, nor inside which run its threads began or
its processes were forked: a worker forked inside a run would otherwise report that run for every later job.
"""

from __future__ import annotations

import signal
import weakref
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

from agent_run_id import settings
from agent_run_id.binding import bind, call_in
from agent_run_id.inbound import Inbound
from agent_run_id.scope import current_parent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from multiprocessing.context import BaseContext
    from types import TracebackType
    from typing import Self

    from agent_run_id.ids import RunId

__all__ = ["BoundProcessPoolExecutor", "BoundThreadPoolExecutor", "wrap_executor"]

P = ParamSpec("P")
T = TypeVar("T")


class BoundThreadPoolExecutor(ThreadPoolExecutor):
    """A `concurrent.futures.ThreadPoolExecutor` that runs each call in the run current when it was submitted."""

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Schedule ``fn(*args, **kwargs)`` in the current run."""
        return super().submit(call_in, fn, current_parent(), *args, **kwargs)

    def map(self, fn: Callable[..., T], *iterables: Iterable[Any], **options: Any) -> Iterator[T]:
        """Map `fn` over the iterables in the current run, also what is submitted only while the results are read."""
        return super().map(bind(fn), *iterables, **options)


class BoundProcessPoolExecutor(ProcessPoolExecutor):
    """A `concurrent.futures.ProcessPoolExecutor` that runs each call in the run current when it was submitted.

    Its workers have the settings of this process, as it was when the pool was made, whatever the start method. When one
    of them dies, the pool is broken, and all that was in its hands fails: the `BrokenProcessPool` of each future says
    in which run it was submitted, and which process died of what.

    Args:
        max_workers: As for `ProcessPoolExecutor`, and so on.
        mp_context: The start method, from `multiprocessing.get_context`.
        initializer: Called in each worker when it starts.
        initargs: The arguments of `initializer`.
        **options: Any other of its options.
    """

    def __init__(
        self,
        max_workers: int | None = None,
        mp_context: BaseContext | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        **options: Any,
    ) -> None:
        begin = (settings.snapshot(), initializer, initargs)
        super().__init__(max_workers, mp_context, initializer=begin_worker, initargs=begin, **options)

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Schedule ``fn(*args, **kwargs)`` in the current run; the failure of a pool that breaks names that run."""
        parent = current_parent()
        return _telling(super().submit(call_in, fn, parent, *args, **kwargs), self, parent)

    def map(self, fn: Callable[..., T], *iterables: Iterable[Any], **options: Any) -> Iterator[T]:
        """Map `fn` over the iterables in the current run, also what is submitted only while the results are read."""
        return super().map(bind(fn), *iterables, **options)


def begin_worker(
    given: settings.Snapshot, initializer: Callable[..., object] | None, initargs: tuple[Any, ...]
) -> None:
    """Begin a worker process with the settings of whoever made the pool, and in no run."""
    settings.adopt(given)
    if initializer is not None:
        call_in(initializer, None, *initargs)


class _TellingFuture(Future[T]):
    """A future of a pool of processes, whose failure says whose it is when the pool breaks."""

    submitted: tuple[weakref.ref[Executor], RunId | None]

    def set_exception(self, exception: BaseException | None) -> None:
        """Called by the pool, with one and the same exception for all that it had in hand."""
        if isinstance(exception, BrokenProcessPool):
            pool, run_id = self.submitted
            own = type(exception)(*exception.args)
            own.__cause__ = exception.__cause__
            with suppress(Exception):  # in the pool's own thread, which has others to tell
                for note in _notes(pool(), run_id):
                    own.add_note(note)
            exception = own
        super().set_exception(exception)


def _telling(future: Future[T], pool: Executor, parent: RunId | Inbound | None) -> Future[T]:
    run_id = parent.run_id if isinstance(parent, Inbound) else parent
    if type(future) is Future:  # else somebody has made it to do something of its own
        future.__class__ = _TellingFuture  # a pool cannot be told what futures to make
        cast("_TellingFuture[T]", future).submitted = (weakref.ref(pool), run_id)
    return future


def _notes(pool: Executor | None, run_id: RunId | None) -> Iterator[str]:
    if run_id is not None:
        yield f"agent run {run_id.value} submitted this to the pool"
    workers: Mapping[int, Any] = getattr(pool, "_processes", None) or {}  # as far as it can be told
    sentinels = {worker.sentinel: (pid, worker) for pid, worker in list(workers.items())}
    for sentinel in wait(list(sentinels), timeout=0):
        pid, worker = sentinels[cast("int", sentinel)]
        worker.join()  # it has let go of all it had, so it is over in a moment
        code = worker.exitcode
        if code:
            name = next((each.name for each in signal.Signals if each == -code), f"signal {-code}")
            yield f"worker process {pid} " + (f"died of {name}" if code < 0 else f"exited with status {code}")


class _BoundExecutor(Executor):
    """Somebody else's executor, with every call in the run of whoever submitted it."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    def __getattr__(self, name: str) -> Any:
        if name == "_executor":  # a copy that is being made has none yet
            raise AttributeError(name)
        return getattr(self._executor, name)

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        parent = current_parent()
        future = self._executor.submit(call_in, fn, parent, *args, **kwargs)
        return _telling(future, self._executor, parent) if isinstance(self._executor, ProcessPoolExecutor) else future

    def map(self, fn: Callable[..., T], *iterables: Iterable[Any], **options: Any) -> Iterator[T]:
        return self._executor.map(bind(fn), *iterables, **options)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - as it is
        self._executor.shutdown(wait, cancel_futures=cancel_futures)

    def __enter__(self) -> Self:
        self._executor.__enter__()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        return self._executor.__exit__(exc_type, exc, traceback)


def wrap_executor(executor: Executor) -> Executor:
    """Give an executor that runs each call of `executor` in the run current when it was submitted.

    For one that somebody else made: of threads, of processes, or anything with the interface of `concurrent.futures`.
    Whatever else `executor` offers is there too, and shutting either down shuts down both.
    """
    return _BoundExecutor(executor)
