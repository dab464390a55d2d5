"""Which mechanism should append an event? Times the candidates beside one another, then tries what each leaves behind.

Usage: ``python benchmarks/append.py [--quick] [--json FILE] [--directory DIRECTORY] [--only LETTERS] [--rounds N]``

A run is two appends, its start and its end. Timings are taken in interleaved rounds, so that a slow moment of the
machine falls on every candidate and on the floor, which is the same loop with no append. Beside other threads, three
things must be known to read the figures:

* "Others keep" is the progress of those threads, as a fraction of their progress beside the floor. A mechanism may look
  cheap to its caller because it starves them.
* "Added" is the mean difference of whole runs, and needs many rounds (``--only b --rounds 40``) before a few
  microseconds rise above its standard error.
* "Append mean" has less noise, but is not the whole cost of a mechanism that keeps the lock: its microseconds come out
  of our turns of the lock, so beside n threads each costs up to n + 1.
"""

import argparse
import json
import os
import platform
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import fmean, median, quantiles, stdev

from append_candidates import CANDIDATES, LINE_BYTES, Appender, Nothing, line
from append_safety import Row, after_sigkill, in_signal_handler, on_full_disk

COMPARED: tuple[type[Appender], ...] = (Nothing, *CANDIDATES)
FLOOR = Nothing.name
THREADS = 4


@dataclass(frozen=True, slots=True)
class Effort:
    """How long to measure: rounds, the seconds of each, and the number of trials in child processes."""

    rounds: int
    seconds_alone: float
    seconds_beside: float
    seconds_together: float
    kills: int
    signal_trials: int


FULL = Effort(rounds=5, seconds_alone=0.1, seconds_beside=0.35, seconds_together=0.25, kills=60, signal_trials=4)
QUICK = Effort(rounds=2, seconds_alone=0.05, seconds_beside=0.15, seconds_together=0.1, kills=10, signal_trials=1)


@dataclass(frozen=True, slots=True)
class Sample:
    """One candidate in one round: microseconds a run and of each single append, and the spinners' loops a second."""

    run: float
    appends: list[float]
    spun: float = 0.0


# -- the work beside which we append ----------------------------------------------------------------------------------


def burn(loops: int) -> int:
    """Hold a processor with pure Python."""
    total = 0
    for i in range(loops):
        total += i & 7
    return total


def loops_for(microseconds: float) -> int:
    """How many loops of `burn` take that long on this machine, undisturbed."""
    trial = 20_000
    best = float("inf")
    for _ in range(20):
        start = time.perf_counter()
        burn(trial)
        best = min(best, time.perf_counter() - start)
    return max(0, round(trial * microseconds / (best * 1e6)))


