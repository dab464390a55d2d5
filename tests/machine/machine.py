"""The state machine that writes programs: each of its steps writes a line, or opens or closes a block."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Final

from hypothesis import note
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from tests.machine.walls import GENERATORS, JOINED, WALLS, Wall
from tests.machine.writing import PATCHED, STRANGER_RUN, Writer

if TYPE_CHECKING:
    from tests.machine.judging import Judge

__all__ = ["BACKENDS", "BARE", "Census", "Writing"]

EAGER: Final = ["eager"] if sys.version_info >= (3, 12) else []
BACKENDS: Final = ["asyncio", "uvloop", "trio", *EAGER, None]
BARE: Final = {
    "bare generator, closed": "steps = stage.bare()\nnext(steps)\nsteps.close()",
    "bare generator, abandoned": "steps = stage.bare()\nnext(steps)\ndel steps",
    "bare generator, closed elsewhere": "steps = stage.bare()\nnext(steps)\nstage.elsewhere(steps.close)",
    "bare generator, outlives its consumer": (
        "with ari.RunContext(STRANGER):\n    steps = stage.bare()\n    next(steps)#\nsteps.close()"
    ),
}
_DEEPEST: Final = 8


def _weight(wall: Wall) -> int:
    """How often a wall is chosen, so that each is in one program of twenty at least.

    What can be crossed in few places is chosen more often there. A new interpreter takes as long as ten programs
    without one.
    """
    if wall.is_slow:
        return 54 if wall.in_loop else 5 if wall.at_home else 2 if wall.sees == JOINED else 1
    if wall.backend and wall.at_home:
        return 70
    if wall.backend or wall.in_loop or (wall.awaits and wall.at_home):
        return 44
    return 30 if wall.awaits else 8 if wall.at_home else 2


_GENERATORS: Final = [each for each in GENERATORS for _ in range(6 if each.is_async else 2 if each.at_home else 1)]
_CHOSEN: Final = [wall for wall in WALLS for _ in range(_weight(wall))]


@dataclass
class Census:
    """What the programs were made of."""

    programs: int = 0
    composed: int = 0
    walls: Counter[str] = field(default_factory=Counter[str])
    backends: Counter[str] = field(default_factory=Counter[str])
    found: str | None = None

    def every(self) -> list[str]:
        """All walls, the rarest last."""
        names = [wall.name for wall in WALLS] + [generator.name for generator in GENERATORS] + [*BARE, PATCHED]
        return sorted(names, key=lambda name: -self.walls[name])


class Writing(RuleBasedStateMachine):
    """Writes a program, runs it, and says what is wrong."""

    judge: ClassVar[Judge]
    census: ClassVar[Census]

    def __init__(self) -> None:
        super().__init__()
        self.writer = Writer(None)

    @initialize(backend=st.sampled_from(BACKENDS))
    def begin(self, backend: str | None) -> None:
        self.writer = Writer(backend)

    @property
    def fits(self) -> bool:
        return len(self.writer.blocks) < _DEEPEST

    @precondition(lambda self: self.writer.can_ask())
    @rule()
    def ask(self) -> None:
        self.writer.ask()

    @precondition(lambda self: self.writer.can_end())
    @rule()
    def end(self) -> None:
        self.writer.end()

    @precondition(lambda self: self.fits)
    @rule(is_async=st.booleans(), is_root=st.booleans())
    def start_run(self, *, is_async: bool, is_root: bool) -> None:
        self.writer.start_run(is_async=is_async and self.writer.place.is_async, is_root=is_root)

    @precondition(lambda self: self.fits)
    @rule(run=st.sampled_from([None, STRANGER_RUN, PATCHED]))
    def enter(self, run: str | None) -> None:
        if run != PATCHED:
            self.writer.enter(run)
        elif not self.writer.place.is_late:
            self.writer.patch()

    @precondition(lambda self: self.fits)
    @rule(data=st.data())
    def cross(self, data: st.DataObject) -> None:
        self._cross(data)

    @precondition(lambda self: self.fits)
    @rule(data=st.data())
    def cross_and_return(self, data: st.DataObject) -> None:
        self._cross(data)
        self.writer.close()

    @precondition(lambda self: self.fits)
    @rule(data=st.data(), walls=st.integers(2, 4))
    def compose(self, data: st.DataObject, walls: int) -> None:
        for _ in range(walls):
            self._cross(data)

    def _cross(self, data: st.DataObject) -> None:
        self.writer.cross(data.draw(st.sampled_from([*filter(self.writer.can_cross, _CHOSEN)])))

    @precondition(lambda self: self.fits)
    @rule(data=st.data())
    def generate(self, data: st.DataObject) -> None:
        place = self.writer.place
        fitting = [each for each in _GENERATORS if place.is_async >= each.is_async and place.at_home >= each.at_home]
        self.writer.generate(data.draw(st.sampled_from(fitting)))

    @precondition(lambda self: self.writer.place.at_home)
    @rule(name=st.sampled_from([*BARE]))
    def generate_bare(self, name: str) -> None:
        self.writer.bare_generator(name, BARE[name])

    @precondition(lambda self: self.fits)
    @rule(cancels=st.booleans())
    def guard(self, *, cancels: bool) -> None:
        if cancels and self.writer.place.is_async:
            self.writer.cancellable()
        else:
            self.writer.catch()

    @precondition(lambda self: self.writer.can_throw() or self.writer.can_cancel())
    @rule(cancels=st.booleans())
    def leave(self, *, cancels: bool) -> None:
        if self.writer.can_cancel() and (cancels or not self.writer.can_throw()):
            self.writer.cancel()
        else:
            self.writer.throw()

    @precondition(lambda self: len(self.writer.blocks) > 1)
    @rule()
    def close(self) -> None:
        self.writer.close()

    def teardown(self) -> None:
        program = self.writer.finished()
        census = self.census
        census.programs += 1
        census.composed += program.composed
        census.walls.update(program.crossed)
        census.backends[program.backend or "none"] += 1
        wrong = self.judge.judge(program)
        if wrong:
            census.found = census.found or f"program {census.programs}: {wrong[0]}"
            report = "\n".join(wrong)
            note(f"{report}\n\nThe program, on {program.backend or 'no event loop'}:\n\n{program.text}")
            raise AssertionError(wrong[0])
