"""Writing a program, and at each place of it what must be current there.

What is written is what is run. A program is a module: the functions beyond each wall, and `main`. Blocks are opened and
closed; what stands in one that is a function beyond a wall is written as a function when it is closed, and the call in
its place.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from tests.machine.walls import HERE, JOINED, NOBODY, OWN, STRANGERS

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.machine.walls import Generator, Wall

__all__ = ["PATCHED", "STRANGER_RUN", "Block", "ExpectedRun", "Place", "Program", "Writer"]

STRANGER_RUN: Final = "a stranger"
PATCHED: Final = "patched standard library"
_HEAD: Final = """\
import asyncio, contextvars, functools, operator, sys, threading
import anyio, anyio.from_thread, anyio.lowlevel, anyio.to_thread
import agent_run_id as ari
from tests.machine.stage import STRANGER, Boom, see, stage

"""
_FOOT: Final = """
if __name__ == "__main__":
    globals()[sys.argv[1]]()
"""


@dataclass(frozen=True)
class Place:
    """Where the next line of a program will stand.

    Attributes:
        run: The run that is current there.
        is_async: Whether it is in a coroutine function.
        at_home: Whether it is in the process that the program began in.
        in_loop: Whether it is in the event loop that the program began in.
        is_late: Whether all else is over by then.
        joined: The run that its process joined through its environment.
        is_patched: Whether the standard library is patched there.
    """

    run: str | None
    is_async: bool
    at_home: bool = True
    in_loop: bool = False
    is_late: bool = False
    joined: str | None = None
    is_patched: bool = False


@dataclass(frozen=True)
class ExpectedRun:
    """A run as it must be recorded: the name of its parent, and how it ended."""

    parent: str | None
    status: str


@dataclass
class Block:
    """A part of a program that is not closed yet.

    Attributes:
        place: Where its next line will stand.
        close: Given the block and whether an exception leaves it, gives the lines for the block around it.
        lines: Its lines.
        own: The run that begins and ends with it.
        is_run: Whether it is the block of that run, and nothing else.
        raises: Whether an exception that leaves it gets into the block around it.
        cancels: Whether cancellation of the block around it gets here.
        catches: What ends here: an exception, cancellation, or nothing.
        caught: Whether it did.
    """

    place: Place
    close: Callable[[Block, bool], list[str]]
    lines: list[str] = field(default_factory=list[str])
    own: str | None = None
    is_run: bool = False
    raises: bool = True
    cancels: bool = True
    catches: str = ""
    caught: bool = False


@dataclass(frozen=True)
class Program:
    """A program, and what must come of it.

    Attributes:
        text: Its source.
        backend: The event loop it runs on; None for one that needs none.
        seen: What must be current at its places, by their numbers.
        asked: At which places a reader is asked what becomes of the current run.
        runs: The runs it must record, by name.
        crossed: The walls it crosses.
        composed: Whether one is crossed beyond another.
    """

    text: str
    backend: str | None
    seen: dict[int, str | None]
    asked: frozenset[int]
    runs: dict[str, ExpectedRun]
    crossed: frozenset[str]
    composed: bool


class Writer:
    """Writes one program."""

    def __init__(self, backend: str | None) -> None:
        self.backend = backend
        self._functions: list[str] = []
        self._seen: dict[int, str | None] = {}
        self._asked: set[int] = set()
        self._runs: dict[str, ExpectedRun] = {}
        self._ended: set[str] = set()
        self._crossed: set[str] = set()
        self._composed = False
        self._walls = 0  # of the blocks that are open
        self._names = 0
        is_async = backend is not None
        main = Place(None, is_async=is_async, in_loop=is_async)
        self.blocks = [Block(main, lambda block, _: block.lines, raises=False, cancels=False)]

    @property
    def place(self) -> Place:
        return self.blocks[-1].place

    # What is written --------------------------------------------------------------------------------------------------

    def look(self) -> None:
        """Look what is current."""
        self.blocks[-1].lines.append(self._look(self.place))

    def can_cross(self, wall: Wall) -> bool:
        """Whether a wall can be crossed here."""
        place = self.place
        return (
            place.is_async >= wall.awaits
            and place.at_home >= wall.at_home
            and place.in_loop >= wall.in_loop
            and not (wall.backend == "asyncio" and self.backend == "trio")
        )

    def ask(self) -> None:
        """Ask a reader what becomes of the current run."""
        number = self._number()
        self._asked.add(number)
        self.blocks[-1].lines.append(f"stage.ask({number})")

    def can_ask(self) -> bool:
        """Whether it is known what becomes of the current run, and a reader is here to be asked."""
        place = self.place
        is_open = place.run in self._runs and place.run not in self._ended
        return is_open and place.at_home and not place.is_late

    def end(self) -> None:
        """End the run of this block before the block."""
        self._ended.add(self.blocks[-1].own or "")
        self.blocks[-1].lines.append("ari.current_run().end()")

    def can_end(self) -> bool:
        """Whether this is the block of a run."""
        block = self.blocks[-1]
        return block.is_run and block.own not in self._ended

    def start_run(self, *, is_async: bool = False, is_root: bool = False) -> None:
        """Open a run."""
        name = self._run(None if is_root else self.place.run)
        parent = ", parent=ari.ROOT" if is_root else ""
        self._open(f'{"async " if is_async else ""}with ari.start_run("{name}"{parent}):', run=name, own=name)
        self.blocks[-1].is_run = True

    def enter(self, run: str | None) -> None:
        """Open a scope."""
        self._open(f"with ari.RunContext({'None' if run is None else 'STRANGER'}):", run=run)

    def patch(self) -> None:
        """Open a block in which the standard library is patched."""
        self._open("with stage.patched():", run=self.place.run)
        self._crossed.add(PATCHED)
        self.blocks[-1].place = replace(self.place, is_patched=True)

    def catch(self) -> None:
        """Open a block that no exception leaves."""

        near = self.place

        def close(block: Block, raised: bool) -> list[str]:  # noqa: FBT001
            then = self._look(near) if block.caught else "raise"
            lines = ["try:", *_indented(block.lines), "except* Boom:", *_indented([then])]
            return lines if raised else [*lines, self._look(near)]

        self.blocks.append(Block(near, close, catches="exception"))
        self.look()

    def cancellable(self) -> None:
        """Open a block that can be cancelled."""
        self._open(f"with stage.scope({len(self.blocks)}):", run=self.place.run, catches="cancellation")

    def bare_generator(self, name: str, lines: str) -> None:
        """Begin a generator that leaves a scope open, and end it."""
        self._crossed.add(name)
        self._composed = self._composed or self._walls > 0
        self._consume(self.blocks[-1].lines, lines)

    def cross(self, wall: Wall) -> None:
        """Open a function beyond a wall."""
        near = self.place
        run = self._beyond(wall, near)
        place = Place(
            run,
            is_async=wall.is_async,
            at_home=near.at_home and not wall.is_away,
            in_loop=near.in_loop and wall.keeps_loop,
            is_late=near.is_late or wall.is_late,
            joined=near.run if _joins(wall, near) else near.joined,
            is_patched=near.is_patched and (wall.hands_patches_on or not wall.is_away) and not wall.is_late,
        )
        own = run if wall.sees == OWN else None
        call = wall.call.replace("{run}", own.removeprefix("GET /") if own else "")

        def close(block: Block, raised: bool) -> list[str]:  # noqa: FBT001
            lines = call.replace("{f}", self._function(block.lines, is_async=wall.is_async)).split("\n")
            return lines if raised else [*lines, self._look(near)]

        self._cross(wall.name, Block(place, close, own=own, raises=wall.raises, cancels=wall.cancels))
        if own is not None and wall.ends != "succeeded":
            self._runs[own] = replace(self._runs[own], status=wall.ends)

    def generate(self, generator: Generator) -> None:
        """Open the first half of a generator."""
        near = self.place
        own = self._run(near.run)
        begin, _, rest = generator.lines.replace("{run}", own).partition("#\n")

        def close(block: Block, raised: bool) -> list[str]:  # noqa: FBT001
            whole = generator.ends == "succeeded" and not raised
            second = [self._look(block.place)] if whole else ["raise AssertionError"]
            function = self._function([*block.lines, "yield 1", *second], is_async=generator.is_async)
            lines = begin.replace("{f}", function).split("\n")
            if not raised:
                lines += [self._look(near)]
                self._consume(lines, rest)
                self._runs[own] = replace(self._runs[own], status=generator.ends)
            return lines

        place = replace(near, run=own, is_async=generator.is_async)
        self._cross(generator.name, Block(place, close, own=own, cancels=False))

    # What is closed ---------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Close the innermost block."""
        self._close(raised=False)

    def throw(self) -> None:
        """Raise an exception, which closes all blocks up to the one that catches it."""
        self.blocks[-1].lines.append("raise Boom")
        self._leave("exception", "failed")

    def cancel(self) -> None:
        """Cancel, which closes all blocks up to the one that was made to be cancelled."""
        depth = max(place for place, block in enumerate(self.blocks) if block.catches == "cancellation")
        self.blocks[-1].lines += [f"await stage.cancel({depth})"]
        self._leave("cancellation", "cancelled")

    def can_throw(self) -> bool:
        """Whether an exception is caught somewhere."""
        return _reaches(self.blocks, "exception", lambda block: block.raises)

    def can_cancel(self) -> bool:
        """Whether there is something to be cancelled."""
        return self.place.is_async and _reaches(self.blocks, "cancellation", lambda block: block.cancels)

    def finished(self) -> Program:
        """The whole program."""
        while len(self.blocks) > 1:
            self.close()
        begin = ["async with stage.program():"] if self.backend is not None else []
        body = self.blocks[0].lines or ["pass"]
        kind = "async def" if self.backend is not None else "def"
        main = [f"{kind} main():", *_indented([*begin, *(_indented(body) if begin else body)])]
        text = "\n".join([_HEAD, *(f"{function}\n" for function in self._functions), *main, _FOOT])
        return Program(
            text, self.backend, self._seen, frozenset(self._asked), self._runs, frozenset(self._crossed), self._composed
        )

    # ------------------------------------------------------------------------------------------------------------------

    def _open(self, head: str, *, run: str | None, own: str | None = None, catches: str = "") -> None:
        near = self.place

        def close(block: Block, raised: bool) -> list[str]:  # noqa: FBT001
            lines = [head, *_indented(block.lines)]
            return lines if raised else [*lines, self._look(near)]

        self.blocks.append(Block(replace(near, run=run), close, own=own, catches=catches))
        self.look()

    def _cross(self, name: str, block: Block) -> None:
        self._crossed.add(name)
        self._composed = self._composed or self._walls > 0
        self._walls += 1
        close = block.close

        def closed(block: Block, raised: bool) -> list[str]:  # noqa: FBT001
            self._walls -= 1
            return close(block, raised)

        block.close = closed
        self.blocks.append(block)
        self.look()

    def _close(self, *, raised: bool, status: str | None = None) -> None:
        block = self.blocks.pop()
        if block.own is not None and block.own not in self._ended and status is not None:
            self._runs[block.own] = replace(self._runs[block.own], status=status)
        self.blocks[-1].lines += block.close(block, raised)

    def _leave(self, what: str, status: str) -> None:
        while self.blocks[-1].catches != what:
            self._close(raised=True, status=status)
        self.blocks[-1].caught = True
        self._close(raised=False)

    def _beyond(self, wall: Wall, near: Place) -> str | None:
        seen = {HERE: near.run, NOBODY: None, STRANGERS: STRANGER_RUN, JOINED: near.joined}
        if near.is_patched and wall.patched:
            return near.run
        return self._run(near.run, wall.runs_as) if wall.sees == OWN else seen[wall.sees]

    def _run(self, parent: str | None, called: str = "{run}") -> str:
        name = called.replace("{run}", f"r{len(self._runs) + 1}")
        self._runs[name] = ExpectedRun(parent, "succeeded")
        return name

    def _function(self, lines: list[str], *, is_async: bool) -> str:
        self._names += 1
        name = f"f{self._names}"
        self._functions.append("\n".join([f"{'async ' if is_async else ''}def {name}():", *_indented(lines)]))
        return name

    def _consume(self, lines: list[str], template: str) -> None:
        """Write lines, and look after those that end with a `#`, and after the last."""
        for part in template.split("#\n"):
            lines += [*part.split("\n"), self._look(self.place)]

    def _look(self, place: Place) -> str:
        number = self._number()
        self._seen[number] = place.run
        return f"see({number}, {place.run!r})"

    def _number(self) -> int:
        return len(self._seen) + len(self._asked) + 1


def _joins(wall: Wall, near: Place) -> bool:
    """Whether the process beyond a wall joins the current run through its environment."""
    return "child_env" in wall.call or (wall.sees == JOINED and near.is_patched)


def _indented(lines: list[str]) -> list[str]:
    return [f"    {line}" for line in lines]


def _reaches(blocks: list[Block], what: str, passes: Callable[[Block], bool]) -> bool:
    for block in reversed(blocks):
        if block.catches == what:
            return True
        if not passes(block):
            return False
    return False
