"""A tool that is a program of its own: asks two airlines for a fare and prints the answers as JSON.

Importing the library is all it takes to join the run that started it; how that run's id gets here is in `trip_tools`.
"""

from __future__ import annotations

import json
import sys

import agent_run_id as ari
import notebook

FARES = {"TAP": 118, "Lufthansa": 164}


@ari.traced(name="ask_airline", kind="tool", capture="both")
def ask_airline(airline: str, city: str, caller: str) -> int:
    with notebook.entry("ask_airline", caller):
        return FARES[airline] + len(city)


def main() -> None:
    city, caller = sys.argv[1:]
    with ari.start_run("fare_lookup", kind="tool", input=city) as run, notebook.entry("fare_lookup", caller):
        fares = {airline: ask_airline(airline, city, "fare_lookup") for airline in FARES}
        run.update(output=fares)
    print(json.dumps(fares))


if __name__ == "__main__":
    main()
