"""What does a message cost that hands a run over, beside one that carries a span of OpenTelemetry?

Usage: ``python benchmarks/handing.py [--quick] [--json FILE]``

To send: `hand_off` and its JSON; a producer's span, and a JSON body with the trace in it. To take: `accept` of the JSON
and the end of its run; the JSON, a consumer's span in the trace of the body. The spans go to a batch processor whose
exporter drops everything; ours are in the kernel, and so is who has the run. Nothing is sent, and the work is none.
Blocks of all take turns, in an order that changes; medians over the blocks, in microseconds a message.
"""

import argparse
import json
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

from opentelemetry import propagate
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, Tracer
from recording import Dropping
from tables import about, show

import agent_run_id as ari

BLOCK = 500
PAYLOAD = {"invoice": 4711, "customer": "u-17", "lines": [{"item": "fare", "price": 349.0}] * 3}


def hand_off() -> bytes:
    """Ours, to send."""
    return ari.hand_off("job", PAYLOAD).to_json()


def accept(message: bytes) -> None:
    """Ours, to take."""
    with ari.accept(message):
        pass


def carry() -> bytes:
    """Ours, where the message only carries the run of its sender, to send."""
    return ari.carriers.body.inject(json.dumps(PAYLOAD)).encode()


def run_below(message: bytes) -> None:
    """The same, to take."""
    with ari.start_run("job", parent=ari.carriers.body.extract(message)):
        json.loads(message)


def spans(tracer: Tracer) -> tuple[Callable[[], bytes], Callable[[bytes], None]]:
    """Those of OpenTelemetry: to send, and to take."""

    def send() -> bytes:
        with tracer.start_as_current_span("job", kind=SpanKind.PRODUCER):
            carrier: dict[str, str] = {}
            propagate.inject(carrier)
            return json.dumps({**PAYLOAD, "trace": carrier}).encode()

    def take(message: bytes) -> None:
        body = json.loads(message)
        context = propagate.extract(body["trace"])
        with tracer.start_as_current_span("job", context=context, kind=SpanKind.CONSUMER):
            pass

    return send, take


def per_message(work: Callable[[], object]) -> float:
    """Microseconds."""
    begin = time.perf_counter()
    work()
    return (time.perf_counter() - begin) / BLOCK * 1e6


def measure(
    ways: dict[str, tuple[Callable[[], bytes], Callable[[bytes], None]]], rounds: int
) -> dict[str, tuple[list[float], list[float]]]:
    """What each way takes to send and to take, block by block."""
    times: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in ways}
    for _ in range(rounds):
        for name in random.sample(list(ways), len(ways)):
            send, take = ways[name]
            messages: list[bytes] = []
            times[name][0].append(per_message(lambda send=send, messages=messages: fill(messages, send)))  # type: ignore[misc]
            times[name][1].append(per_message(lambda take=take, messages=messages: empty(messages, take)))  # type: ignore[misc]
    return times


def fill(messages: list[bytes], send: Callable[[], bytes]) -> None:
    """Send a block."""
    for _ in range(BLOCK):
        messages.append(send())  # noqa: PERF401 - as a program does it


def empty(messages: Sequence[bytes], take: Callable[[bytes], None]) -> None:
    """Take a block."""
    for message in messages:
        take(message)


def main() -> None:
    """Measure, and show it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="few rounds, to see that it works")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    chosen = parser.parse_args()
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(Dropping()))
    place = about("opentelemetry-sdk")
    print(" · ".join(f"{name}: {value}" for name, value in place.items()), end="\n\n")
    with tempfile.TemporaryDirectory() as directory:
        ari.configure(directory=directory)
        with ari.start_run("sender"):
            ways = {
                "a run that is handed over": (hand_off, accept),
                "a message that carries a run, a run below it": (carry, run_below),
                "two spans of OpenTelemetry": spans(provider.get_tracer("handing")),
            }
            times = measure(ways, 3 if chosen.quick else 60)
    base = times["two spans of OpenTelemetry"]
    rows = [
        {
            "a message": name,
            "to send, µs": f"{median(sent):.1f}",
            "to take, µs": f"{median(taken):.1f}",
            "both, of the spans": f"{(median(sent) + median(taken)) / (median(base[0]) + median(base[1])):.2f}",
        }
        for name, (sent, taken) in times.items()
    ]
    show(rows)
    provider.shutdown()
    if chosen.json:
        chosen.json.write_text(json.dumps({"about": place, "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
