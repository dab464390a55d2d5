"""What does carrying a run across each wall cost? Times every crossing of ours beside the same thing without us.

Usage: ``python benchmarks/walls.py [--quick] [--json FILE]``

Each row alternates blocks of about a millisecond, one of the floor and one of ours, and the order changes every time. A
figure is the median over pairs of neighbouring blocks, so a slow moment of the machine falls on both, or on a pair that
the median does not see; its spread is the quartiles. Everything but the floors happens inside a run, and nothing is
recorded. The collector of garbage stays on: whoever makes more of it pays for it. Nothing here fails by being slow.
"""

import argparse
import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median, quantiles
from typing import Literal

from tables import about, show

import agent_run_id as ari

BATCH = 100
BLOCK_SECONDS = 0.001
FULL_SECONDS, QUICK_SECONDS = 2.8, 0.6  # for each row
RUN = ari.RunId.generate()
in_run = ari.RunContext(RUN)  # all of some work in a run, when it decorates that

Work = Callable[[int], None]
AsyncWork = Callable[[int], Awaitable[None]]
Row = dict[str, str | int]


@dataclass(frozen=True, slots=True)
class Case:
    """One row: two pieces of work, of as many operations as they are told, and how they are compared."""

    title: str
    floor: Work
    ours: Work
    unit: Literal["x", "µs"]
    target: float | None = None


# -- what is called ---------------------------------------------------------------------------------------------------


def noop() -> None:
    """Nothing: what is left is the cost of getting there."""


async def coroutine() -> None:
    """Nothing, and without suspending."""


async def bare_task() -> None:
    """Suspend once."""
    await asyncio.sleep(0)


async def scoped_task() -> None:
    """Suspend once, inside a run."""
    with ari.RunContext(RUN):
        await asyncio.sleep(0)


def items(count: int) -> Iterator[int]:
    """Yield that many items, with no work between them."""
    for i in range(count):  # noqa: UP028 - as the async one has to
        yield i


async def async_items(count: int) -> AsyncIterator[int]:
    """Yield that many items, with no work between them."""
    for i in range(count):
        yield i


# -- how it is called, many times -------------------------------------------------------------------------------------


def calls(fn: Callable[[], object]) -> Work:
    """Call it again and again."""

    def work(count: int) -> None:
        for _ in range(count):
            fn()

    return work