@contextmanager
def spinners(count: int) -> Iterator[Callable[[], int]]:
    """Keep that many threads busy with pure Python; yields a reader of how far they came together."""
    stop = threading.Event()
    progress = [0] * count

    def spin(index: int) -> None:
        while not stop.is_set():
            burn(1000)
            progress[index] += 1

    threads = [threading.Thread(target=spin, args=(index,)) for index in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield lambda: sum(progress)
    finally:
        stop.set()
        for thread in threads:
            thread.join()


@contextmanager
def opened(kind: type[Appender], directory: Path) -> Iterator[Appender]:
    """A candidate on a new file, removed afterwards."""
    path = directory / "timed"
    appender = kind()
    appender.open(path)
    try:
        yield appender
    finally:
        appender.close()
        path.unlink(missing_ok=True)


def interleaved(rounds: int, measure: Callable[[type[Appender]], Sample]) -> dict[str, list[Sample]]:
    """Measure every candidate once a round, each round beginning with another one."""
    samples: dict[str, list[Sample]] = {kind.name: [] for kind in COMPARED}
    for turn in range(rounds):
        first = turn % len(COMPARED)
        for kind in COMPARED[first:] + COMPARED[:first]:
            samples[kind.name].append(measure(kind))
    return samples


# -- scenarios --------------------------------------------------------------------------------------------------------


def time_runs(appender: Appender, loops: int, seconds: float) -> Sample:
    """Runs of two appends with work in between, for that many seconds, every append timed."""
    append, event, clock = appender.append, line(0), time.perf_counter_ns
    taken: list[int] = []
    begin = now = clock()
    end = begin + int(seconds * 1e9)
    while now < end:
        start = clock()
        append(event)
        taken.append(clock() - start)
        burn(loops)
        start = clock()
        append(event)
        now = clock()
        taken.append(now - start)
    return Sample((now - begin) / (len(taken) / 2) / 1e3, [nanoseconds / 1e3 for nanoseconds in taken])


def time_pairs(appender: Appender, seconds: float) -> float:
    """Microseconds of two appends and nothing else, no clock in between."""
    append, event, clock = appender.append, line(0), time.perf_counter_ns
    pairs = 0
    begin = now = clock()
    end = begin + int(seconds * 1e9)
    while now < end:
        for _ in range(200):
            append(event)
            append(event)
        pairs += 200
        now = clock()
    return (now - begin) / pairs / 1e3


def alone(directory: Path, effort: Effort) -> list[Row]:
    """A run's two appends with nothing beside them."""

    def measure(kind: type[Appender]) -> Sample:
        with opened(kind, directory) as appender:
            pairs = time_pairs(appender, effort.seconds_alone)
            return Sample(pairs, time_runs(appender, 0, effort.seconds_alone).appends)

    samples = interleaved(effort.rounds, measure)
    floor = median(sample.run for sample in samples[FLOOR])
    return [
        {
            "mechanism": name,
            "x floor": median(sample.run for sample in taken) / floor,
            "µs a run": median(sample.run for sample in taken),
            "append median µs": median(median(sample.appends) for sample in taken),
            "append p99 µs": median(p99(sample.appends) for sample in taken),
            "append worst µs": max(max(sample.appends) for sample in taken),
        }
        for name, taken in samples.items()
    ]


def beside(directory: Path, effort: Effort, *, threads: int, work: float) -> list[Row]:
    """Runs with work in between, beside threads that never stop computing."""
    loops = loops_for(work)
    # One turn of the interpreter lock takes a switch interval for each thread: a round must hold many turns.
    seconds = effort.seconds_beside * (0.4 if not work else 1 if threads == 1 else 2.4)
    with spinners(threads) as progress:

        def measure(kind: type[Appender]) -> Sample:
            with opened(kind, directory) as appender:
                before, begin = progress(), time.perf_counter()
                sample = time_runs(appender, loops, seconds)
                spun = (progress() - before) / (time.perf_counter() - begin)
                return replace(sample, spun=spun)

        samples = interleaved(effort.rounds, measure)
    return [_beside_row(name, taken, samples[FLOOR]) for name, taken in samples.items()]


def _beside_row(name: str, taken: list[Sample], floors: list[Sample]) -> Row:
    added = [sample.run - floor.run for sample, floor in zip(taken, floors, strict=True)]
    every = [duration for sample in taken for duration in sample.appends]
    return {
        "mechanism": name,
        "x floor": fmean(sample.run for sample in taken) / fmean(floor.run for floor in floors),
        "added µs a run": fmean(added),
        "± std. error": stdev(added) / len(added) ** 0.5,
        "append mean µs": fmean(every),
        "append p99 µs": p99(every),
        "stalled over 1 ms, %": 100 * sum(duration > 1000 for duration in every) / len(every),
        "others keep": median(sample.spun for sample in taken) / median(floor.spun for floor in floors),
    }


def together(directory: Path, effort: Effort) -> list[Row]:
    """Four threads recording at once, each with 50 µs of work between its appends."""
    loops = loops_for(50)
    four: dict[str, list[float]] = {kind.name: [] for kind in COMPARED}
    one: dict[str, list[float]] = {kind.name: [] for kind in COMPARED}
    for turn in range(effort.rounds):
        first = turn % len(COMPARED)
        for kind in COMPARED[first:] + COMPARED[:first]:
            with opened(kind, directory) as appender:
                four[kind.name].append(throughput(appender, loops, THREADS, effort.seconds_together))
                one[kind.name].append(throughput(appender, loops, 1, effort.seconds_together))
    return [
        {
            "mechanism": name,
            "of the floor's four": median(rates) / median(four[FLOOR]),
            "of its own one": median(rates) / median(one[name]),
            "of the floor's one": median(rates) / median(one[FLOOR]),
            "events/s, four": round(median(rates)),
            "events/s, one": round(median(one[name])),
        }
        for name, rates in four.items()
    ]


def throughput(appender: Appender, loops: int, threads: int, seconds: float) -> float:
    """Events a second of that many threads, each appending and working in turn."""
    counts = [0] * threads
    ready = threading.Barrier(threads + 1)

    def record(index: int) -> None:
        append, event = appender.append, line(index)
        ready.wait()
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            append(event)
            burn(loops)
            counts[index] += 1

    workers = [threading.Thread(target=record, args=(index,)) for index in range(threads)]
    for worker in workers:
        worker.start()
    ready.wait()
    begin = time.perf_counter()
    for worker in workers:
        worker.join()
    return sum(counts) / (time.perf_counter() - begin)


def p99(durations: list[float]) -> float:
    """The duration that one in a hundred exceeds."""
    return quantiles(durations, n=100)[-1]


# -- the report -------------------------------------------------------------------------------------------------------


def machine(directory: Path) -> dict[str, str]:
    """Where the figures were taken."""
    return {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "machine": f"{os.cpu_count()} cores, {platform.system()} {platform.release()} {platform.machine()}",
        "file system": file_system(directory),
        "load before": f"{os.getloadavg()[0]:.2f}",
        "switch interval": f"{sys.getswitchinterval() * 1e3:g} ms",
        "line": f"{LINE_BYTES} bytes",
    }


def file_system(directory: Path) -> str:
    """The type of the file system under the directory, where the system tells."""
    mounts = Path("/proc/self/mounts")
    if not mounts.exists():
        return "unknown"
    mounted = [entry.split()[1:3] for entry in mounts.read_text().splitlines()]
    around = [(point, kind) for point, kind in mounted if directory.resolve().is_relative_to(point)]
    return max(around, key=lambda entry: len(entry[0]))[1]


def cell(value: str | float) -> str:
    """A figure with three digits that matter, or the text itself."""
    if isinstance(value, float):
        return f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}" if abs(value) < 100 else f"{value:.0f}"
    return str(value)


