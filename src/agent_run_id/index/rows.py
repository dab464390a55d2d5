"""Rows: what the events of a run come to, as a row of the index, for a whole batch of runs at once.

Most runs of a batch were never seen before and are over within it: such a row is put together without folding
anything. Of all others the events are read back and folded anew, so that no order of arrival can give another content.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, cast

from pydantic_core import from_json, to_json

from agent_run_id.errors import InvalidRunIdError
from agent_run_id.events import RUN_ENDED, RUN_STARTED, RUN_STEP, RUN_UPDATED
from agent_run_id.folding import FOLDED, StoredEvent
from agent_run_id.ids import RunId
from agent_run_id.index.ids import id_bytes
from agent_run_id.index.layout import LOST, RUNNING, STATUSES, status_code
from agent_run_id.outcomes import ENDINGS
from agent_run_id.reading import decode
from agent_run_id.tenures import HANDING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from agent_run_id.folding import FoldedRun
    from agent_run_id.index.lines import Line

__all__ = [
    "COLUMNS",
    "Entry",
    "Named",
    "Place",
    "Row",
    "between",
    "compact",
    "decoded",
    "folded_row",
    "kept_in_row",
    "plain_row",
    "stored_between",
    "unwrapped",
]

COLUMNS: Final = (
    "pk, id, parent, root, depth, status, name, kind, key, user_id, session_id, owner, seq, started_at, started,"
    " end_seq, ended_at, ended, last_event_at, details"
)
Entry = tuple[int, "Line"]
"""A process, by its row, and an event of it."""
Place = tuple[int | None, int | None, int]
"""Where a run is in the tree: the rows of its parent and of its root, and its depth."""
Row = tuple[Any, ...]
"""The values of `COLUMNS`."""

_ENDINGS: Final = {status: STATUSES.index(status) for status in ENDINGS}
_TEXTS: Final = ("name", "kind", "key", "user_id", "session_id")
_TYPES: Final = frozenset({str, type(None)})
_HUGE: Final = re.compile(r"[0-9][eE]\+?[0-9]{3}").search
_LISTS: Final[tuple[str, ...]] = ("tags", "aliases", "links")
_FOUND_BY: Final = frozenset(_LISTS)
_BETWEEN: Final = FOLDED - {RUN_STARTED, RUN_ENDED, *HANDING}
_IS_NAME: Final = re.compile("[a-z_.]+").fullmatch
_MOST_INSIDE: Final = 50  # events
_LARGEST_INSIDE: Final = 65_536  # characters


@dataclass(slots=True)
class Named:
    """What runs are found by that is not in their rows: tags, aliases, keys of linked runs, each with a run's row."""

    tags: list[tuple[str, int]] = field(default_factory=list[tuple[str, int]])
    aliases: list[tuple[str, int]] = field(default_factory=list[tuple[str, int]])
    links: list[tuple[bytes, int]] = field(default_factory=list[tuple[bytes, int]])

    def add(self, run: int, details: Mapping[str, Any]) -> None:
        """Note what a run says of itself."""
        self.tags += ((tag, run) for tag in details.get("tags", ()))
        self.aliases += ((alias, run) for alias in details.get("aliases", ()))
        self.links += ((key, run) for link in details.get("links", ()) if (key := _linked(link)) is not None)


def plain_row(pk: int, key: bytes, place: Place, entries: Sequence[Entry], dead: set[int], named: Named) -> Row | None:
    """The row of a run that was never seen before; None where it takes more than a look at its events.

    What happened between its start and its end is put into the row as it is, for readers to fold, where it is not much.

    Args:
        pk: Its row.
        key: Its id.
        place: Where it is in the tree.
        entries: Its events in the order they were read.
        dead: The processes that have died, by row.
        named: Gets its tags, aliases and links.
    """
    process, start = entries[0]
    data = start.data
    texts = [data.get(column) for column in _TEXTS]
    if start.type != RUN_STARTED or not _is_plain(entries) or not _TYPES.issuperset(map(type, texts)):
        return None
    lists = {name: data[name] for name in _LISTS if name in data}
    if not all(type(found) is list and all(type(item) is str for item in found) for found in lists.values()):
        return None
    last = entries[-1][1]
    status = LOST if process in dead else RUNNING
    ends: tuple[int | None, int | None, str | None] = (None, None, None)
    behind = len(entries)
    if last.type == RUN_ENDED:
        status = _ENDINGS[last.data["status"]]
        ends = (last.seq, last.time, last.raw)
        behind -= 1
    inside: str | None = None
    if behind > 1:
        events = [f'["{line.type}",{{{line.raw}}},{line.seq},{line.time}]' for _, line in entries[1:behind]]
        inside = f"[{','.join(events)}]"
        if behind > _MOST_INSIDE or len(inside) > _LARGEST_INSIDE:
            return None
    if lists:
        named.add(pk, lists)
    return (pk, key, *place, status, *texts, process, start.seq, start.time, start.raw, *ends, last.time, inside)


