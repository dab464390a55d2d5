"""Walls: the far side sees the submitter's run and that run only, whatever its worker was started in."""

from __future__ import annotations

import gc
import weakref
from typing import TYPE_CHECKING, Any

import pytest

from agent_run_id import RunContext, RunId, current_run_id
from agent_run_id.walls.every import WALLS
from agent_run_id.walls.wall import verdict
from agent_run_id.walls.work import look
from tests.conftest import BACKENDS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from agent_run_id.walls.wall import Wall

# Forking beside threads is what a program with a pool in it does; Python 3.12 and later warn of it.
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


def cases(walls: list[Wall]) -> pytest.MarkDecorator:
    """Every wall on every event loop that has it."""
    return pytest.mark.parametrize(
        ("wall", "anyio_backend"),
        [
            pytest.param(wall, backend.values[0], id=f"{wall.name.replace('`', '')}-{backend.id}")
            for wall in walls
            for backend in BACKENDS
            if backend.id in wall.loops
        ],
        indirect=["anyio_backend"],
    )


@pytest.mark.anyio
@cases(WALLS)
async def test_the_far_side_sees_the_submitters_run_and_that_run_only(wall: Wall) -> None:
    """From one run, from another and from none, while the workers began inside a stranger's."""
    stranger = RunId.generate()
    runs = [RunId.generate(RunId.generate()), RunId.generate(RunId.generate(RunId.generate())), None]
    with RunContext(stranger):
        async with wall.opens() as cross:
            for run in (*runs, runs[0]):
                with RunContext(run):
                    assert await cross(look) == (None if run is None else run.token)
                    assert current_run_id() is run, "what the far side set leaked back"
                assert current_run_id() is stranger, "the near side is not as it was"
    assert current_run_id() is None


@pytest.mark.anyio
@cases(WALLS)
async def test_the_plain_call_comes_to_what_the_table_says(wall: Wall) -> None:
    assert await verdict(wall.opens_plainly) == wall.plain


class Payload:
    """Something of the user's."""

    def __call__(self) -> str | None:
        return look()


async def _cross_with_a_payload(cross: Callable[[Any], Awaitable[Any]]) -> list[weakref.ref[Any]]:
    payload, scope = Payload(), RunContext(RunId.generate())
    with scope:
        await cross(payload)
    return [weakref.ref(payload)]


@pytest.mark.anyio
@cases([wall for wall in WALLS if wall.in_process])
async def test_nothing_keeps_what_crossed_alive(wall: Wall) -> None:
    async with wall.opens() as cross:
        kept = await _cross_with_a_payload(cross)
        with RunContext(None):
            await cross(int)  # a worker lets go of an item when it gets the next
    gc.collect()
    assert [ref() for ref in kept] == [None]
