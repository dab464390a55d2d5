"""The folder: which journals there are, whose they are, how long, and who of their processes lives.

Every call to the system lets go of the interpreter, and beside a thread that computes each may cost the caller 5 ms. So
a header is read once, of a living process one lock is looked at and of ourselves none, and a file is opened when it has
grown.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from agent_run_id.errors import StoreError
from agent_run_id.journal import current_journal
from agent_run_id.layout import parse_name
from agent_run_id.reading import read_header, state_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from agent_run_id.layout import Name
    from agent_run_id.liveness import State
    from agent_run_id.reading import Header

__all__ = ["Folder", "Found", "Look"]


class Found(NamedTuple):
    """A journal of one process, and how long it was before it was asked whether that lives.

    Nothing is written any more into one that `is_past`: its process has gone on in others since.
    """

    name: str
    path: str
    header: Header
    size: int
    inode: int
    is_past: bool = False


@dataclass(slots=True)
class Look:
    """What a look at the folder shows.

    Attributes:
        names: All files.
        found: The journals that may have grown, in the order of their names.
        bundles: The bundles that were not read yet, by name and path, with their size.
        states: Who lives of those whose journals were found.
        vanished: Whether a file went while it was looked at: it may be in a bundle by now.
    """

    names: set[str] = field(default_factory=set[str])
    found: list[Found] = field(default_factory=list[Found])
    bundles: list[tuple[str, str, int]] = field(default_factory=list[tuple[str, str, int]])
    states: dict[str, State] = field(default_factory=dict[str, "State"])
    vanished: bool = False


class Folder:
    """The folder of the journals, and what is remembered of them from one look to the next."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._headers: dict[str, tuple[int, int, Header]] = {}

    def look(self, is_read: Callable[[str], bool]) -> Look:
        """Look at the folder.

        Args:
            is_read: Whether nothing more can come from a file of this name.

        Raises:
            StoreError: it cannot be read.
        """
        look = Look()
        before, self._headers = self._headers, {}
        for name, path, parsed in self._entries():
            look.names.add(name)
            if is_read(name):
                continue
            try:
                status = os.stat(path)  # noqa: PTH116 - as everywhere where there may be many
            except OSError as error:
                look.vanished = look.vanished or isinstance(error, FileNotFoundError)
                continue
            if parsed.is_bundle:
                look.bundles.append((name, path, status.st_size))
            else:
                self._see(name, path, status, look, before)
        # Who lives is asked before anything is read, and then read to the end: what a dead process wrote is all there.
        look.states = _states(look.found)
        if "dead" in look.states.values():
            self._see_last_files(look, before)
        look.found = _with_past(look.found)
        return look

    def _see_last_files(self, look: Look, before: dict[str, tuple[int, int, Header]]) -> None:
        """Add what the dead went on in after the folder was listed, and before they were asked whether they live."""
        listed = len(look.found)
        for name, path, parsed in self._entries():
            if name not in look.names and not parsed.is_bundle:
                with suppress(FileNotFoundError):
                    self._see(name, path, os.stat(path), look, before)  # noqa: PTH116
        late = [found for found in look.found[listed:] if look.states.get(found.header.process) == "dead"]
        look.found[listed:] = late  # of others nobody knows yet whether they live; they come with the next look
        look.names.update(found.name for found in late)

    def _entries(self) -> list[tuple[str, str, Name]]:
        try:
            with os.scandir(self._path) as entries:
                named = [(entry.name, entry.path, parse_name(entry.name)) for entry in entries]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise StoreError(f"the journals in {self._path} cannot be read: {error.strerror}") from error
        return sorted((name, path, parsed) for name, path, parsed in named if parsed is not None)

    def _see(
        self, name: str, path: str, status: os.stat_result, look: Look, before: dict[str, tuple[int, int, Header]]
    ) -> None:
        device, inode, header = before.get(name, (0, 0, None))
        if header is None or (device, inode) != (status.st_dev, status.st_ino):
            header = read_header(path)
        if header is not None:
            self._headers[name] = (status.st_dev, status.st_ino, header)
            look.found.append(Found(name, path, header, status.st_size, status.st_ino))
        elif not os.path.exists(path):  # noqa: PTH110
            look.vanished = True


def _states(found: Iterable[Found]) -> dict[str, State]:
    """Whether each process lives, by all its journals: it holds the lock of at least one as long as it does."""
    ours = current_journal().process_id
    states: dict[str, State] = {}
    for journal in found:
        process = journal.header.process
        known = states.get(process, "unknown")
        if known != "alive":
            is_ours = process == ours and journal.header.fields.get("inode") == journal.inode
            state: State = "alive" if is_ours else state_of(journal.path, journal.header)
            if state == "alive" or known == "unknown":
                states[process] = state
    return states


def _with_past(found: list[Found]) -> list[Found]:
    """Mark those into which nothing is written any more.

    The first of a process is none of them, for its lock tells that the process lives; and in the last but one a thread
    may just be writing, if the last is new.
    """
    last: dict[str, int] = {}
    for journal in found:
        last[journal.header.process] = max(journal.header.segment, last.get(journal.header.process, 0))
    return [
        journal._replace(is_past=1 < journal.header.segment < last[journal.header.process] - 1) for journal in found
    ]
