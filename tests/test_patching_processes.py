"""patch_stdlib: processes, by whatever call of the standard library they are started."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import threading
from multiprocessing.managers import BaseManager
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

import agent_run_id as ari
from agent_run_id import RunContext, RunId, child_env, patching
from tests.alone import METHODS, ROOT, a_run, alone, patched
from tests.conftest import BACKENDS
from tests.far_side import Overriding, here, put

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

TELL = "import agent_run_id as ari; run_id = ari.current_run_id(); print(run_id.token if run_id else '')"
COMMAND = [sys.executable, "-c", TELL]


@alone
@METHODS
def test_a_process_runs_in_the_run_current_at_its_start(method: str) -> None:
    context: Any = multiprocessing.get_context(method)
    multiprocessing.set_start_method(method)
    results = context.SimpleQueue()
    kinds = (context.Process, multiprocessing.Process, lambda **made: ari.BoundProcess(context=context, **made))

    def seen(started: Any) -> Any:
        started.start()
        found = results.get()
        started.join()
        assert started.exitcode == 0
        assert "run" not in vars(started)
        return found

    with patched():
        for kind in kinds:
            with RunContext(a_run()):
                made = kind(target=put, args=(results,))
            with RunContext(a_run()) as run:
                assert run.run_id is not None
                assert seen(made) == run.run_id.token
                assert seen(kind(target=ari.isolated(put), args=(results,))) is None
            assert seen(kind(target=put, args=(results,))) is None


@alone
def test_a_child_that_is_no_fork_is_the_same_program_and_has_the_same_settings() -> None:
    ari.configure(directory="/tmp/of-the-parent")
    results = multiprocessing.get_context("spawn").SimpleQueue()
    with patched(), RunContext(a_run()) as run:
        started = Overriding(results)
        started.start()
        seen = results.get()
        started.join()
    assert run.run_id is not None
    assert seen == (run.run_id.token, run.run_id.token, "/tmp/of-the-parent")


# Other programs


def told(env: Mapping[str, str] | None = None) -> str | None:
    """The run that a child process joins."""
    done = subprocess.run(COMMAND, env=env, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.strip() or None


@alone
def test_a_subprocess_joins_the_run_current_at_its_start() -> None:
    before = dict(os.environ)
    another = child_env(AGENT_RUN_ID=a_run().token)
    with patched(), RunContext(a_run()) as run:
        assert run.run_id is not None
        token = run.run_id.token
        assert told() == token
        assert told({**os.environ, "X": "1"}) == token
        assert told(os.environ) == token
        assert told(child_env()) == token
        assert told(another) == another["AGENT_RUN_ID"], "an explicit choice"
        assert told({"PATH": os.defpath}) is None, "an environment somebody has put together"
        assert told({}) is None
        with RunContext(None):
            assert told() is None
        positional: Any = (COMMAND, -1, None, None, subprocess.PIPE, None, None, True, False, None, None)
        with subprocess.Popen(*positional) as started:
            assert started.communicate()[0].decode().strip() == token
    assert dict(os.environ) == before


JOINED = """
import os, sys
import agent_run_id as ari
from tests.test_patching_processes import told

ari.patch_stdlib()
with ari.start_run("below") as run:
    assert told() == run.id.token
    assert told({"PATH": os.defpath, "AGENT_RUN_ID": os.environ["AGENT_RUN_ID"]}) == run.id.token, "copied, and stale"
    without = {name: value for name, value in os.environ.items() if name != "AGENT_RUN_ID"}
    assert told(without) is None, "taken out on purpose"
    with ari.RunContext(None):
        assert told() is None, "nothing stale"
        assert told(dict(os.environ)) is None
