"""A wall, and the ways to cross one that several have in common.

A wall is opened once, inside the run of a stranger: whatever workers it has begin there. Then work crosses it, again
and again, from other runs.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Final, Literal

from agent_run_id.ids import RunId
from agent_run_id.run_context import RunContext
from agent_run_id.walls.work import call, glance

__all__ = [
    "ASYNCIO",
    "EVERY",
    "NOTHING",
    "Cross",
    "Opener",
    "Verdict",
    "Wall",
    "Way",
    "Work",
    "blocking",
    "mapped",
    "simple",
    "submit",
    "verdict",
    "with_pool",
    "worst",
]

Work = Callable[[], Any]
Cross = Callable[[Work], Awaitable[Any]]
Opener = Callable[[], contextlib.AbstractAsyncContextManager[Cross]]

Verdict = Literal["kept", "coarse", "lost", "wrong", "failed"]
"""What the code beyond a wall sees: the right run, an ancestor of it, none, another; or it could not be crossed."""

Way = Literal["plain", "patched", "explicit"]
"""By the plain call, by the plain call while `patch_stdlib` is on, or by our own."""

EVERY: Final = ("asyncio", "eager", "uvloop", "trio")
"""Every event loop: asyncio with lazy and with eager tasks, uvloop, trio."""
ASYNCIO: Final = EVERY[:3]
NOTHING: Final = "nothing needed"
_FROM_GOOD_TO_BAD: Final[tuple[Verdict, ...]] = ("kept", "coarse", "lost", "wrong", "failed")


@dataclass(frozen=True, slots=True)
class Wall:
    """One boundary.

    Attributes:
        name: What is crossed, as a reader would look for it, in Markdown.
        plain: What the plain call comes to.
        call: What to write instead, or that nothing is needed.
        opens: The wall, crossed by our call.
        opens_plainly: The wall, crossed by the plain call.
        patched: What the plain call comes to while `patch_stdlib` is on; None for the same as without.
        opens_patched: The wall, crossed by the plain call while `patch_stdlib` is on; None for as without.
        loops: The event loops that have such a wall.
        needs: The library that has it; None for one that is always here.
        in_process: Whether both sides are in one process, and objects could be kept alive.
        awaits: Whether the event loop has a part in it, so that it has to be crossed on each.
    """

    name: str
    plain: Verdict
    call: str
    opens: Opener
    opens_plainly: Opener
    patched: Verdict | None = None
    opens_patched: Opener | None = None
    loops: tuple[str, ...] = EVERY
    needs: str | None = None
    in_process: bool = True
    awaits: bool = True

    def by(self, way: Way) -> Opener:
        """The wall, crossed in one of the three ways."""
        if way == "explicit":
            return self.opens
        return self.opens_patched if way == "patched" and self.opens_patched else self.opens_plainly

    @property
    def promised(self) -> Verdict:
        """What the plain call comes to while `patch_stdlib` is on."""
        return self.patched or self.plain

    @property
    def is_here(self) -> bool:
        """Whether the library that has it is installed."""
        return self.needs is None or _is_installed(self.needs)


def _is_installed(library: str) -> bool:
    try:
        return find_spec(library) is not None
    except (ImportError, ValueError):  # somebody has seen to it that it cannot be imported
        return False


def simple(cross: Cross) -> Opener:
    """A wall without workers."""

    @asynccontextmanager
    async def opened() -> AsyncGenerator[Cross]:
        yield cross

    return opened


def blocking(cross: Callable[[Work], Any]) -> Opener:
    """A wall without workers, whose crossing blocks for a moment."""

    async def crossing(work: Work) -> Any:
        return cross(work)

    return simple(crossing)


def with_pool(make: Callable[[], Any], cross: Callable[[Any, Work], Any]) -> Opener:
    """A wall whose workers are there before the run, inside a stranger's."""

    @asynccontextmanager
    async def opened() -> AsyncGenerator[Cross]:
        with make() as pool:
            cross(pool, int)  # the workers begin

            async def crossing(work: Work) -> Any:
                return cross(pool, work)

            yield crossing

    return opened


def submit(pool: Any, work: Work) -> Any:
    """Cross by `submit`."""
    return pool.submit(work).result()


def mapped(pool: Any, work: Work) -> Any:
    """Cross by `map`."""
    return list(pool.map(call, [work]))[0]  # noqa: RUF015 - all of it


async def verdict(opens: Opener) -> Verdict:
    """Cross a wall from two runs, its workers having begun in a third, and say what it comes to."""
    runs = [RunId.generate(RunId.generate()) for _ in range(2)]
    seen: list[str | None] = []
    with RunContext(RunId.generate()):
        async with opens() as cross:
            for run in runs:
                with RunContext(run):
                    seen.append(await cross(glance))
    return worst(_judged(token, run) for token, run in zip(seen, runs, strict=True))


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """The worst of some verdicts."""
    return max(verdicts, key=_FROM_GOOD_TO_BAD.index)


def _judged(token: str | None, run: RunId) -> Verdict:
    if token == run.token:
        return "kept"
    if token is None:
        return "lost"
    return "coarse" if token[:36] in (run.parent_id, run.root_id) else "wrong"
