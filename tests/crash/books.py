"""The books: all journals of a directory, read as lines of JSON and nothing else, without the library."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.crash.actors import Problem

__all__ = ["Account", "Books", "Entry"]

_LABELS: Final = ("name", "call_id", "question", "summary", "output")
"""Where an event has its writer's name and number, whatever its type."""
_TRIES: Final = 5


@dataclass(frozen=True, slots=True)
class Entry:
    """One event, as it stands in a journal."""

    type: str
    run: str
    label: str
    status: str | None


@dataclass(slots=True)
class Account:
    """What one process wrote, in all its journals.

    Attributes:
        pid: Its pid, by its headers.
        entries: Its events by their numbers.
        fragments: Pieces of lines that cannot be read.
        interrupted: How many of them have something behind them, in a journal of its own.
    """

    pid: int
    entries: dict[int, Entry] = field(default_factory=dict)
    fragments: set[bytes] = field(default_factory=set)
    interrupted: int = 0


class Books:
    """All journals of a directory.

    Attributes:
        accounts: What each process wrote, by its id.
        journals: How many files there are of one process each.
        bundles: How many there are of many processes, into which journals were folded.
        unfinished: How many never got their name.

    Raises:
        Problem: they contradict themselves.
    """

    def __init__(self, directory: str) -> None:
        for again in range(_TRIES):
            self.accounts: dict[str, Account] = {}
            self.journals = self.bundles = self.unfinished = 0
            try:
                self._read_all(Path(directory, "journal"))
            except FileNotFoundError:
                if again == _TRIES - 1:
                    raise
                # It was folded into a bundle meanwhile.
            else:
                return

    @property
    def entries(self) -> int:
        """How many events there are."""
        return sum(len(account.entries) for account in self.accounts.values())

    @property
    def fragments(self) -> int:
        """How many lines are torn."""
        return sum(len(account.fragments) for account in self.accounts.values())

    def _read_all(self, folder: Path) -> None:
        paths = sorted(folder.iterdir())
        visible = [path for path in paths if path.suffix == ".jsonl" and not path.name.startswith(".")]
        bundles = [path for path in visible if "-bundle-" in path.name]
        self.journals, self.bundles = len(visible) - len(bundles), len(bundles)
        self.unfinished = len(paths) - len(visible)
        for path in visible:
            if path not in bundles:
                self._read(path, seen=None)
        for path in bundles:
            self._read(path, seen=set())

    def _read(self, path: Path, *, seen: set[tuple[str, int]] | None) -> None:
        """Read one file; of a bundle, `seen` is what is in it, for the same may be in journals and other bundles."""
        *lines, rest = path.read_bytes().split(b"\n")
        account: Account | None = None
        process = ""
        for line in [*lines, rest] if rest else lines:
            try:
                event: dict[str, Any] = json.loads(line) if line is not rest else {}
            except ValueError:
                event = {}
            if event.get("type") == "bundle.started":
                continue
            if event.get("type") == "process.started":
                process = event["process"]
                account = self.accounts.setdefault(process, Account(event["pid"]))
            elif account is None:
                raise Problem(f"{path.name} does not begin with a header: {line[:200]!r}")
            elif event:
                self._enter(process, account, event, seen)
            else:
                account.fragments.add(line)
                account.interrupted += seen is None and line is not rest
        if account is None:
            raise Problem(f"{path.name} has no header")

    def _enter(self, process: str, account: Account, event: dict[str, Any], seen: set[tuple[str, int]] | None) -> None:
        label = next((str(event[name]) for name in _LABELS if name in event), "")
        seq, entry = event["seq"], Entry(event["type"], event["run"][:36], label, event.get("status"))
        other = account.entries.setdefault(seq, entry)
        if other != entry or (other is not entry if seen is None else (process, seq) in seen):
            raise Problem(f"number {seq} of process {process} is there twice: as {other.label} and as {label}")
        if seen is not None:
            seen.add((process, seq))