def _is_plain(entries: Sequence[Entry]) -> bool:
    """Whether these are a start and, maybe, an end, and what is between them is in order, all in one process.

    What happened in between is then for the readers to fold: most runs nobody ever looks at.
    """
    process, before = entries[0]
    last = entries[-1][1]
    for other, line in entries[1:]:
        if other != process or line.time < before.time or line.seq <= before.seq:
            return False
        if not _is_between(line) and not (line is last and _is_end(line)):
            return False
        before = line
    return True


def _is_between(line: Line) -> bool:
    kind = line.type
    if kind == RUN_UPDATED:
        return _FOUND_BY.isdisjoint(line.data)  # what a run is found by is not for the readers to find out
    return kind == RUN_STEP or kind in _BETWEEN or (kind not in FOLDED and _IS_NAME(kind) is not None)


def _is_end(line: Line) -> bool:
    status = line.data.get("status")
    return line.type == RUN_ENDED and isinstance(status, str) and status in _ENDINGS


def folded_row(
    pk: int, key: bytes, place: Place, run: FoldedRun, *, owner: int | None, dead: bool, heard: int | None,
    raws: Mapping[tuple[str, int], str],
) -> Row:  # fmt: skip
    """The row of any run, by what all its events come to.

    Args:
        pk: Its row.
        key: Its id.
        place: Where it is in the tree.
        run: What its events come to.
        owner: The row of the process that owns it.
        dead: Whether that has died.
        heard: When it was last heard of.
        raws: The JSON of its events, by process and number.
    """
    status = status_code(run.status)
    if status == RUNNING and dead:
        status = LOST
    start, end = kept_in_row(run)
    details: str | None = None
    if (start is not None) + (end is not None) != len(run.events):
        whole = {**run.details, "summary": run.summary, "elapsed": run.elapsed}
        details = to_json(whole, inf_nan_mode="strings").decode()
    return (
        pk, key, *place, status, run.name, run.kind, run.key, run.user_id, run.session_id,
        owner, run.seq, run.started_at, None if start is None else raws[start.process, start.seq],
        None if end is None else end.seq, run.ended_at, None if end is None else raws[end.process, end.seq],
        heard, details,
    )  # fmt: skip


def kept_in_row(run: FoldedRun) -> tuple[StoredEvent | None, StoredEvent | None]:
    """The start and the end that are kept in the row itself: those that count, of the process that owns the run."""
    start, end = run.start, run.end
    if start is None or start.type != RUN_STARTED or start.process != run.owner:
        return None, None
    return start, end if end is not None and end.process == start.process else None


def unwrapped(raw: str) -> dict[str, Any]:
    """The fields of an event by what is kept of it."""
    return decoded(raw)[0]


def decoded(*raws: str) -> list[dict[str, Any]]:
    """The fields of several events by what is kept of them."""
    return cast("list[dict[str, Any]]", _values(f"[{{{'},{'.join(raws)}}}]"))


def between(details: str) -> list[tuple[str, dict[str, Any], int, int]] | None:
    """Type, fields, number and time of the events between start and end; None where a row has what they came to."""
    return cast("list[tuple[str, dict[str, Any], int, int]]", _values(details)) if details.startswith("[") else None


def stored_between(details: str, owner: str) -> list[StoredEvent]:
    """Those events, of the process that owns the run; none where they are elsewhere."""
    return [StoredEvent(owner, seq, time, kind, data) for kind, data, seq, time in between(details) or ()]


def compact(data: dict[str, Any]) -> str:
    """What is kept of the fields of an event."""
    return json.dumps(data, ensure_ascii=False, separators=(",", ":"))[1:-1]


def _values(text: str) -> Any:
    # The quick decoder reads a number too large for a float as infinite, which is no JSON.
    return decode(text) if _HUGE(text) else from_json(text)


def _linked(link: str) -> bytes | None:
    """The key of the run that a link names by id or token; None where it names something else."""
    try:
        return id_bytes((RunId.from_token(link) if "." in link else RunId(link)).value)
    except InvalidRunIdError:
        return None
