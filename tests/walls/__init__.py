"""Every wall, crossed by the plain call and by ours. The tests run it, and the table of docs/walls.md is made from it.

A wall is opened once, inside the run of a stranger: whatever workers it has begin there. Then work crosses it, again
and again, from other runs and from none.
"""

from __future__ import annotations

from tests.walls.processes import PROCESSES
from tests.walls.queues import QUEUES
from tests.walls.tasks import TASKS
from tests.walls.threads import THREADS
from tests.walls.wall import Cross, Opener, Wall, look, verdict

__all__ = ["WALLS", "Cross", "Opener", "Wall", "look", "table", "verdict"]

WALLS = [*TASKS, *THREADS, *QUEUES, *PROCESSES]


def table() -> str:
    """The table of the walls, in Markdown."""
    rows = [f"| {wall.name} | {wall.plain} | {wall.call} |" for wall in WALLS]
    return "\n".join(["| wall | by the plain call | what to write |", "|---|---|---|", *rows])
