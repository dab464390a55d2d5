"""The tools of the trip planner: coroutines, a blocking function, a stream, and whatever is beyond a wall.

Beyond one are two other programs, a model behind HTTP, and the travel office, with a pool of processes and a clerk.
"""

from __future__ import annotations

import http.client
import json
import logging
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread

import agent_run_id as ari
import notebook
from travel_office import Letter, shortest_walk

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from travel_office import Office

HERE = Path(__file__).parent
log = logging.getLogger("trip")


@dataclass(frozen=True)
class Model:
    """A language model behind HTTP on this machine."""

    port: int

    async def ask(self, prompt: str, caller: str) -> str:
        answer = await anyio.to_thread.run_sync(self._post, prompt, caller)
        # What a call used belongs to the run that made it. The id keeps a retry from being counted twice.
        ari.current_run().usage(
            model=answer["model"],
            input_tokens=answer["usage"]["prompt_tokens"],
            output_tokens=answer["usage"]["completion_tokens"],
            call_id=answer["id"],
        )
        text: str = answer["choices"][0]["message"]["content"]
        return text

    def _post(self, prompt: str, caller: str) -> dict[str, Any]:
        messages = [{"role": "user", "content": prompt}]
        body = json.dumps({"model": "pocket-1", "messages": messages, "metadata": {"caller": caller}})
        headers = {"Content-Type": "application/json"}
        # The other side sees only what is sent: the id of the current run goes along in a header.
        if run_id := ari.current_run_id():
            headers["X-Run-Id"] = run_id.value
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("POST", "/v1/chat/completions", body, headers)
            answer: dict[str, Any] = json.load(connection.getresponse())
        finally:
            connection.close()
        return answer


async def look_up_fares(city: str, caller: str) -> dict[str, int]:
    """Run the program `fare_lookup.py`."""
    command = [sys.executable, str(HERE / "fare_lookup.py"), city, caller]
    # The current run goes along in the child's environment; its runs are then under ours, and in the same directory.
    done = await anyio.run_process(command, env=ari.child_env(), stderr=None)
    fares: dict[str, int] = json.loads(done.stdout)
    return fares


@ari.traced(name="hold_seat", kind="tool", capture="both")
async def hold_seat(airline: str, attempt: int, caller: str) -> str:
    """Hold a seat; the airline's server never answers the first time."""
    with notebook.entry("hold_seat", caller):
        await anyio.sleep(0.02)
        if attempt == 1:
            log.error("tool call failed: no seat held with %s", airline)
            raise ConnectionResetError(f"{airline} closed the connection")
        return "14C"


def confirm_seat(office: Office, seat: str, caller: str) -> None:
    """Have the clerk confirm a seat by letter, whenever he gets to it; the caller's run may be over by then."""
    # The clerk's thread sees only its own run. The letter brings ours along.
    office.letters.put(ari.carry(Letter(f"Seat {seat} is yours.", caller)))


@ari.traced(name="ask_railway", kind="tool", capture="input")
async def ask_railway(city: str, caller: str) -> str:
    """Ask a server that takes its time."""
    with notebook.entry("ask_railway", caller):
        await anyio.sleep(60)
        return f"14 hours to {city}, two changes"


@ari.traced(name="search_hotels", kind="tool")
def search_hotels(city: str, found: list[str], caller: str) -> None:
    """Search a catalogue that blocks, so it is called in a thread; `found` receives the hotels."""
    with notebook.entry("search_hotels", caller):
        found += ["Casa do Tejo", "Grande Hotel Central", f"{city} Airport Inn"]


async def find_walk(office: Office, caller: str) -> tuple[str, ...]:
    """Find the shortest walk past all sights, in the office's pool of processes."""
    # The pool is older than the current run, and its process has another one. Each call brings its own along.
    walk = office.pool.submit(shortest_walk, caller)
    return await anyio.to_thread.run_sync(walk.result)


@ari.traced(name="plan_days", kind="tool")
async def plan_days(model: Model, city: str, caller: str) -> AsyncGenerator[str]:
    """Plan one day after the other, for as long as somebody reads on."""
    with notebook.entry("plan_days", caller):
        day = 1
        while True:
            yield await model.ask(f"Plan day {day} in {city}, for somebody who likes to walk.", "plan_days")
            day += 1


async def draw_map(city: str, caller: str) -> bool:
    """Run the program `draw_map.py`, which does not survive: the demo plays the kernel that is out of memory."""
    command = [sys.executable, str(HERE / "draw_map.py"), city]
    async with await anyio.open_process(command, env=ari.child_env(), stderr=None) as renderer:
        assert renderer.stdout  # noqa: S101 - a pipe, by default
        await renderer.stdout.receive()  # it is in the middle of its run now
        renderer.kill()
        ended = await renderer.wait()
    notebook.write("draw_map", caller, "lost")  # it had no time to write this down itself
    return ended == 0
