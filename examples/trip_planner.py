"""An agent that plans a weekend in Lisbon, and the tree of everything that ran for it.

    python examples/trip_planner.py [--backend asyncio|trio] [--dir DIRECTORY]

Three sub-agents work at once: one holds a seat on a plane, one asks the railway until it is no longer needed, one finds
a hotel. Their tools run in tasks, in a thread, in other programs and behind HTTP, and with workers that are older than
the trip: a pool of processes, and a clerk who takes letters from a queue. Every one of them ends up under whoever
called it. Not everything goes well: that is what a tree is for.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
import threading
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

import agent_run_id as ari
import check_tree
import fake_llm
import notebook
import travel_office
from trip_tools import (
    Model,
    ask_railway,
    confirm_seat,
    draw_map,
    find_walk,
    hold_seat,
    look_up_fares,
    plan_days,
    search_hotels,
)

if TYPE_CHECKING:
    from anyio.abc import TaskStatus

    from travel_office import Office


@dataclass
class Trip:
    city: str
    office: Office
    seat: str = ""
    hotel: str = ""
    walk: tuple[str, ...] = ()
    days: list[str] = field(default_factory=list)
    seat_held: anyio.Event = field(default_factory=anyio.Event)


async def plan_trip(city: str, model: Model, office: Office) -> ari.RunId:
    """Plan the trip, and give the id under which to find everything that happened."""
    trip = Trip(city, office)
    summary = f"A weekend in {city}"
    with (
        # The office is open, so the current run is the office's. A trip is a tree of its own.
        ari.start_run("plan_trip", parent=ari.ROOT, kind="agent", user_id="ada", summary=summary, input=city) as run,
        notebook.entry("plan_trip", "-"),
    ):
        async with anyio.create_task_group() as agents:
            # Tasks need nothing: each begins in the run that was current where it was started.
            train = await agents.start(find_train, trip, "plan_trip")
            agents.start_soon(find_flight, trip, "plan_trip")
            agents.start_soon(find_hotel, trip, model, "plan_trip")
            await trip.seat_held.wait()
            way = run.decide(
                "plane or train?",
                options=["plane", "train"],
                chosen="plane",
                why="a seat is held, the railway is silent",
            )
            train.cancel()
        way.outcome(f"seat {trip.seat}, {trip.hotel}")
        async with aclosing(plan_days(model, city, "plan_trip")) as days:
            async for day in days:
                # Here, between two days, the run is still this one and not that of the stream.
                ari.current_run().step("day planned", plan=day)
                trip.days.append(day)
                if len(trip.days) == 2:
                    break  # a weekend has no third day: the stream is cancelled, and has not failed
        if not await draw_map(city, "plan_trip"):
            run.decide(
                "draw again?", options=["yes", "no"], chosen="no", why="the renderer was killed; maps are optional"
            )
        run.update(output={"seat": trip.seat, "hotel": trip.hotel, "days": trip.days, "walk": trip.walk})
    return run.id


@ari.traced(name="flights", kind="agent")
async def find_flight(trip: Trip, caller: str) -> None:
    with notebook.entry("flights", caller):
        fares = await look_up_fares(trip.city, "flights")
        airline = min(fares, key=fares.__getitem__)
        try:
            trip.seat = await hold_seat(airline, 1, "flights")
        except ConnectionError as error:
            retry = ari.current_run().decide(
                "hold a seat again?",
                options=["retry", "other airline"],
                chosen="retry",
                why=f"{error}, which passes",
            )
            trip.seat = await hold_seat(airline, 2, "flights")
            retry.outcome(f"{trip.seat} held at the second attempt")
        confirm_seat(trip.office, trip.seat, "flights")
        trip.seat_held.set()


async def find_train(trip: Trip, caller: str, *, task_status: TaskStatus[anyio.CancelScope]) -> None:
    # The run is inside what can be cancelled, so it ends as cancelled: that somebody gave it up is no failure.
    with anyio.CancelScope() as scope, ari.start_run("trains", kind="agent"), notebook.entry("trains", caller):
        task_status.started(scope)
        await ask_railway(trip.city, "trains")


@ari.traced(name="hotels", kind="agent")
async def find_hotel(trip: Trip, model: Model, caller: str) -> None:
    with notebook.entry("hotels", caller):
        found: list[str] = []
        # A thread begins with no run at all: `bind` takes this one there.
        search = threading.Thread(target=ari.bind(search_hotels), args=(trip.city, found, "hotels"))
        search.start()
        await anyio.to_thread.run_sync(search.join)
        advice = json.loads(await model.ask(f"Which hotel suits somebody who likes to walk: {found}?", "hotels"))
        trip.hotel = advice["choice"]
        ari.current_run().decide("which hotel?", options=found, chosen=trip.hotel, why=advice["why"], confidence=0.8)
        trip.walk = await find_walk(trip.office, "hotels")


def shown(root: ari.RunId, page: Path) -> bool:
    """Show a tree, and where it is not what the workers wrote down; whether they agree."""
    with ari.RunRegistry() as registry:
        tree = registry.tree(root)
    different = check_tree.differences(tree, page)
    print(tree, *different, sep="\n")
    print("✗ the tree is not" if different else "✓ the tree is", "what the workers wrote down")
    return not different


def next_command(directory: Path) -> str:
    """What to type to see the last run that failed, from the directory we are in."""
    with ari.RunRegistry() as registry:
        failed, *_ = registry.find(status="failed", limit=1)
    runid = Path(sys.executable).with_name("runid")
    if runid.is_relative_to(Path.cwd()):
        runid = runid.relative_to(Path.cwd())
    return shlex.join([str(runid), "show", failed.run_id.short(), "--dir", str(directory)])


def main() -> int:
    """Plan the trip on each backend; the exit status is 1 when a tree is not what happened."""
    parser = argparse.ArgumentParser(description="Plan a trip and show the tree of everything that ran for it.")
    parser.add_argument("--backend", choices=["asyncio", "trio"], help="one of them; both by default")
    parser.add_argument("--dir", type=Path, default=Path(".demo-runs"), help="where to record; emptied first")
    options = parser.parse_args()
    handover = os.environ.get("DEMO_BREAK", "")
    if handover and handover not in check_tree.BREAKS:
        parser.error(f"DEMO_BREAK is one of {', '.join(check_tree.BREAKS)}, not {handover!r}")
    try:
        check_tree.clear(options.dir)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    os.environ[notebook.VARIABLE] = str(options.dir / "trip-notebook.tsv")
    ari.configure(directory=options.dir)
    ari.setup_logging(short=True, stream=sys.stdout)  # every log line says in which run it was written

    agree = True
    with check_tree.broken(handover), travel_office.opened() as office, fake_llm.running() as port:
        for backend in [options.backend] if options.backend else ["asyncio", "trio"]:
            print(f"── a trip planned on {backend} ".ljust(100, "─"))
            trip = anyio.run(plan_trip, "Lisbon", Model(port), office, backend=backend)
            office.letters.join()  # the clerk may still be at it
            agree &= shown(trip, notebook.turn_page(backend))
    print("── the office that was open meanwhile ".ljust(100, "─"))
    agree &= shown(office.run_id, notebook.turn_page("office"))
    print("\nThe last log line says that a tool call failed. What happened there:\n")
    print(f"    {next_command(options.dir)}\n")
    return 0 if agree else 1


if __name__ == "__main__":
    sys.exit(main())
