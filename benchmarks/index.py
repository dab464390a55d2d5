"""How fast is the index, at a million runs? Rebuild, growth, and every question that a person asks.

Usage: ``python benchmarks/index.py [--quick] [--runs N] [--json FILE]``

Journals are recorded with the library itself: trees of a hundred runs - an agent that calls tools and models, which
get and give texts of 5 to 40 words from a vocabulary of 20,000, frequent as words are -, one tree of 10,000 runs, two
batches of 10,000 items. Then an index is made of them from nothing, and
before that of as many that only have names; what is recorded afterwards, with steps, decisions
and usage between start and end, comes in by portions, with the words indexed after each. The same beside a thread that
computes.
"""

import argparse
import json
import os
import random
import tempfile
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from tables import about, show

import agent_run_id as ari
from agent_run_id.index import Progress

Row = dict[str, str | int | float]
BATCH = 10_000
PORTION = 5_000


class Corpus:
    """Texts whose words are as frequent as words are, about as one over their rank.

    Args:
        words: How many there are.
    """

    def __init__(self, words: int = 20_000) -> None:
        self._random = random.Random(7)  # noqa: S311 - the same every time
        letters = "etaoinshrdlucmfwypvbgk"
        self.words = ["".join(self._random.choices(letters, k=self._random.randint(3, 10))) for _ in range(words)]
        weights = [1 / rank for rank in range(1, words + 1)]
        self._pool = self._random.choices(self.words, weights, k=500_000)

    def text(self) -> str:
        """A text of 5 to 40 words."""
        start = self._random.randrange(len(self._pool) - 40)
        return " ".join(self._pool[start : start + self._random.randint(5, 40)])

    def happens(self, chance: float) -> bool:
        """True so often."""
        return self._random.random() < chance


