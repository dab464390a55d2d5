"""Testing: look at what a piece of code records, and say what it should have been.

Importing it costs nothing. What reads runs is loaded when it is first asked for, and so is hypothesis, which only
`run_ids` and `trees` need.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from agent_run_id.testing.asserting import assert_tree, tree_text
    from agent_run_id.testing.capturing import capture_runs
    from agent_run_id.testing.fixing import fixed_runs
    from agent_run_id.testing.strategies import run_ids, trees

__all__ = ["assert_tree", "capture_runs", "fixed_runs", "run_ids", "tree_text", "trees"]

_ROOMS: Final = {
    "assert_tree": "asserting",
    "capture_runs": "capturing",
    "fixed_runs": "fixing",
    "run_ids": "strategies",
    "tree_text": "asserting",
    "trees": "strategies",
}


def __getattr__(name: str) -> Any:
    try:
        room = _ROOMS[name]
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    value = getattr(import_module(f"{__name__}.{room}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
