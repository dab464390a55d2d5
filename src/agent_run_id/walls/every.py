"""Every wall, by the kind of it. The tests go through them, the doctor does, and the table of the docs is made of them.

Importing this loads neither an event loop's library but anyio, nor any other optional one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from agent_run_id.walls.generators import GENERATORS
from agent_run_id.walls.processes import PROCESSES
from agent_run_id.walls.programs import PROGRAMS
from agent_run_id.walls.queues import QUEUES
from agent_run_id.walls.tasks import TASKS
from agent_run_id.walls.threads import THREADS

if TYPE_CHECKING:
    from agent_run_id.walls.wall import Wall

__all__ = ["GROUPS", "WALLS", "table"]

GROUPS: Final[dict[str, list[Wall]]] = {
    "tasks": TASKS,
    "threads": THREADS,
    "generators": GENERATORS,
    "queues": QUEUES,
    "processes": PROCESSES,
    "programs": PROGRAMS,
}
"""The walls of each kind."""

WALLS: Final[list[Wall]] = [wall for walls in GROUPS.values() for wall in walls]
"""All of them, in the order of the table."""


def table() -> str:
    """The table of the walls, in Markdown."""
    rows = [f"| {wall.name} | {wall.plain} | {wall.promised} | {wall.call} |" for wall in WALLS]
    return "\n".join(["| wall | by the plain call | patched | what to write |", "|---|---|---|---|", *rows])
