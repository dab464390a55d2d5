"""Crossing: many walls, in every way and on every event loop, in a process of its own, with a line about each.

Whoever started this process reads what was written when it has ended, however it ended: a wall that hangs ends it, and
so may one that crashes. It is then started again behind that wall.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import json
import os
import sys
from functools import cache, partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import anyio

from agent_run_id import settings
from agent_run_id.patching import patch_stdlib, unpatch_stdlib
from agent_run_id.walls.wall import verdict

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Sequence

    from agent_run_id.walls.wall import Wall, Way

__all__ = ["cross_all"]

_WAYS: Final[tuple[Way, ...]] = ("plain", "patched", "explicit")


_LONGEST: Final = 200
_IMPORTS_S: Final = 60.0
_LEAVE_S: Final = 2.0


class _Crossing(NamedTuple):
    wall: Wall
    place: int  # of the wall
    way: Way
    loop: str


def cross_all(groups: Sequence[str], *, skip: int, limit: float, modules: Iterable[str], report: int) -> None:
    """Cross the walls of some groups, and write a line of JSON when each crossing begins and when it is over.

    Args:
        groups: Their names, as in `walls.every.GROUPS`.
        skip: How many crossings were made before.
        limit: How many seconds one may take. One that takes longer ends this process, with a traceback.
        modules: What to import first.
        report: The descriptor to write to.
    """
    faulthandler.dump_traceback_later(max(limit, _IMPORTS_S), exit=True)
    for module in modules:
        try:
            import_module(module)
        except BaseException as error:
            _tell(report, refused=f"{module} cannot be imported: {_told(error)}")
            raise
    settings.configure(directory="off")  # whatever the modules said: nothing of this is to be recorded
    crossings = list(_crossings(groups, report))
    for number, crossing in enumerate(crossings[skip:], skip):
        _tell(report, begins=number)
        faulthandler.dump_traceback_later(limit, exit=True)
        try:
            found: dict[str, str] = {"verdict": _cross(crossing)}
        except Exception as error:
            found = {"verdict": "failed", "why": _told(error)}
        faulthandler.cancel_dump_traceback_later()
        _tell(report, ends=number, **found)
    _tell(report, done=True)
    # What the modules do at the end is not waited for longer: it may send what nobody recorded to nobody, for seconds.
    # But it is begun, for what the walls have made is to be taken away by those who made it.
    faulthandler.dump_traceback_later(_LEAVE_S, exit=True)


def _crossings(groups: Sequence[str], report: int) -> Iterator[_Crossing]:
    """All crossings of all walls; what there is to know of a wall is told when it is met."""
    # Here, because modules that change the standard library are to find it as they would elsewhere.
    from agent_run_id.walls.every import GROUPS

    place = number = 0
    for group in groups:
        for wall in GROUPS[group]:
            mine = list(_crossings_of(wall, place))
            _tell(report, wall=place, group=group, **_described(wall))
            for crossing in mine:
                _tell(report, crossing=number, of=place, way=crossing.way, loop=crossing.loop)
                number += 1
            yield from mine
            place += 1


def _described(wall: Wall) -> dict[str, Any]:
    return {
        "name": wall.name.replace("`", ""),
        "write": wall.call.replace("`", ""),
        "expected": wall.plain,
        "promised": wall.promised,
        "missing": None if wall.is_here else wall.needs,
    }


def _crossings_of(wall: Wall, place: int) -> Iterator[_Crossing]:
    loops = [loop for loop in _loops() if loop in wall.loops]
    if not wall.is_here:
        return
    for loop in loops if wall.awaits else loops[:1]:
        for way in _WAYS:
            yield _Crossing(wall, place, way, loop)


@cache  # and not before the modules are imported, which may change what can be
def _loops() -> dict[str, tuple[str, dict[str, Any]]]:
    """The event loops that are here: the backend of anyio for each, and its options."""
    loops: dict[str, tuple[str, dict[str, Any]]] = {"asyncio": ("asyncio", {"use_uvloop": False})}
    if sys.version_info >= (3, 12):
        loops["eager"] = ("asyncio", {"loop_factory": _eager_loop})
    for name, backend, options in (("uvloop", "asyncio", {"use_uvloop": True}), ("trio", "trio", {})):
        with contextlib.suppress(ImportError):
            import_module(name)
            loops[name] = (backend, options)
    return loops


def _eager_loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    loop.set_task_factory(getattr(asyncio, "eager_task_factory"))  # noqa: B009 - Python 3.12
    return loop


def _cross(crossing: _Crossing) -> str:
    backend, options = _loops()[crossing.loop]
    with _patched() if crossing.way == "patched" else contextlib.nullcontext():
        return anyio.run(partial(verdict, crossing.wall.by(crossing.way)), backend=backend, backend_options=options)


@contextlib.contextmanager
def _patched() -> Generator[None]:
    patch_stdlib()
    try:
        yield
    finally:
        unpatch_stdlib()


def _tell(report: int, **fields: Any) -> None:
    os.write(report, f"{json.dumps(fields)}\n".encode())


def _told(error: BaseException) -> str:
    inside: Sequence[BaseException] = getattr(error, "exceptions", ())
    if len(inside) == 1:
        return _told(inside[0])
    told = f"{type(error).__name__}: {error}".splitlines()[0]
    return told if len(told) <= _LONGEST else f"{told[:_LONGEST]}…"
