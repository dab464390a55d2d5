"""Walls: every boundary of the table, crossed by the plain call, by the plain call with patches on, and by ours.

`every` has them all, `wall` says what one is, and each kind has a room. `work` is what is called on the far side, and
`crossing` crosses many of them in a process of its own: ``python -m agent_run_id.walls``, which `runid doctor` starts.
Optional libraries are loaded where a wall is opened that needs them, and nowhere else.
"""

from __future__ import annotations

__all__: list[str] = []
