"""Hurry: housekeeping is done all the time, so that writers are killed at it and readers find its traces.

What is done every minute and with dozens of journals is done every second and with a few.
"""

from __future__ import annotations

from typing import Any, Final

from agent_run_id import housekeeping

_HURRIED: Final = {"_EVERY_S": 0.5, "_SETTLED_S": 1, "_MIN_JOURNALS": 12, "_MIN_BUNDLES": 4, "_LOTS": "20"}


def hurry() -> None:
    """Make housekeeping frequent in this process."""
    room: Any = housekeeping
    for name, value in _HURRIED.items():
        if not hasattr(room, name):
            raise AttributeError(f"housekeeping has no {name} any more")
        setattr(room, name, value)
