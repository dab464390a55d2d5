"""The latest: what was recorded last in a directory, read from the ends of its journals.

The index has no order by time of all events, since nothing else needs one. A journal has that of its process, and when
it was last written to tells which need not be opened.
"""

from __future__ import annotations

import heapq
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from agent_run_id.errors import StoreError
from agent_run_id.events import PROCESS_STARTED
from agent_run_id.following import record_of
from agent_run_id.layout import JOURNALS, parse_name
from agent_run_id.reading import header_of, lines_from, parse_line, read_header

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from agent_run_id.schema import EventRecord

__all__ = ["latest_events"]

_BLOCK: Final = 65_536
_MARGIN_S: Final = 2.0
"""So much may the clock of a file system differ from that of an event."""


def latest_events(directory: str, count: int) -> list[EventRecord]:
    """The events that were recorded last, the oldest of them first.

    Args:
        directory: The directory that the folder of the journals is in; it need not be there.
        count: How many at the most.

    Raises:
        StoreError: (an `OSError`) the folder is there and cannot be read.
    """
    found: list[EventRecord] = []
    for modified, path, is_bundle in _files(Path(directory, JOURNALS)):
        if len(found) == count and (not count or _order(found[0])[0].timestamp() > modified + _MARGIN_S):
            break
        try:
            more = _of_bundle(path) if is_bundle else _from_end(path, count)
            # What was folded a moment ago, or copied, is in two files.
            once = {(event.process_id, event.seq): event for event in (*found, *more)}
            found = heapq.nlargest(count, once.values(), key=_order)[::-1]
        except FileNotFoundError:  # folded, or too old, since the folder was looked at
            continue
    return found


def _files(folder: Path) -> list[tuple[float, str, bool]]:
    """When each file was last written to, the latest first."""
    files: list[tuple[float, str, bool]] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                name = parse_name(entry.name)
                if name is not None:
                    files.append((entry.stat().st_mtime, entry.path, name.is_bundle))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StoreError(f"the journals in {folder} cannot be read: {error.strerror}") from error
    return sorted(files, reverse=True)


def _of_bundle(path: str) -> Iterator[EventRecord]:
    """Everything in a bundle: the journals in it are in no order of time."""
    process = ""
    for line, _ in lines_from(path, 0):
        for event in parse_line(line)[0]:
            header = header_of(event)
            if header is not None:
                process = header.process
            elif (record := record_of(event, process)) is not None:
                yield record


def _from_end(path: str, count: int) -> list[EventRecord]:
    """The last events of a journal."""
    header = read_header(path)
    if header is None:
        return []
    found: list[EventRecord] = []
    for line in _backwards(path):
        for event in parse_line(line)[0]:
            record = None if event.get("type") == PROCESS_STARTED else record_of(event, header.process)
            if record is not None:
                found.append(record)
        if len(found) >= count:
            break
    return found


def _backwards(path: str) -> Iterator[bytes]:
    """The lines of a file, the last first."""
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - as everywhere where there may be many
        at, rest = file.seek(0, os.SEEK_END), b""
        while at > 0:
            step = min(_BLOCK, at)
            at = file.seek(at - step)
            rest, *lines = (file.read(step) + rest).split(b"\n")
            yield from reversed(lines)
        yield rest


def _order(event: EventRecord) -> tuple[datetime, str, int]:
    return event.time, event.process_id, event.seq
