"""What does recording cost beside busy threads? A recorded run beside an OpenTelemetry span, and how flat memory stays.

Usage: ``python benchmarks/recording.py [--quick] [--json FILE]``

Each run does 200 µs of work; beside it 0, 1 or 4 threads compute without end. Blocks of the bare work, of the work in a
recorded run, and of the work in a span of OpenTelemetry with its batch processor (the exporter drops everything) take
turns, in an order that changes; what is reported is what a run or a span *adds* to the bare work, as the median over
neighbouring blocks, which the interpreter's switching makes noisy. One append is timed by itself, its p99 over all
blocks. Ours is in the kernel when the call returns; a span is lost by a kill until its batch has gone out.
"""

import argparse
import gc
import json
import os
import tempfile
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from statistics import mean, median, quantiles, stdev

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import Tracer
from tables import about, show

import agent_run_id as ari
from agent_run_id.journal import current_journal

WORK_US = 200
BLOCK = 400  # long enough that the switching of threads, 5 ms each, comes to little at its two ends
Row = dict[str, str | int | float]


class Dropping(SpanExporter):
    """Takes spans and forgets them: their best case."""

    def export(self, spans: object) -> SpanExportResult:
        """Forget them."""
        return SpanExportResult.SUCCESS


def spin(count: int) -> None:
    """Compute."""
    for _ in range(count):
        pass


def calibrated() -> int:
    """How many rounds of `spin` are 200 µs here, while nothing else computes."""
    count = 20_000
    best = min(timed(lambda: spin(count)) for _ in range(50))
    return round(count * WORK_US / best)


def timed(work: Callable[[], object]) -> float:
    """Microseconds."""
    begin = time.perf_counter()
    work()
    return (time.perf_counter() - begin) * 1e6


def blocks(count: int) -> tuple[Callable[[], None], Callable[[], None]]:
    """A block of the bare work, and one with a run around each."""

    def bare() -> None:
        for _ in range(BLOCK):
            spin(count)

    def ours() -> None:
        for _ in range(BLOCK):
            with ari.start_run("run"):
                spin(count)

    return bare, ours


def spans(tracer: Tracer, count: int) -> Callable[[], None]:
    """A block with a span around each."""

    def theirs() -> None:
        for _ in range(BLOCK):
            with tracer.start_as_current_span("run"):
                spin(count)

    return theirs


def _mean(figures: list[float]) -> str:
    return f"{mean(figures):.0f} ± {stdev(figures) / len(figures) ** 0.5:.0f}"


def append(taken: list[float], count: int) -> None:
    """Time single appends, with work between them."""
    run = ari.current_run()
    for _ in range(BLOCK):
        spin(count)
        taken.append(timed(lambda: run.step("step")))


@contextmanager
def computing(threads: int) -> Generator[None]:
    """So many threads that compute without end."""
    stop = threading.Event()

    def compute() -> None:
        while not stop.is_set():
            spin(10_000)

    spinners = [threading.Thread(target=compute) for _ in range(threads)]
    for spinner in spinners:
        spinner.start()
    try:
        yield
    finally:
        stop.set()
        for spinner in spinners:
            spinner.join()


def beside(threads: int, seconds: float, count: int) -> Row:
    """What a run and a span add, beside so many threads that compute."""
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(Dropping()))
    works = [*blocks(count), spans(provider.get_tracer("bench"), count)]
    taken: list[list[float]] = [[] for _ in works]
    appends: list[float] = []
    with computing(threads), ari.start_run("outer"):
        end = time.perf_counter() + seconds
        while len(taken[0]) < 10 or time.perf_counter() < end:
            turn = len(taken[0])
            for place in range(turn, turn + len(works)):
                taken[place % len(works)].append(timed(works[place % len(works)]) / BLOCK)
            append(appends, count)
    provider.shutdown()
    floor, run, span = taken
    added = [one - other for one, other in zip(run, floor, strict=True)]
    theirs = [one - other for one, other in zip(span, floor, strict=True)]
    return {
        "threads beside": threads,
        "bare work µs": f"{median(floor):.0f}",
        "a run adds µs": f"{median(added):.1f}",
        "a span adds µs": f"{median(theirs):.1f}",
        "means, ± standard error": f"{_mean(added)} / {_mean(theirs)}",
        "append p50 µs": f"{median(appends):.1f}",
        "append p99 µs": f"{quantiles(appends, n=100)[98]:.1f}",
        "appends": len(appends),
        "blocks": len(floor),
    }


def memory(children: int) -> Row:
    """How much the program grows while so many children of one root begin and end."""

    def resident() -> float:
        gc.collect()
        fields = Path("/proc/self/statm").read_text().split()
        return int(fields[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6

    with ari.start_run("root"):
        for _ in range(children // 20):
            with ari.start_run("child"):
                pass
        before = resident()
        begin = time.perf_counter()
        for _ in range(children):
            with ari.start_run("child"):
                pass
        took = time.perf_counter() - begin
        grown = resident() - before
    return {"children": children, "grown MB": f"{grown:.2f}", "µs a child": f"{took * 1e6 / children:.2f}"}


def main() -> None:
    """Measure, print, and keep the figures if asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="shorter, noisier")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures here")
    chosen = parser.parse_args()
    place = about("opentelemetry-sdk")
    print(" · ".join(f"{key}: {value}" for key, value in place.items()), end="\n\n")
    with tempfile.TemporaryDirectory() as directory:
        ari.configure(directory=directory, retention_bytes=512 * 1024 * 1024)
        count = calibrated()
        # Beside four threads the interpreter comes back after 20 ms or so: it takes longer to see anything.
        lasts = {0: 4, 1: 4, 4: 8} if chosen.quick else {0: 30, 1: 40, 4: 150}
        rows = [beside(threads, seconds, count) for threads, seconds in lasts.items()]
        show(rows)
        flat = [memory(50_000 if chosen.quick else 1_000_000)]
        show(flat)
        print(current_journal().accounts()._replace(directory=None))
    if chosen.json:
        chosen.json.write_text(json.dumps({"about": place, "beside": rows, "memory": flat}, indent=2) + "\n")


if __name__ == "__main__":
    main()
