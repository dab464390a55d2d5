"""Print the table of the walls, to be pasted into docs/walls.md."""

from __future__ import annotations

from tests.walls import table

print(table())  # noqa: T201 - that is what it is for