def tree(corpus: Corpus, runs: int, *, events: bool = False) -> str:
    """Record an agent that calls tools, which call models, and give the id of its run."""
    with ari.start_run(
        "answer", kind="agent", parent=ari.ROOT, user_id="u-17", input={"question": corpus.text()}
    ) as top:
        for _ in range((runs - 1) // 3):
            with ari.start_run("search", kind="tool", input={"query": corpus.text()}) as tool:
                for _ in range(2):
                    call(corpus, events=events)
                tool.end(output=corpus.text())
    return top.id.value


def call(corpus: Corpus, *, events: bool) -> None:
    """Record a call of a model."""
    with ari.start_run("complete", kind="llm", input=corpus.text()) as run:
        if events:
            run.step("prompt built", template=corpus.text())
            run.decide("which model", options=["small", "large"], chosen="small", why=corpus.text())
            run.usage(model="small-1", input_tokens=812, output_tokens=64, cost=0.0003)
        if corpus.happens(0.01):
            run.end(error=f"timeout: {corpus.text()}")
        else:
            run.end(output=corpus.text())


def batch(corpus: Corpus, differing: dict[int, str]) -> str:
    """Record a run of 10,000 items, of which some go otherwise, and give its id."""
    with ari.start_run("nightly", kind="batch", parent=ari.ROOT) as top:
        for number in range(BATCH):
            what = differing.get(number)
            if what != "missing":
                with ari.start_run("invoice", key=f"invoice-{number}", input={"number": number}) as item:
                    item.end(error="no such customer") if what == "failed" else item.end(output="paid")
        for number in (number for number, what in differing.items() if what == "new"):
            with ari.start_run("invoice", key=f"invoice-{BATCH + number}", input={"number": number}):
                pass
    return top.id.value


def bare(runs: int) -> None:
    """Record trees of a hundred runs that say nothing but their names."""
    for _ in range(runs // 100):
        with ari.start_run("answer", kind="agent", parent=ari.ROOT):
            for _ in range(33):
                with ari.start_run("search", kind="tool"):
                    for _ in range(2):
                        with ari.start_run("complete", kind="llm"):
                            pass


def rebuild(directory: str) -> tuple[Row, ari.RunRegistry]:
    """Make an index from nothing."""
    told: list[tuple[float, float]] = []

    def tell(progress: Progress) -> None:
        told.append((progress.done / progress.total, time.perf_counter()))

    registry = ari.RunRegistry(directory, progress=tell)
    begin = time.perf_counter()
    registry.find(limit=1)
    took = time.perf_counter() - begin
    (head, at), tail = next(mark for mark in told if mark[0] >= 0.1), next(mark for mark in told if mark[0] >= 0.9)
    stats = registry.stats()
    size = stats.index_bytes
    searched = time.perf_counter()
    registry.find(text="zzz")
    texts = time.perf_counter() - searched
    grown = registry.stats().index_bytes - size
    row: Row = {
        "runs": stats.runs,
        "journals MB": f"{stats.journal_bytes / 1e6:.0f}",
        "seconds": f"{took:.1f}",
        "runs/s": f"{stats.runs / took:,.0f}",
        "first tenth": f"{stats.runs * head / (at - begin):,.0f}",
        "last tenth": f"{stats.runs * (1 - tail[0]) / (told[-1][1] - tail[1]):,.0f}",
        "index B/run": f"{size / stats.runs:.0f}",
        "words, runs/s": f"{stats.runs / texts:,.0f}",
        "words B/run": f"{grown / stats.runs:.0f}",
        "journal B/run": f"{stats.journal_bytes / stats.runs:.0f}",
    }
    return row, registry


def grow(registry: ari.RunRegistry, corpus: Corpus, portions: int) -> list[float]:
    """Record portions, bring the index and its words up to date after each, and say how many runs that is a second."""
    rates: list[float] = []
    for _ in range(portions):
        before = registry.stats().runs
        for _ in range(PORTION // 100):
            tree(corpus, 100, events=True)
        begin = time.perf_counter()
        registry.find(text="zzz", limit=1)  # which brings the rows and the words up to date
        took = time.perf_counter() - begin
        rates.append((registry.stats().runs - before) / took)
    return rates


def ask(registry: ari.RunRegistry, corpus: Corpus, large: str) -> list[Row]:
    """Time what a person asks, each question with another subject every time."""
    ids = [record.id for record in registry.find(limit=2000)]
    pick = random.Random(3)  # noqa: S311
    asked: dict[str, Callable[[], object]] = {
        "get by 8 characters": lambda: registry.get(pick.choice(ids)[:8]),
        "latest 50 roots, with counts": lambda: registry.roots(limit=50),
        "tree of 10,000 runs": lambda: registry.tree(large),
        "usage of 10,000 runs": lambda: registry.usage(large),
        "find: a frequent word": lambda: registry.find(text=corpus.words[pick.randrange(20)]),
        "find: a word of every twentieth run": lambda: registry.find(text=corpus.words[pick.randrange(40, 200)]),
        "find: a word of the middle": lambda: registry.find(text=corpus.words[pick.randrange(500, 1000)]),
        "find: a rare word": lambda: registry.find(text=corpus.words[pick.randrange(10_000, 20_000)]),
        "find: a word that nobody said": lambda: registry.find(text="zzz"),
        "find: two words and failed": lambda: registry.find(text=f"timeout {corpus.words[9]}", status="failed"),
        "find: latest 100 failed": lambda: registry.find(status="failed"),
        "find: name": lambda: registry.find(name="nightly"),
        "find: key": lambda: registry.find(key=f"invoice-{pick.randrange(BATCH)}"),
        "find: user, 100 of all": lambda: registry.find(user_id="u-17"),
        "find: failed, under one": lambda: registry.find(status="failed", under=large),
        "nothing new": lambda: registry.find(limit=1),
    }
    rows: list[Row] = []
    for what, act in asked.items():
        act()
        times = sorted(timed(act) for _ in range(15))
        rows.append({"question": what, "median ms": f"{median(times):.2f}", "worst of 15": f"{times[-1]:.2f}"})
    return rows


def timed(act: Callable[[], object]) -> float:
    """Milliseconds."""
    begin = time.perf_counter()
    act()
    return (time.perf_counter() - begin) * 1e3


@contextmanager
def computing() -> Generator[None]:
    """A thread that computes without end."""
    stop = threading.Event()

    def compute() -> None:
        while not stop.is_set():
            sum(range(1000))

    thread = threading.Thread(target=compute)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def main() -> None:
    """Measure, print, and keep the figures if asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a twentieth of the runs")
    parser.add_argument("--runs", type=int, default=1_000_000)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures here")
    chosen = parser.parse_args()
    runs = chosen.runs // 20 if chosen.quick else chosen.runs
    place = about("pydantic")
    print(" · ".join(f"{key}: {value}" for key, value in place.items()), end="\n\n")
    beside = os.environ.get("BENCH_DIR")
    with tempfile.TemporaryDirectory(dir=beside) as directory:
        ari.configure(directory=directory, retention_bytes=2**40)
        bare(runs)
        plain, registry = rebuild(directory)
        registry.close()
    with tempfile.TemporaryDirectory(dir=beside) as directory:
        ari.configure(directory=directory)
        corpus = Corpus()
        begin = time.perf_counter()
        large = tree(corpus, BATCH)
        differing = {5: "failed", 77: "failed", 4711: "failed", 600: "missing", 9000: "missing", 1: "new", 2: "new"}
        batches = batch(corpus, {}), batch(corpus, differing)
        for _ in range((runs - 3 * BATCH) // 100):
            tree(corpus, 100)
        print(f"recorded in {time.perf_counter() - begin:.0f} s")
        built, registry = rebuild(directory)
        show([{"runs that say": "their names", **plain}, {"runs that say": "20 words, twice", **built}])
        questions = ask(registry, corpus, large)
        begin = time.perf_counter()
        difference = registry.diff(*batches)
        took = f"{(time.perf_counter() - begin) * 1e3:.0f}"
        questions.append({"question": "diff of two batches, trees and all", "median ms": took, "worst of 15": "once"})
        portions = 3 if chosen.quick else 10
        alone = grow(registry, corpus, portions)
        with computing():
            busy = grow(registry, corpus, portions)
        grown: list[Row] = [
            {
                "growth": what,
                "runs/s": f"{median(rates):,.0f}",
                "first": f"{rates[0]:,.0f}",
                "last": f"{rates[-1]:,.0f}",
            }
            for what, rates in (("alone", alone), ("beside a thread that computes", busy))
        ]
        show(grown)
        show(questions)
        found = {what: len(getattr(difference, what)) for what in ("newly_failed", "fixed", "slower", "missing", "new")}
        print(f"two batches of {BATCH:,} items that differ in {len(differing)}: {found}")
    if chosen.json:
        figures = {"about": place, "rebuild": [plain, built], "growth": grown, "questions": questions}
        chosen.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