def submits(pool: Executor, batch: int) -> Work:
    """Submit a batch and wait for its results, then the next.

    Never one job at a time: that measures whether the worker is done before the caller looks, or a microsecond later,
    when the caller sleeps and takes 60 µs to wake. A subclass whose `submit` only forwards is enough to tip it.
    """

    def work(count: int) -> None:
        for _ in range(count // batch):
            futures = [pool.submit(noop) for _ in range(batch)]
            for future in futures:
                future.result()

    return work


def awaits(fn: Callable[[], Awaitable[object]]) -> AsyncWork:
    """Await its calls, one after the other."""

    async def work(count: int) -> None:
        for _ in range(count):
            await fn()

    return work


def tasks(fn: Callable[[], Coroutine[object, object, None]], batch: int) -> AsyncWork:
    """Start a batch of tasks and wait for all, then the next."""

    async def work(count: int) -> None:
        for _ in range(count // batch):
            started = [asyncio.create_task(fn()) for _ in range(batch)]
            for task in started:
                await task

    return work


def consumes(make: Callable[[int], Iterator[int]]) -> Work:
    """Take that many items from one generator."""

    def work(count: int) -> None:
        for _ in make(count):
            pass

    return work


def aconsumes(make: Callable[[int], AsyncIterator[int]]) -> AsyncWork:
    """Take that many items from one async generator."""

    async def work(count: int) -> None:
        async for _ in make(count):
            pass

    return work


# -- the rows ---------------------------------------------------------------------------------------------------------


def thread_cases(plain: Executor, bound: Executor) -> list[Case]:
    """Crossing into the thread of a pool."""
    title = f"thread pool, {BATCH} at a time"
    return [Case(title, submits(plain, BATCH), in_run(submits(bound, BATCH)), "x", 1.25)]


def task_cases(on_loop: Callable[[AsyncWork], Work]) -> list[Case]:
    """Tasks that enter a run, and tasks that only began in one."""
    cases = []
    for many in (1, BATCH):
        floor, scoped = on_loop(tasks(bare_task, many)), on_loop(tasks(scoped_task, many))
        cases.append(Case(f"task with RunContext, {many} at a time", floor, in_run(scoped), "x", 1.35))
        cases.append(Case(f"task started in a run, {many} at a time", floor, in_run(floor), "x"))
    return cases


def call_cases(on_loop: Callable[[AsyncWork], Work]) -> list[Case]:
    """Calls in the same thread and task, and `bind`."""
    floor, ours = on_loop(awaits(coroutine)), in_run(on_loop(awaits(ari.traced(coroutine))))
    return [
        Case("@traced coroutine, recording off", floor, ours, "µs", 2.0),
        Case("bind(fn)()", calls(noop), calls(ari.bind(noop, run_id=RUN)), "µs"),
        Case("bind(fn) itself, over fn()", calls(noop), in_run(calls(partial(ari.bind, noop))), "µs"),
    ]


def generator_cases(on_loop: Callable[[AsyncWork], Work]) -> list[Case]:
    """Generators, by the item."""
    abare, bare, traced = on_loop(aconsumes(async_items)), consumes(items), ari.traced
    return [
        Case("async generator, @RunContext, an item", abare, on_loop(aconsumes(in_run(async_items))), "µs", 1.5),
        Case("async generator, @traced, an item", abare, in_run(on_loop(aconsumes(traced(async_items)))), "µs", 1.5),
        Case("generator, @RunContext, an item", bare, consumes(in_run(items)), "µs"),
        Case("generator, @traced, an item", bare, in_run(consumes(traced(items))), "µs"),
    ]


# -- measuring --------------------------------------------------------------------------------------------------------


def per_operation(work: Work, count: int) -> float:
    """Microseconds an operation, in a block of that many."""
    begin = time.perf_counter()
    work(count)
    return (time.perf_counter() - begin) * 1e6 / count


def block_size(work: Work) -> int:
    """How many operations take about as long as a block should."""
    best = min(per_operation(work, 200) for _ in range(5))
    return max(1, round(BLOCK_SECONDS * 1e6 / best / BATCH)) * BATCH


def measure(case: Case, seconds: float) -> Row:
    """Alternate floor and ours for that long, at least ten times."""
    sizes = block_size(case.floor), block_size(case.ours)
    floors: list[float] = []
    ours: list[float] = []
    end = time.perf_counter() + seconds
    while len(floors) < 10 or time.perf_counter() < end:
        sides = [(case.floor, sizes[0], floors), (case.ours, sizes[1], ours)]
        for work, count, taken in sides if len(floors) % 2 else reversed(sides):
            taken.append(per_operation(work, count))
    return compared(case, floors, ours)


def compared(case: Case, floors: list[float], ours: list[float]) -> Row:
    """The comparison of neighbouring blocks: quotients, or differences."""
    pairs = zip(ours, floors, strict=True)
    low, middle, high = quantiles([one / other if case.unit == "x" else one - other for one, other in pairs], n=4)
    sign, unit = ("", " x") if case.unit == "x" else ("+", " µs")
    return {
        "wall": case.title,
        "floor µs": f"{median(floors):.2f}",
        "ours µs": f"{median(ours):.2f}",
        "measured": f"{sign}{middle:.2f}{unit}",
        "quartiles": f"{low:.2f} to {high:.2f}",
        "target": "none" if case.target is None else f"≤ {sign}{case.target:g}{unit}",
        "verdict": "reported" if case.target is None else "met" if middle <= case.target else "not met",
        "pairs": len(floors),
    }


# -- the report -------------------------------------------------------------------------------------------------------


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer pairs, noisier figures")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures here")
    return parser.parse_args()


def run(seconds: float) -> list[Row]:
    """Measure every row."""
    with ExitStack() as stack:
        runner = stack.enter_context(asyncio.Runner())
        plain = stack.enter_context(ThreadPoolExecutor(1))
        bound = stack.enter_context(ari.BoundThreadPoolExecutor(1))

        def on_loop(work: AsyncWork) -> Work:
            return lambda count: runner.get_loop().run_until_complete(work(count))

        cases = thread_cases(plain, bound), task_cases(on_loop), call_cases(on_loop), generator_cases(on_loop)
        return [measure(case, seconds) for group in cases for case in group]


def main() -> None:
    """Measure, print, and keep the figures if asked."""
    chosen = arguments()
    ari.configure(directory="off")
    place = about()
    print(" · ".join(f"{key}: {value}" for key, value in place.items()), end="\n\n")
    results = run(QUICK_SECONDS if chosen.quick else FULL_SECONDS)
    show(results)
    place["load after"] = f"{os.getloadavg()[0]:.2f}"
    print(f"\nload after: {place['load after']} (we make 1; with more, others disturb the figures)")
    if chosen.json:
        report = {"about": place, "rows": results}
        chosen.json.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
