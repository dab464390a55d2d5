"""The index: a SQLite database built from journals, which answers what reading them all would answer, only sooner.

`database` opens it, or makes it anew. `update` reads what is new in the journals: `lines` decodes it, `applied` tells
what was there before, `runs` writes what a batch of events changes, with `ids`, `processes`, `states` and `rows`;
`forget` removes what the journals have no more. `layout` has the tables.
"""

from __future__ import annotations

from agent_run_id.index.database import INDEX_VERSION, Index
from agent_run_id.index.update import Progress

__all__ = ["INDEX_VERSION", "Index", "Progress"]
