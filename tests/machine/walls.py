"""The walls that programs of the machine cross, each with the call that does it and what the far side then sees."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

__all__ = ["GENERATORS", "HERE", "JOINED", "NOBODY", "OWN", "STRANGERS", "WALLS", "Generator", "Wall"]

HERE: Final = "here"
NOBODY: Final = "nobody"
STRANGERS: Final = "stranger"
OWN: Final = "own"
"""A run that the call starts, under the one that is current."""
JOINED: Final = "joined"
"""The run that the process joined through its environment, if any."""


class _Named:
    name: str

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:  # noqa: FBT001 - as hypothesis calls it
        del cycle
        printer.text(f"<{self.name}>")


@dataclass(frozen=True)
class Wall(_Named):
    """One way over a wall.

    Attributes:
        name: What is crossed, and how.
        call: The lines to write, with `{f}` for the function beyond, and `{run}` for the name of a run of its own.
        sees: What is current beyond, of the words above.
        awaits: Whether the call is awaited, so that it takes a coroutine function to write it in.
        is_async: Whether the function beyond is a coroutine function.
        is_away: Whether that is in another process.
        at_home: Whether it takes the workers of the stage, which are those of the process that the program began in.
        in_loop: Whether it takes the event loop that the program began in.
        keeps_loop: Whether what is beyond is in that event loop, too.
        raises: Whether an exception comes back.
        cancels: Whether cancellation gets there, and back.
        ends: How a run of its own ends.
        runs_as: What that is called.
        is_late: Whether the function is called when all else is over.
        backend: The event loop that has it; None for any.
        is_slow: Whether it takes a new interpreter.
        patched: Whether what is current is seen beyond while the standard library is patched.
        hands_patches_on: Whether the standard library is patched beyond where it is here.
    """

    name: str
    call: str
    sees: str = HERE
    awaits: bool = False
    is_async: bool = False
    is_away: bool = False
    at_home: bool = False
    in_loop: bool = False
    keeps_loop: bool = False
    raises: bool = True
    cancels: bool = False
    ends: Literal["succeeded", "lost"] = "succeeded"
    runs_as: str = "{run}"
    is_late: bool = False
    backend: str | None = None
    is_slow: bool = False
    patched: bool = False
    hands_patches_on: bool = False


_TASK_GROUP: Final = "async with anyio.create_task_group() as tasks:\n    tasks.start_soon({f})"
_IN_A_STRANGERS: Final = "bound = ari.bind({f})\nwith ari.RunContext(STRANGER):\n    bound()"
_BACK: Final = "await anyio.to_thread.run_sync(functools.partial(anyio.from_thread.run, {f}))"
_IN_EXECUTOR: Final = "await asyncio.get_running_loop().run_in_executor(stage.%s, {f})"

TASKS: Final = [
    Wall("task group", _TASK_GROUP, awaits=True, is_async=True, keeps_loop=True, cancels=True),
    Wall("create_task", "await asyncio.create_task({f}())", awaits=True, is_async=True, keeps_loop=True,
         backend="asyncio"),
    Wall("late task", "stage.late({f})", awaits=True, is_async=True, in_loop=True, keeps_loop=True, raises=False,
         is_late=True),
    Wall("run_each", 'await stage.each("{run}", {f})', OWN, awaits=True, is_async=True, keeps_loop=True),
    Wall("to_thread.run_sync", "await anyio.to_thread.run_sync({f})", awaits=True),
    Wall("asyncio.to_thread", "await asyncio.to_thread({f})", awaits=True, backend="asyncio"),
    Wall("from_thread.run", _BACK, awaits=True, is_async=True, keeps_loop=True),
    Wall("BlockingPortal", "stage.in_portal({f})", is_async=True),
    Wall("run_in_executor, bound", _IN_EXECUTOR % "threads", awaits=True, at_home=True, backend="asyncio"),
    Wall("run_in_executor, plain", _IN_EXECUTOR % "others", NOBODY, awaits=True, at_home=True, backend="asyncio",
         patched=True),
]  # fmt: skip

THREADS: Final = [
    Wall("BoundThread", "stage.run_thread(ari.BoundThread(target={f}))", raises=False),
    Wall("BoundThread, overridden", "stage.run_thread(stage.subclass({f}))", raises=False),
    Wall("BoundTimer", "stage.run_thread(ari.BoundTimer(0, {f}))", raises=False),
    Wall("Thread, plain", "stage.run_thread(threading.Thread(target={f}))", NOBODY, raises=False, patched=True),
    Wall("Thread, bind", "stage.run_thread(threading.Thread(target=ari.bind({f})))", raises=False),
    Wall("thread pool, bound", "stage.threads.submit({f}).result()", at_home=True),
    Wall("thread pool, bound, map", "list(stage.threads.map(operator.call, [{f}]))", at_home=True),
    Wall("thread pool, wrapped", "stage.wrapped.submit({f}).result()", at_home=True),
    Wall("thread pool, bind", "stage.others.submit(ari.bind({f})).result()", at_home=True),
    Wall("thread pool, plain", "stage.others.submit({f}).result()", NOBODY, at_home=True, patched=True),
    Wall("greenlet, bind", "stage.in_greenlet(ari.bind({f}))"),
]

CALLS: Final = [
    Wall("bind", _IN_A_STRANGERS),
    Wall("isolated", "ari.isolated({f})()", NOBODY),
    Wall("copy_context", "contextvars.copy_context().run({f})"),
    Wall("traced", 'ari.traced(name="{run}")({f})()', OWN),
    Wall("traced coroutine", 'await ari.traced(name="{run}")({f})()', OWN, awaits=True, is_async=True, keeps_loop=True,
         cancels=True),
]  # fmt: skip

QUEUES: Final = [
    Wall("queue, carried", "stage.queued({f})", at_home=True),
    Wall("queue, not carried", "stage.queued_bare({f})", NOBODY, at_home=True),
    Wall("queue, plain", "stage.queued_plainly({f})", STRANGERS, at_home=True),
    Wall("memory stream, carried", "await stage.streamed({f})", awaits=True, is_async=True, in_loop=True,
         keeps_loop=True, raises=False),
    Wall("hand_off and accept", 'stage.hand_off("{run}", {f})', OWN, at_home=True),
]  # fmt: skip

WIRES: Final = [
    *(
        # An edge, which drops what a process joined.
        Wall(f"carriers.{name}", f"stage.over(ari.carriers.{name}, {{f}})", at_home=True)
        for name in ("headers", "query", "body", "environ", "mcp", "kafka")
    ),
    Wall("HTTP request", 'await stage.http("{run}", {f})', OWN, awaits=True, is_async=True, at_home=True,
         keeps_loop=True, runs_as="GET /{run}"),
]  # fmt: skip

PROCESSES: Final = [
    Wall("process pool, fork, bound", "stage.forked.submit({f}).result()", is_away=True, at_home=True),
    Wall("process pool, spawn, bound", "stage.spawned.submit({f}).result()", is_away=True, at_home=True),
    Wall("process pool, fork, plain", "stage.stale.submit({f}).result()", STRANGERS, is_away=True, at_home=True,
         patched=True),
    Wall("multiprocessing.Pool, bind", "stage.pool.apply(ari.bind({f}))", is_away=True, at_home=True),
    Wall("BoundProcess, fork", 'stage.process({f}, "fork")', is_away=True, at_home=True, raises=False,
         hands_patches_on=True),
    Wall("BoundProcess, spawn", 'stage.process({f}, "spawn")', is_away=True, at_home=True, raises=False, is_slow=True,
         hands_patches_on=True),
    Wall("anyio.to_process, bind", "await stage.to_process(ari.bind({f}))", awaits=True, is_away=True, at_home=True,
         in_loop=True, is_slow=True),
    Wall("subprocess, child_env", "stage.subprocess({f}, ari.child_env())", is_away=True, raises=False, is_slow=True),
    Wall("subprocess, plain", "stage.subprocess({f}, None)", JOINED, is_away=True, raises=False, is_slow=True,
         patched=True),
    Wall("os.fork", "stage.fork({f})", is_away=True, raises=False, hands_patches_on=True),
    Wall("killed", 'stage.killed("{run}", {f})', OWN, is_away=True, raises=False, ends="lost", hands_patches_on=True),
]  # fmt: skip

WALLS: Final = [*TASKS, *THREADS, *CALLS, *QUEUES, *WIRES, *PROCESSES]


@dataclass(frozen=True)
class Generator(_Named):
    """One way to use a generator that is traced.

    Attributes:
        name: What is done.
        lines: The lines to write; after those with a `#` at their end, the consumer looks what is current.
        is_async: Whether it is an async generator.
        at_home: As for a wall.
        ends: How its run ends, and whether its second half is run at all.
    """

    name: str
    lines: str
    is_async: bool = False
    at_home: bool = False
    ends: Literal["succeeded", "cancelled"] = "succeeded"


_BEGUN: Final = 'steps = ari.traced(name="{run}")({f})()\nnext(steps)#\n'
_BEGUN_ASYNC: Final = 'steps = ari.traced(name="{run}")({f})()\nawait anext(steps)#\n'

GENERATORS: Final = [
    Generator("generator", _BEGUN + "stage.exhaust(steps)"),
    Generator("generator, abandoned", _BEGUN + "del steps", ends="cancelled"),
    Generator("generator, closed elsewhere", _BEGUN + "stage.elsewhere(steps.close)", at_home=True, ends="cancelled"),
    Generator(
        "generator, resumed elsewhere",
        _BEGUN + "stage.elsewhere(functools.partial(stage.exhaust, steps))",
        at_home=True,
    ),
    Generator("async generator", _BEGUN_ASYNC + "async for _ in steps:\n    pass", is_async=True),
    Generator("async generator, abandoned", _BEGUN_ASYNC + "del steps", is_async=True, ends="cancelled"),
    Generator(
        "async generator, closed by another task",
        _BEGUN_ASYNC + "async with anyio.create_task_group() as tasks:\n    tasks.start_soon(stage.aclose, steps)",
        is_async=True,
        ends="cancelled",
    ),
    Generator(
        "async generator, resumed by another task",
        _BEGUN_ASYNC + "with ari.RunContext(STRANGER):\n"
        "    async with anyio.create_task_group() as tasks:\n        tasks.start_soon(stage.drain, steps)",
        is_async=True,
    ),
]
