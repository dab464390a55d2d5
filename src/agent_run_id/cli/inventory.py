"""``runid stats``: what a directory holds."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from agent_run_id.cli.documents import encoded
from agent_run_id.cli.options import AsJson, Directory, nothing_in, opened
from agent_run_id.cli.output import Output, complain
from agent_run_id.cli.sizes import size
from agent_run_id.index import Index
from agent_run_id.rendering import Line, label

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from agent_run_id.answers import Stats
    from agent_run_id.rendering import Role

__all__ = ["stats"]

_NAME: Final = 12
_MOST: Final = 12

Part = str | tuple[str, "Role"]


def stats(*, json: AsJson = False, directory: Directory = None) -> None:
    """Tell how much is recorded: runs, events, processes, journals.

    Runs by status and by kind, how many of them are roots, from when to when they started; processes by whether they
    live; the journals with their size and how many pieces of them cannot be read, and the index made from them.

    With --json: an object with "directory", "index" (null when it is only in memory) and the fields of
    `agent_run_id.Stats`.
    """
    with opened(directory) as registry:
        found = registry.stats()
        place = Index(registry.directory).path
        index = str(place) if place.exists() else None
    output = Output()
    if json:
        output.write(f"{encoded({'directory': registry.directory, 'index': index, **found.model_dump()})}\n")
        return
    for name, parts in _told(registry.directory, index, found):
        output.line(Line((f"{name:<{_NAME}}", "heading"), *parts), rest=" " * _NAME)
    if not found.journals:
        complain(nothing_in(registry.directory, is_named=directory is not None))


def _told(directory: str, index: str | None, found: Stats) -> Iterator[tuple[str, list[Part]]]:
    yield "directory", [directory]
    yield "runs", [f"{found.runs:,}", *_by_status(found)]
    yield "roots", [f"{found.roots:,}"]
    if found.by_kind:
        yield "kinds", [_counts(found.by_kind)]
    if found.first_start is not None and found.last_start is not None:
        yield "started", [f"{_moment(found.first_start)} to {_moment(found.last_start)}"]
    yield "events", [f"{found.events:,}"]
    if found.processes:
        yield "processes", [_counts(found.processes)]
    yield "journals", [f"{found.journals:,}, {size(found.journal_bytes)}"]
    if found.unreadable:
        pieces = "1 piece" if found.unreadable == 1 else f"{found.unreadable:,} pieces"
        yield "unreadable", [(f"{pieces} of them; `runid doctor` tells where", "failed")]
    if found.journals:
        yield "index", [f"{index or 'in memory only'}, {size(found.index_bytes)}"]


def _by_status(found: Stats) -> Iterator[Part]:
    before = ": "
    for status, count in found.by_status.items():
        sign, role = label(status)
        yield f"{before}{count:,} "
        yield sign, role
        before = ", "


def _counts(counts: Mapping[Any, int]) -> str:
    told = [f"{count:,} {name}" for name, count in islice(counts.items(), _MOST)]
    return ", ".join(told if len(counts) <= _MOST else [*told, f"… and {len(counts) - _MOST:,} more"])


def _moment(when: datetime) -> str:
    return f"{when.astimezone():%Y-%m-%d %H:%M:%S}"
