"""Simulated processes: several in one, each with a journal of its own, whose lock goes when it dies."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from agent_run_id import journal as journal_room
from agent_run_id.journal import Journal

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path


class Simulated:
    """A process that records in a directory."""

    def __init__(self, directory: Path | str) -> None:
        self._directory = str(directory)
        self.journal = Journal(self._directory)
        self.journal.name()
        self.alive = True
        self.id = str(self.journal.process_id)

    @contextmanager
    def at_work(self) -> Generator[None]:
        """What is done meanwhile is done by this process."""
        current, journals = list(journal_room._current), dict(journal_room._journals)
        journal_room._current[:] = [self.journal]
        journal_room._journals[self._directory] = self.journal
        try:
            yield
        finally:
            journal_room._current[:] = current
            journal_room._journals.clear()
            journal_room._journals.update(journals)

    def die(self) -> None:
        self.alive = False
        self.journal.close()
