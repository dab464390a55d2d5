"""What does a request cost? Times inject and extract beside OpenTelemetry's composite propagator, on the same headers.

Usage: ``python benchmarks/carriers.py [--quick] [--json FILE]``

The two take turns in blocks of about a millisecond, and the order changes every time. A figure is the median over pairs
of neighbouring blocks, so a slow moment of the machine falls on both, or on a pair that the median does not see. The
composite is that of W3C Trace Context and W3C Baggage, which is OpenTelemetry's default. Where headers say *again*, the
run has sent a request before, and only the parent-id is new; where they say *new*, nothing of the run was seen before,
and what we remember does not help. Nothing here fails by being slow.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from statistics import median, quantiles

from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import Context
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from tables import about, show

import agent_run_id as ari
from agent_run_id import carriers

THEIRS = CompositePropagator([TraceContextTextMapPropagator(), W3CBaggagePropagator()])
TARGET = 3.0
BLOCK_SECONDS = 0.001
FULL_SECONDS, QUICK_SECONDS = 3.0, 0.6  # for each row
MANY = 4096  # more than we remember
PLAIN = {
    "host": "tools.internal",
    "accept": "application/json",
    "accept-encoding": "gzip, deflate",
    "user-agent": "agent/1.0",
    "content-type": "application/json",
}
BAGGAGE = {"baggage": "user.id=u-17,session.id=s-4,region=eu"}
FOREIGN = "congo=t61rcWkgMzE,rojo=00f067aa0ba902b7"

Row = dict[str, str | int]
Work = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Case:
    """One row: their call and ours, on the same headers."""

    title: str
    theirs: Work
    ours: Work


def children() -> list[ari.RunId]:
    """Runs at depth 3, as an agent's tool is."""
    parent = ari.RunId.generate(ari.RunId.generate(ari.RunId.generate()))
    return [ari.RunId.generate(parent) for _ in range(MANY)]


def requests(*, foreign: bool, baggage: bool) -> list[dict[str, str]]:
    """Headers as they come in, each from another run."""
    made = []
    for run_id in children():
        headers = carriers.headers.inject(dict(PLAIN), run_id)
        if foreign:
            headers["tracestate"] += f",{FOREIGN}"
            headers["traceparent"] = f"00-0af7651916cd43dd8448eb211c80319c-{headers['traceparent'][36:52]}-01"
        made.append(headers | BAGGAGE if baggage else headers)
    return made


def extracting(headers: Iterator[dict[str, str]], again: dict[str, str] | None) -> tuple[Work, Work]:
    """Their extract and ours, of one request again and again or of one after the other."""
    empty = Context()
    if again is not None:
        return lambda: THEIRS.extract(again, empty), lambda: carriers.headers.extract(again)
    return lambda: THEIRS.extract(next(headers), empty), lambda: carriers.headers.extract(next(headers))


def injecting(requests: list[dict[str, str]], *, again: bool) -> tuple[Work, Work]:
    """Their inject and ours, for the run or the span that came in with a request."""
    found = [carriers.headers.extract(headers).run_id for headers in requests]
    contexts = [THEIRS.extract(headers, Context()) for headers in requests]
    runs, spans = cycle(found), cycle(contexts)
    if again:
        run, span = found[0], contexts[0]
        return lambda: THEIRS.inject(dict(PLAIN), span), lambda: carriers.headers.inject(dict(PLAIN), run)
    return lambda: THEIRS.inject(dict(PLAIN), next(spans)), lambda: carriers.headers.inject(dict(PLAIN), next(runs))


def cases() -> Iterator[Case]:
    """Every combination that makes a difference."""
    for title, foreign, baggage in (
        ("own trace", False, False),
        ("own trace, baggage", False, True),
        ("foreign trace, 2 members", True, False),
        ("foreign trace, 2 members, baggage", True, True),
    ):
        made = requests(foreign=foreign, baggage=baggage)
        for again in (True, False):
            word = "again" if again else "new"
            yield Case(f"extract, {title}, {word}", *extracting(cycle(made), made[0] if again else None))
            yield Case(f"inject, {title}, {word}", *injecting(made, again=again))


def per_call(work: Work, count: int) -> float:
    """Microseconds a call, in a block of that many."""
    begin = time.perf_counter()
    for _ in range(count):
        work()
    return (time.perf_counter() - begin) * 1e6 / count


def measure(case: Case, seconds: float) -> Row:
    """Alternate theirs and ours for that long, at least ten times."""
    sides = [(case.theirs, []), (case.ours, [])]  # type: list[tuple[Work, list[float]]]
    sizes = [max(1, round(BLOCK_SECONDS * 1e6 / min(per_call(work, 200) for _ in range(5)))) for work, _ in sides]
    end = time.perf_counter() + seconds
    while len(sides[1][1]) < 10 or time.perf_counter() < end:
        turn = list(zip(sides, sizes, strict=True))
        for (work, taken), count in turn if len(sides[0][1]) % 2 else reversed(turn):
            taken.append(per_call(work, count))
    theirs, ours = sides[0][1], sides[1][1]
    low, middle, high = quantiles([one / other for one, other in zip(theirs, ours, strict=True)], n=4)
    return {
        "what": case.title,
        "OpenTelemetry µs": f"{median(theirs):.2f}",
        "ours µs": f"{median(ours):.2f}",
        "times as fast": f"{middle:.2f}",
        "quartiles": f"{low:.2f} to {high:.2f}",
        "≥ 3": "met" if middle >= TARGET else "not met",
    }


def main() -> None:
    """Measure, print, and keep the figures if asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer pairs, noisier figures")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures here")
    chosen = parser.parse_args()
    ari.configure(directory="off")
    place = about("opentelemetry-api")
    print(" · ".join(f"{key}: {value}" for key, value in place.items()), end="\n\n")
    rows = [measure(case, QUICK_SECONDS if chosen.quick else FULL_SECONDS) for case in cases()]
    show(rows)
    if chosen.json:
        chosen.json.write_text(json.dumps({"about": place, "rows": rows}, indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
