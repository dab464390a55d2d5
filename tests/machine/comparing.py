"""Comparing: what a program saw and recorded with what it must, lineage and all."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from tests.machine.stage import STRANGER
from tests.machine.writing import STRANGER_RUN

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent_run_id import RunId
    from tests.machine.writing import Program

__all__ = ["compare"]


def compare(program: Program, recorded: Mapping[str, tuple[RunId, str]], found: list[list[str]]) -> list[str]:
    """What is wrong; nothing, if all is as it must be.

    Args:
        program: The program.
        recorded: The runs that were recorded, by their names: their ids, and how they ended.
        found: What was seen, each with the number of the place.
    """
    tokens = _tokens(program, {name: run_id.value for name, (run_id, _) in recorded.items()})
    names = {STRANGER.value: STRANGER_RUN} | {run_id.value: name for name, (run_id, _) in recorded.items()}
    wrong: list[str] = []
    for name, (run_id, status) in recorded.items():
        run = program.runs[name]
        if run_id.token != tokens[name]:
            above = names.get(run_id.parent_id or "", run_id.parent_id)
            wrong.append(f"{name} is recorded below {above}, not below {run.parent}: {run_id.token}")
        if status != run.status:
            wrong.append(f"{name} is recorded as {status}, not as {run.status}")
    return wrong + _seen(program, found, tokens)


def _tokens(program: Program, ids: dict[str, str]) -> dict[str, str]:
    """The token each run must have, by its own id and its place in the program."""
    places: dict[str, str] = {STRANGER_RUN: STRANGER.token}

    def place(name: str) -> str:
        if name not in places:
            value, above = ids[name], program.runs[name].parent
            if above is None:
                places[name] = value
            else:
                parent, *rest = place(above).split(".")
                root, depth = (rest[1], int(rest[2])) if rest else (parent, 0)
                places[name] = f"{value}.{parent}.{root}.{depth + 1}"
        return places[name]

    for name in program.runs:
        place(name)
    return places


def _seen(program: Program, found: list[list[str]], places: dict[str, str]) -> list[str]:
    names = {token: name for name, token in places.items()} | {"-": None}
    times = Counter(int(place) for place, _ in found)
    places_of = sorted(program.seen.keys() | program.asked | times.keys())
    wrong = [f"see({place}, …) was reached {times[place]} times" for place in places_of if times[place] != 1]
    for text, what in found:
        place = int(text)
        if place in program.asked:
            if what != "running":
                wrong.append(f"stage.ask({place}): a reader says {what}, not running")
        elif what != _expected(program.seen.get(place), places):
            wrong.append(f"see({place}, {program.seen.get(place)!r}) saw {names.get(what, what)!r}")
    return wrong


def _expected(run: str | None, places: dict[str, str]) -> str:
    return "-" if run is None else places[run]
