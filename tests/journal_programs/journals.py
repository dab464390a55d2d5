"""Journals made by hand, and what is read of journals without the library."""

from __future__ import annotations

import contextlib
import fcntl
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent_run_id.hosts import describe_process

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Mapping, Sequence

    from agent_run_id import RunId

    Line = Mapping[str, Any] | bytes

T0 = 1_700_000_000_000_000
"""When what is made by hand happens, in microseconds."""
PROCESS = "0123456789abcdef0123456789abcdef"


def event(seq: int, kind: str, run_id: RunId, /, *, time: int = T0, **fields: Any) -> dict[str, Any]:
    """One event; its time is in microseconds."""
    return {"v": 1, "type": kind, "run": run_id.token, "time": time, "seq": seq, **fields}


def started(run_id: RunId, **fields: Any) -> dict[str, Any]:
    """The start of a run, not numbered yet."""
    return event(0, "run.started", run_id, **{"name": run_id.short(), **fields})


def encode(line: Line) -> bytes:
    return line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n"


def write_journal(
    directory: Path, lines: Iterable[Line], *, name: str = "one", process: str = PROCESS, **header: Any
) -> Path:
    """Write the journal of a process that has died, unless `header` says otherwise."""
    folder = directory / "journal"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / f"{name}.jsonl"
    path.touch(mode=0o600)
    first = {
        "v": 1,
        "type": "process.started",
        "time": T0,
        "process": process,
        "segment": 1,
        "locked": True,
        "inode": path.stat().st_ino,
        **describe_process(),
        **header,
    }
    path.write_bytes(encode(first) + b"".join(map(encode, lines)))
    return path


def crafted(directory: Path, lines: Sequence[dict[str, Any]], **header: Any) -> Path:
    """Write the journal of a process that has died, its events numbered in their order."""
    return write_journal(directory, [{**line, "seq": seq} for seq, line in enumerate(lines, 1)], **header)


@contextlib.contextmanager
def held(path: Path) -> Generator[None]:
    """Hold the lock of a journal, as the living process that owns it does."""
    with path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


def journals_of(directory: Path | str) -> list[Path]:
    """The journals a reader sees, in the order of their names."""
    return sorted(path for path in Path(directory, "journal").glob("*.jsonl") if not path.name.startswith("."))


def read_lines(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The header and the events of a journal, of which every line must be whole."""
    header, *events = [json.loads(line) for line in path.read_bytes().splitlines()]
    return header, events


def events_by_process(directory: Path | str) -> dict[str, list[dict[str, Any]]]:
    """The events of every process, over all its segments, in the order they were written."""
    found: dict[str, list[tuple[int, list[dict[str, Any]]]]] = {}
    for path in journals_of(directory):
        header, events = read_lines(path)
        found.setdefault(header["process"], []).append((header["segment"], events))
    return {process: [e for _, events in sorted(parts) for e in events] for process, parts in found.items()}