assert told() == os.environ["AGENT_RUN_ID"]
"""


def test_a_subprocess_of_a_subprocess_is_kept_and_nothing_stale_goes_along() -> None:
    with RunContext(a_run()):
        subprocess.run([sys.executable, "-c", JOINED], env=child_env(PYTHONPATH=ROOT), check=True)


names = st.sampled_from(["PATH", "HOME", "X", "AGENT_RUN_DIR", "AGENT_RUN_ID", "TRACEPARENT", "TRACESTATE"])
texts = st.sampled_from(["", "/bin", "off", "runid=1", a_run().token, a_run().token])
environments = st.dictionaries(names, texts)


@given(ours=environments, explicit=st.none() | environments, copied=st.booleans(), inside=st.booleans())
def test_a_child_gets_the_current_run_what_it_was_given_or_nothing(
    *, ours: dict[str, str], explicit: dict[str, str] | None, copied: bool, inside: bool
) -> None:
    """And what the caller has changed of a copy of our environment stays as the caller has it."""
    before = dict(os.environ)
    given_ = explicit if explicit is None or not copied else {**ours, **explicit}
    try:
        os.environ.clear()
        os.environ.update(ours)
        with RunContext(a_run() if inside else None) as run:
            made = patching._environment(COMMAND, given_)
    finally:
        os.environ.clear()
        os.environ.update(before)
    env = ours if made is None else made
    current = run.run_id.token if run.run_id else None
    if given_ is None:
        assert env.get("AGENT_RUN_ID") == current
    else:
        assert env.get("AGENT_RUN_ID") in (current, given_.get("AGENT_RUN_ID"))
        assert {name: env.get(name) for name, value in given_.items() if ours.get(name) != value} == {
            name: value for name, value in given_.items() if ours.get(name) != value
        }
        if given_.get("AGENT_RUN_ID") != ours.get("AGENT_RUN_ID"):
            assert made is given_


@pytest.mark.parametrize("env", [[("A", "b")], {b"A": b"b"}, 5, "text", {"TRACESTATE": b"runid=1"}, {"A": 1}])
def test_what_is_no_environment_is_left_to_subprocess(env: Any) -> None:
    with RunContext(a_run()):
        assert patching._environment(COMMAND, env) is env
        complete = {**os.environ, "A": 1}
        assert patching._environment(None, complete)["A"] == 1


def test_a_pool_of_anyio_gets_no_run_for_life() -> None:
    with RunContext(a_run()):
        assert patching._environment([sys.executable, "-u", "-m", "anyio.to_process"], None) is None


@alone
@pytest.mark.parametrize("backend", [each.id for each in BACKENDS if each.id != "uvloop"])
def test_the_processes_of_event_loops_join(backend: str) -> None:
    async def main() -> None:
        with RunContext(a_run()) as run:
            done = [(await anyio.run_process(COMMAND)).stdout]
            if name == "trio":
                import trio

                done.append((await trio.run_process(COMMAND, capture_stdout=True)).stdout)
            else:
                import asyncio

                pipe = asyncio.subprocess.PIPE
                started = await asyncio.create_subprocess_exec(*COMMAND, stdout=pipe)
                done.append((await started.communicate())[0])
            assert run.run_id is not None
            assert [each.decode().strip() for each in done] == [run.run_id.token] * 2

    (found,) = (each.values[0] for each in BACKENDS if each.id == backend)
    name: Any
    name, options = found
    with patched():
        anyio.run(main, backend=name, backend_options=options)


# Workers, which serve many and belong to none


@alone
def test_workers_of_other_pools_and_servers_are_in_no_run() -> None:
    import anyio.to_process
    import joblib

    async def main() -> None:
        with RunContext(a_run()):
            await anyio.to_process.run_sync(int)
            await anyio.to_thread.run_sync(int)
        with RunContext(a_run()) as run:
            assert (await anyio.to_thread.run_sync(ari.current_run_id)) is run.run_id
        assert await anyio.to_process.run_sync(here) is None

    with patched():
        for backend in ("asyncio", "trio"):
            anyio.run(main, backend=backend)
        with RunContext(a_run()):
            joblib.Parallel(n_jobs=2, backend="loky")([joblib.delayed(int)()] * 2)
        assert joblib.Parallel(n_jobs=2, backend="loky")([joblib.delayed(ari.current_run_id)()] * 2) == [None] * 2


class Watched:
    """Something that a thread of the library handles, and that sees in which run."""

    seen: list[RunId | None]

    def __init__(self, seen: list[RunId | None]) -> None:
        self.seen = seen

    def __reduce__(self) -> Any:
        self.seen.append(ari.current_run_id())
        return (int, ())


class Calls(BaseManager):
    """A process that serves calls."""

    here: Any


Calls.register("here", callable=here)


@alone
def test_threads_that_serve_the_library_are_in_no_run() -> None:
    import logging
    import logging.handlers
    import queue
    import socket
    import socketserver
    from multiprocessing.pool import Pool

    seen: list[RunId | None] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append(ari.current_run_id())

    def items_seen() -> Iterator[str]:
        seen.append(ari.current_run_id())
        yield "1"

    class Served(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            seen.append(ari.current_run_id())
            self.request.sendall(b".")

    records: queue.Queue[Any] = queue.Queue()
    with patched(), RunContext(a_run()):
        listener = logging.handlers.QueueListener(records, Handler())
        listener.start()
        records.put(logging.makeLogRecord({}))
        listener.stop()

        items: Any = multiprocessing.get_context("fork").Queue()
        items.put(Watched(seen))
        assert items.get() == 0
        items.close()
        items.join_thread()

        with Pool(1) as pool:
            pool.apply_async(int, (), {}, callback=lambda _: seen.append(ari.current_run_id())).get()
            list(pool.imap(int, items_seen()))

        with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Served) as server:
            serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
            serving.start()
            with socket.create_connection(("127.0.0.1", server.server_address[1])) as client:
                assert client.recv(1) == b"."
            server.shutdown()
            serving.join()

        with Calls(ctx=multiprocessing.get_context("fork")) as serving_calls:
            seen.append(serving_calls.here()._getvalue())
    assert seen == [None] * 6


LEAVING = """
import atexit, sys, threading, _thread
import agent_run_id as ari
if sys.argv[1] == "patched":
    ari.patch_stdlib()
ari.RunContext(ari.RunId.generate()).__enter__()

def start(name):
    try:
        thread = threading.Thread(target=lambda: print(name, "ran"))
        thread.start()
        thread.join()
        print(name, "ended", sorted(set(vars(thread)) & {"run"}))
    except BaseException as error:
        print(name, repr(error))

class Late:
    def __del__(self):
        start("in a finaliser")

if sys.version_info >= (3, 12):  # before, no thread gets anywhere there
    sys.modules["kept to the end"] = Late()
atexit.register(start, "at exit")
done = _thread.allocate_lock()
done.acquire()

def dummy():
    print(type(threading.current_thread()).__name__, ari.current_run_id())
    start("from a dummy")
    done.release()

_thread.start_new_thread(dummy, ())
done.acquire()
daemon = threading.Thread(target=threading.Event().wait, daemon=True)
daemon.start()
start("in main")
"""


def test_leaving_the_interpreter_is_as_without_us() -> None:
    said = [
        subprocess.run(
            [sys.executable, "-c", LEAVING, how],
            capture_output=True,
            text=True,
            check=True,
            env=child_env(),
            timeout=60,
        )
        for how in ("plain", "patched")
    ]
    assert (said[1].stdout, said[1].stderr) == (said[0].stdout, said[0].stderr)
    assert "in main ended []" in said[0].stdout