def show(title: str, rows: list[Row]) -> None:
    """Print the rows as an aligned table, which is Markdown as well."""
    cells = [list(rows[0]), *([cell(value) for value in row.values()] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    padded = [[text.ljust(width) for text, width in zip(row, widths, strict=True)] for row in cells]
    lines = [f"| {' | '.join(row)} |" for row in padded]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    print(f"\n{title}\n", lines[0], rule, *lines[1:], sep="\n", flush=True)


def scenarios(directory: Path, effort: Effort) -> dict[str, Callable[[], list[Row]]]:
    """What is measured, by title."""
    beside_threads = partial(beside, directory, effort)
    trials = effort.signal_trials
    return {
        "a. Alone: two appends, no work in between": partial(alone, directory, effort),
        "b. Beside 1 CPU-bound thread, 200 µs of work a run": partial(beside_threads, threads=1, work=200),
        "b. Beside 4 CPU-bound threads, 200 µs of work a run": partial(beside_threads, threads=4, work=200),
        "b. Beside 1 CPU-bound thread, no work in between": partial(beside_threads, threads=1, work=0),
        "c. 4 threads recording at once, 50 µs of work between appends": partial(together, directory, effort),
        "d. What SIGKILL leaves": partial(after_sigkill, directory, kills=effort.kills),
        "e. A full disk": partial(on_full_disk, directory),
        "f. A signal handler that records": partial(in_signal_handler, directory, trials=trials, seconds=0.3),
    }


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer rounds, noisier figures")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures here")
    parser.add_argument("--directory", type=Path, help="write the files here, for another file system")
    parser.add_argument("--only", default="abcdef", metavar="LETTERS", help="these scenarios alone")
    parser.add_argument("--rounds", type=int, metavar="N", help="interleaved rounds, at least 2")
    return parser.parse_args()


def main() -> None:
    """Measure, print, and keep the figures if asked."""
    chosen = arguments()
    effort = QUICK if chosen.quick else FULL
    effort = replace(effort, rounds=chosen.rounds or effort.rounds)
    with tempfile.TemporaryDirectory(prefix="append-", dir=chosen.directory) as name:
        about = machine(Path(name))
        print(" · ".join(f"{key}: {value}" for key, value in about.items()))
        tables = {}
        for title, measure in scenarios(Path(name), effort).items():
            if title[0] in chosen.only:
                tables[title] = measure()
                show(title, tables[title])
    about["load after"] = f"{os.getloadavg()[0]:.2f}"
    print(f"\nload after: {about['load after']} (we make 1 to 2; with more, others disturb the figures)")
    if chosen.json:
        chosen.json.write_text(json.dumps({"about": about, "tables": tables}, indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
