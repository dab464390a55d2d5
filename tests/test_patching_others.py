"""patch_stdlib beside others that patch the same: OpenTelemetry, Logfire, gevent, and any wrapper of a user's.

Each order of several is gone through in a forked child, so that it begins with nothing patched.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import itertools
import os
import signal
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.pool import ThreadPool
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry import context as otel
from opentelemetry import trace
from opentelemetry.instrumentation.threading import ThreadingInstrumentor

import agent_run_id as ari
from agent_run_id import RunContext, patch_stdlib, unpatch_stdlib
from tests.alone import ROOT, a_run, alone
from tests.far_side import in_a_thread
from tests.journal_programs.programs import run_program

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

KEY = "what OpenTelemetry carries"


def look() -> tuple[str | None, Any]:
    """The run, and what OpenTelemetry has."""
    run_id = ari.current_run_id()
    return (None if run_id is None else run_id.token), otel.get_value(KEY)


def a_timer(target: Callable[[], Any]) -> threading.Thread:
    return threading.Timer(0, target)


def pooled(pool: Any) -> tuple[str | None, Any]:
    seen: tuple[str | None, Any] = pool.submit(look).result()
    return seen


def crossings() -> tuple[tuple[str | None, Any], tuple[str | None, Any]]:
    """What a thread sees, and a worker of a pool; a timer and a worker that has served a stranger see the same."""
    with ThreadPoolExecutor(1) as pool:
        token = otel.attach(otel.set_value(KEY, "a stranger's"))
        with RunContext(a_run()):
            pool.submit(int).result()
        otel.detach(token)
        warm = pooled(pool)
    with ThreadPoolExecutor(1) as pool:
        cold = pooled(pool)
    plain, timer = in_a_thread(threading.Thread, look), in_a_thread(a_timer, look)
    assert warm[0] == cold[0], "the runs of a warm and of a cold pool"
    assert plain[0] == timer[0], "the runs of a thread and of a timer"
    return plain, cold


class Theirs:
    """OpenTelemetry's own instrumentation of threads, and whether it is on."""

    def __init__(self) -> None:
        self.on = False

    def instrument(self) -> None:
        if not self.on:
            ThreadingInstrumentor().instrument()
        self.on = True

    def uninstrument(self) -> None:
        if self.on:
            ThreadingInstrumentor().uninstrument()
        self.on = False


def check(theirs: Theirs, *, ours: bool) -> None:
    number = object()
    token = otel.attach(otel.set_value(KEY, number))
    with RunContext(a_run()) as run:
        in_thread, in_pool = crossings()
    otel.detach(token)
    assert run.run_id is not None
    for seen in (in_thread, in_pool):
        assert seen[0] == (run.run_id.token if ours else None)
    if theirs.on:
        assert in_thread[1] is number
        assert in_pool[1] is number
    assert [seen[0] for seen in crossings()] == [None, None], "from no run"


def go_through(steps: Iterable[str]) -> None:
    """Go through some steps, and look after each."""
    count, theirs = 0, Theirs()
    for step in steps:
        if step in "PU":
            (patch_stdlib if step == "P" else unpatch_stdlib)()
            count = max(0, count + (1 if step == "P" else -1))
        else:
            {"I": theirs.instrument, "J": theirs.uninstrument}[step]()
        check(theirs, ours=count > 0)
    theirs.uninstrument()
    for _ in range(count):
        unpatch_stdlib()
    check(theirs, ours=False)
    patch_stdlib()
    check(theirs, ours=True)


def orders(steps: str, count: int) -> Iterator[tuple[str, ...]]:
    """Every order of so many steps that begins with one that does something."""
    return (order for order in itertools.product(steps, repeat=count) if order[0] not in "UJR")


def in_children(several: Iterable[Iterable[str]], go: Callable[[Iterable[str]], None]) -> None:
    """Go through each order in a child of its own; the parent stays as it is."""
    for steps in several:
        child = os.fork()
        if child == 0:
            signal.alarm(120)  # one that hangs is ended, and the test fails
            status = 1
            try:
                go(steps)
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(status)
        assert os.waitpid(child, 0)[1] == 0, f"the order {''.join(steps)}"


@alone
def test_beside_opentelemetry_in_every_order() -> None:
    in_children(orders("PUIJ", 4), go_through)


@alone
def test_opentelemetry_by_itself_gives_a_worker_the_span_of_a_stranger_for_life_and_ours_does_not() -> None:
    """A pool whose calls it does not know, as those of `multiprocessing.dummy` and of many a library."""

    def spans_and_runs() -> list[tuple[bool, Any]]:
        """What jobs of two senders see: whether it is their own run, and the number of the sender whose span it is."""
        found = []
        with contextlib.ExitStack() as stack:
            for number in (1, 2):
                token = otel.attach(otel.set_value(KEY, number))
                with RunContext(a_run()) as run:
                    if number == 1:
                        pool = stack.enter_context(ThreadPool(1))
                    seen = pool.apply(look)
                    assert run.run_id is not None
                    found.append((seen[0] == run.run_id.token, seen[1]))
                otel.detach(token)
        return found

    assert spans_and_runs() == [(False, None), (False, None)], "both lost"
    ThreadingInstrumentor().instrument()
    assert spans_and_runs() == [(False, 1), (False, 1)], "theirs wrong"
    patch_stdlib()
    assert spans_and_runs() == [(True, 1), (True, 1)], "theirs wrong, ours kept"
    ThreadingInstrumentor().uninstrument()
    unpatch_stdlib()


