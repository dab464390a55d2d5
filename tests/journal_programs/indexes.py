"""Where an index is, and runs of the dead for it to hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agent_run_id import RunId
from agent_run_id.index import INDEX_VERSION, texts
from tests.journal_programs.journals import event, write_journal

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

NAME = f"index-{INDEX_VERSION}.sqlite3"
SEEN = RunId("11111111-1111-4111-8111-111111111111")


SEARCHES = {"few": (4_000, 0.15), "many": (0, 2), "most": (0, 0)}
"""How a search goes about words that few runs hold, many, or most of all: what decides it."""


def search_as(how: str, patch: pytest.MonkeyPatch) -> None:
    """Have every search go about its words in this way."""
    few, most = SEARCHES[how]
    patch.setattr(texts, "_FEW", few)
    patch.setattr(texts, "_MOST", most)


def started(**fields: Any) -> dict[str, Any]:
    """The start of the run `SEEN`, the first event of its process."""
    return event(1, "run.started", SEEN, **fields)


def some_runs(directory: Path, count: int = 300) -> None:
    """Enough for an index of many pages, by a process that has died."""
    ids = [RunId(f"{number:08x}-0000-4000-8000-000000000000") for number in range(1, count + 1)]
    write_journal(directory, [event(seq, "run.started", run, name="x" * 50) for seq, run in enumerate(ids, 1)])


def index_of(directory: Path) -> Path:
    return directory / NAME