def span_id() -> int:
    return trace.get_current_span().get_span_context().span_id


def in_a_pool(pool: Any) -> tuple[str | None, Any]:
    """The run a call of a pool is in, and the span that Logfire has brought there."""
    seen: tuple[str | None, Any] = pool.submit(lambda: (look()[0], span_id())).result()
    return seen


def go_through_with_logfire(steps: Iterable[str]) -> None:
    """As `go_through`, and Logfire, once configured, brings its span along, too."""
    count = 0
    span: Any = contextlib.nullcontext()
    for step in steps:
        if step == "L":
            import logfire

            logfire.configure(send_to_logfire=False, console=False)
            span = logfire.span("theirs")
        else:
            (patch_stdlib if step == "P" else unpatch_stdlib)()
            count = max(0, count + (1 if step == "P" else -1))
        with ThreadPoolExecutor(1) as pool, span, RunContext(a_run()) as run:
            assert run.run_id is not None
            assert in_a_pool(pool) == (run.run_id.token if count else None, span_id())


@alone
@pytest.mark.parametrize("imported", ["before", "after"])
def test_beside_logfire_in_every_order(imported: str) -> None:
    """Imported before anything is patched, or when it is first used."""
    if imported == "before":
        importlib.import_module("logfire")
    several: Iterable[Iterable[str]] = itertools.product("PUL", repeat=3)
    if imported == "after":  # for the time it takes in each of them
        several = ("PL", "PLU", "PUL", "PLUP", "PULP")
    in_children(several, go_through_with_logfire)


def their_wrapper(there: Any, *, says_so: bool) -> Any:
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return there(*args, **kwargs)

    return functools.wraps(there)(wrapper) if says_so else wrapper


def go_through_with_a_wrapper(steps: Iterable[str]) -> None:
    """Patch and unpatch, while somebody else wraps what is there, and puts back what they found, or does not."""
    original: Any = threading.Thread.start
    found: list[Any] = []
    count, there = 0, False
    for step in steps:
        if step in "PU":
            (patch_stdlib if step == "P" else unpatch_stdlib)()
            count = max(0, count + (1 if step == "P" else -1))
            there = there or step == "P"
        elif step == "R":
            there = False  # what they put back may be without ours, until we are asked again
            if found:
                threading.Thread.start = found.pop()  # type: ignore[method-assign]
        else:
            found.append(threading.Thread.start)
            wrapper = their_wrapper(threading.Thread.start, says_so=step == "w")
            threading.Thread.start = wrapper  # type: ignore[method-assign]
        if there or not count:
            with RunContext(a_run()) as run:
                assert run.run_id is not None
                assert in_a_thread(threading.Thread) == (run.run_id.token if count else None)
        if step == "U" and not found and not count:
            assert threading.Thread.start is original
        if step in "wW" and not count:
            patch_stdlib()
            unpatch_stdlib()
            assert threading.Thread.start is wrapper, "theirs was taken away"


@alone
def test_beside_wrappers_of_anybody_in_every_order() -> None:
    longer = ("PWURU", "PwURU", "PWUPU", "PwUPU", "wPRPU", "WPRPU", "PwPUU")
    in_children((*orders("PUwWR", 3), *longer), go_through_with_a_wrapper)


GEVENT = """
import sys
import agent_run_id as ari

def patch_threads():
    from gevent import monkey
    monkey.patch_all()

steps = [patch_threads, ari.patch_stdlib]
for step in steps if sys.argv[1] == "before" else steps[::-1]:
    step()

import subprocess, threading
from concurrent.futures import ThreadPoolExecutor
from tests.far_side import here, in_a_thread

def kept():
    with ari.RunContext(ari.RunId.generate()) as run:
        token = run.run_id.token
        return [
            in_a_thread(threading.Thread) == token,
            in_a_thread(lambda target: threading.Timer(0, target)) == token,
            pool.submit(here).result() == token,
            subprocess.check_output(command, text=True).strip() == token,
        ]

command = [sys.executable, "-c", "import agent_run_id as ari; print(getattr(ari.current_run_id(), 'token', None))"]
with ari.RunContext(ari.RunId.generate()):
    pool = ThreadPoolExecutor(1)
    pool.submit(int).result()
print(kept(), pool.submit(here).result(), in_a_thread(threading.Thread))
ari.patch_stdlib()  # looks for what has come meanwhile
print(kept())
ari.unpatch_stdlib()
ari.unpatch_stdlib()
print(kept())
"""


@pytest.mark.parametrize("when", ["before", "after"])
def test_under_gevent(when: str) -> None:
    """Greenlets in place of threads. A `subprocess` that came after us is found by the next call."""
    said = run_program(GEVENT, when, options=("-W", "default"), env={"PYTHONPATH": ROOT}).splitlines()
    assert said == [
        f"{[True, True, True, when == 'before']} None None",
        "[True, True, True, True]",
        "[False, False, False, False]",
    ]
