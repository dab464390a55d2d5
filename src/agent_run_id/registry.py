"""The registry: answers questions about runs, from any process, also while they run.

Every method first brings the index up to date, so what another process recorded a moment ago is there. Methods that
read never write; `start` and `finish` record like any other run, in the current directory of this process.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from agent_run_id import settings
from agent_run_id.diffing import FACTOR, FLOOR, Diff, diff
from agent_run_id.errors import InvalidRunIdError, RunNotFound, StoreError
from agent_run_id.folding import StoredEvent, in_order
from agent_run_id.ids import RunId
from agent_run_id.index import Index
from agent_run_id.journal import journal_in
from agent_run_id.runs import UNSET, Run
from agent_run_id.schema import EventRecord, ProcessRecord, RunRecord
from agent_run_id.starting import start_known_run
from agent_run_id.tree import Tree, grow

if TYPE_CHECKING:
    import os
    import sqlite3
    from collections.abc import Mapping, Sequence
    from typing import Self

    from agent_run_id.outcomes import Ending
    from agent_run_id.schema import Status

__all__ = ["RunRegistry"]

_RUN: Final = (
    "SELECT r.*, parent.id AS parent_id, root.id AS root_id, p.id AS process_id, p.state AS process_state,"
    " p.header AS process_header FROM runs r LEFT JOIN runs parent ON parent.pk = r.parent"
    " LEFT JOIN runs root ON root.pk = r.root LEFT JOIN processes p ON p.pk = r.owner"
)
_BELOW: Final = (
    "WITH RECURSIVE below (pk) AS (SELECT ?"
    " UNION SELECT r.pk FROM runs r JOIN below b ON r.parent = b.pk"
    " UNION SELECT r.pk FROM runs r JOIN below b ON r.root = b.pk) " + _RUN + " JOIN below ON below.pk = r.pk"
)
_LAST: Final = "@last"
_HEX: Final = frozenset("0123456789abcdef")


class RunRegistry:
    """Look-up of runs: by id, by the first characters of an id, or ``@last`` for the latest root.

    Args:
        directory: Where the journals are; by default where this process records.

    Raises:
        StoreError: (an `OSError`) no directory is given and recording is off, or the user has no home directory.
    """

    directory: str

    def __init__(self, directory: str | os.PathLike[str] | None = None) -> None:
        where = settings.directory() if directory is None else _absolute(directory)
        if where is None:
            raise StoreError("recording is off, so there is nothing to read: give RunRegistry a directory")
        self.directory = where
        self._index = Index(where)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the index. The registry can still be used; it opens it again."""
        self._index.close()

    def get(self, ref: RunId | str) -> RunRecord:
        """The record of one run.

        Args:
            ref: A `RunId`, the text of one, its first characters, or ``@last``.

        Raises:
            RunNotFound: (a `LookupError`) no run answers to `ref`, or more than one: then the message names them.
        """
        self._index.update()
        return self._record(self._find_one(ref))

    def children(self, ref: RunId | str) -> list[RunRecord]:
        """The runs directly under one, in the order they started.

        Raises:
            RunNotFound: as in `get`.
        """
        self._index.update()
        row = self._find_one(ref)
        parent = self._record(row)
        rows = self._index.read(f"{_RUN} WHERE r.parent = ?", [row["pk"]])
        return [node.record for node in grow(parent, [self._own_record(child) for child in rows]).children]

    def ancestors(self, ref: RunId | str) -> list[RunRecord]:
        """The runs above one: its parent first, the root last; as many as are known.

        Raises:
            RunNotFound: as in `get`.
        """
        self._index.update()
        chain = self._chain(self._find_one(ref))
        return [self._placed(record, chain[place + 1 :]) for place, record in enumerate(chain)][1:]

    def tree(self, ref: RunId | str) -> Tree:
        """One run with everything below it.

        Raises:
            RunNotFound: as in `get`.
        """
        self._index.update()
        row = self._find_one(ref)
        below = self._index.read(_BELOW, [row["pk"]])
        return grow(self._record(row), [self._own_record(r) for r in below if r["pk"] != row["pk"]])

    def diff(
        self,
        a: RunId | str,
        b: RunId | str,
        *,
        factor: float = FACTOR,
        floor: timedelta = FLOOR,
        ignore_volatile: bool = False,
    ) -> Diff:
        """Two runs compared with everything below them; see `agent_run_id.diff`.

        Raises:
            RunNotFound: as in `get`.
        """
        return diff(self.tree(a), self.tree(b), factor=factor, floor=floor, ignore_volatile=ignore_volatile)

    def events(self, ref: RunId | str) -> list[EventRecord]:
        """Everything recorded of one run, in order.

        Raises:
            RunNotFound: as in `get`.
        """
        self._index.update()
        row = self._find_one(ref)
        rows = self._index.read(
            "SELECT e.*, p.id AS process_id FROM events e JOIN processes p ON p.pk = e.process WHERE run = ?",
            [row["pk"]],
        )
        found = in_order(
            StoredEvent(r["process_id"], r["seq"], r["time"], r["type"], json.loads(r["data"])) for r in rows
        )
        return [
            EventRecord(
                type=event.type,
                run_id=_text_id(row["id"]),
                time=_moment(event.time),
                process_id=event.process,
                seq=event.seq,
                data=event.data,
            )
            for event in found
        ]

    def find(
        self,
        *,
        status: Status | None = None,
        kind: str | None = None,
        name: str | None = None,
        key: str | None = None,
        user_id: str | None = None,
        session_id: str | None = None,
        tag: str | None = None,
        root_only: bool = False,
        limit: int | None = 100,
        order: Literal["newest", "oldest"] = "newest",
    ) -> list[RunRecord]:
        """The runs that meet every condition given.

        Args:
            status: Their status.
            kind: Their kind.
            name: Their exact name.
            key: Their key.
            user_id: Whose they are, by themselves or by the nearest run above that says so.
            session_id: Likewise.
            tag: A tag of theirs.
            root_only: Whether to leave out runs that are under another one that was recorded.
            limit: How many at the most; None for all.
            order: Whether to begin with the latest or with the earliest.
        """
        self._index.update()
        equal = {"r.status": status, "r.kind": kind, "r.name": name, "r.key": key}
        conditions = [f"{column} = ?" for column, value in equal.items() if value is not None]
        parameters: list[Any] = [value for value in equal.values() if value is not None]
        if tag is not None:
            conditions.append("EXISTS (SELECT 1 FROM json_each(r.details, '$.tags') WHERE value = ?)")
            parameters.append(tag)
        if root_only:
            conditions.append("(r.parent IS NULL OR parent.started_at IS NULL)")
        where = " AND ".join(["r.started_at IS NOT NULL", *conditions])
        direction = "DESC" if order == "newest" else "ASC"
        sql = f"{_RUN} WHERE {where} ORDER BY r.started_at {direction}, r.id {direction}"
        inherited = user_id is not None or session_id is not None
        if limit is not None and not inherited:
            sql += " LIMIT ?"
            parameters.append(limit)
        found: list[RunRecord] = []
        for row in self._index.read(sql, parameters):
            if limit is not None and len(found) >= limit:
                break
            record = self._record(row)
            if (user_id is None or record.user_id == user_id) and (
                session_id is None or record.session_id == session_id
            ):
                found.append(record)
        return found

    def start(
        self,
        run_id: RunId,
        *,
        name: str = "run",
        kind: str = "task",
        user_id: str | None = None,
        session_id: str | None = None,
        summary: str | None = None,
        input: Any = None,  # noqa: A002 - the field's word
        key: str | None = None,
        attributes: Mapping[str, Any] | None = None,
    ) -> Run:
        """Record that a run with an id you made yourself has started; see `start_run` for the fields.

        It is recorded in this registry's directory. End it with `finish`, or with what this returns.
        """
        return start_known_run(
            run_id,
            name,
            journal=journal_in(self.directory),
            kind=kind,
            user_id=user_id,
            session_id=session_id,
            summary=summary,
            key=key,
            attributes=attributes,
            input=input,
        )

    def finish(
        self,
        run_id: RunId,
        *,
        status: Ending | None = None,
        output: Any = UNSET,
        error: BaseException | str | None = None,
    ) -> None:
        """Record that a run has ended. Only the process that started it may end it: the index refuses other ends.

        Raises:
            ValueError: there is no such status to end a run with.
        """
        Run(run_id, journal=journal_in(self.directory)).end(status=status, output=output, error=error)

    def _find_one(self, ref: RunId | str) -> sqlite3.Row:
        if ref == _LAST:
            last = self._index.read(
                f"{_RUN} WHERE r.started_at IS NOT NULL AND (r.parent IS NULL OR parent.started_at IS NULL)"
                " ORDER BY r.started_at DESC, r.id DESC LIMIT 1"
            )
            if not last:
                raise RunNotFound(_LAST)
            return last[0]
        text = str(ref)
        prefix = _prefix_of(text)
        found: list[sqlite3.Row] = []
        if prefix:
            bounds = [bytes.fromhex(prefix.ljust(32, filler)) for filler in "0f"]
            found = self._index.read(f"{_RUN} WHERE r.id BETWEEN ? AND ? ORDER BY r.id LIMIT 100", bounds)
        if len(found) != 1:
            raise RunNotFound(text, tuple(_text_id(row["id"]) for row in found))
        return found[0]

    def _record(self, row: sqlite3.Row, seen: frozenset[str] = frozenset()) -> RunRecord:
        chain = self._chain(row)
        return self._placed(chain[0], chain[1:], seen)

    def _chain(self, row: sqlite3.Row) -> list[RunRecord]:
        """A run and what is above it, each with what it says of itself alone."""
        chain, seen = [self._own_record(row)], {row["pk"]}
        while row["parent"] is not None and row["parent"] not in seen:
            seen.add(row["parent"])
            row = self._row(row["parent"])
            chain.append(self._own_record(row))
        return chain

    def _row(self, pk: int) -> sqlite3.Row:
        return self._index.read(f"{_RUN} WHERE r.pk = ?", [pk])[0]

    def _placed(self, record: RunRecord, above: Sequence[RunRecord], seen: frozenset[str] = frozenset()) -> RunRecord:
        """The record with what it has from the runs above it, nearest first, and its place in the whole tree.

        A bare id made elsewhere says of itself that it is a root, and so do the runs below it. The record of its start
        knows better.
        """
        update: dict[str, Any] = {
            field: next((value for run in (record, *above) if (value := getattr(run, field)) is not None), None)
            for field in ("user_id", "session_id")
        }
        top = above[-1] if above else record
        depth, root = len(above), top
        # Runs between it and its root were never recorded; that roots do not go round in a ring, nobody promised.
        if top.parent_id is None and top.root_id != top.id and top.root_id not in seen:
            root = self._record(self._find_one(top.root_id), seen | {top.id, top.root_id})
            depth += top.depth + root.depth
        update |= {"root_id": root.root_id, "depth": depth}
        return record.model_copy(update=update)

    def _own_record(self, row: sqlite3.Row) -> RunRecord:
        run = _text_id(row["id"])
        elapsed = row["elapsed"]
        if elapsed is None and row["ended_at"] is not None and row["started_at"] is not None:
            elapsed = max(0, row["ended_at"] - row["started_at"])
        return RunRecord.model_validate(
            {
                **json.loads(row["details"]),
                "id": run,
                "parent_id": row["parent_id"] and _text_id(row["parent_id"]),
                "root_id": run if row["root_id"] is None else _text_id(row["root_id"]),
                "started_at": _time(row["started_at"]),
                "ended_at": _time(row["ended_at"]),
                "last_event_at": _time(row["last_event_at"]),
                "elapsed": None if elapsed is None else timedelta(microseconds=elapsed),
                "process": _process(row),
                **{name: row[name] for name in _AS_THEY_ARE},
            }
        )


_AS_THEY_ARE: Final = ("depth", "seq", "name", "kind", "key", "status", "user_id", "session_id", "summary")


def _process(row: sqlite3.Row) -> ProcessRecord | None:
    if row["process_id"] is None:
        return None
    header: dict[str, Any] = json.loads(row["process_header"])
    pid, host, program = (header.get(name) for name in ("pid", "host", "program"))
    return ProcessRecord(
        id=row["process_id"],
        pid=pid if isinstance(pid, int) else None,
        host=None if host is None else str(host),
        program=None if program is None else str(program),
        state=row["process_state"],
    )


def _absolute(directory: str | os.PathLike[str]) -> str:
    return str(Path(directory).absolute())


def _prefix_of(text: str) -> str | None:
    """The hexadecimal digits a reference gives of an id; None when it cannot be one."""
    text = text.strip()
    try:
        run_id = RunId.from_token(text) if "." in text else RunId(text)
    except InvalidRunIdError:
        digits = text.lower().replace("-", "")
        return digits if len(digits) < 32 and _HEX.issuperset(digits) else None
    return run_id.value.replace("-", "")


def _text_id(key: bytes) -> str:
    h = key.hex()
    return f"{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:]}"


def _moment(microseconds: int) -> datetime:
    return _EPOCH + timedelta(microseconds=microseconds)


def _time(microseconds: int | None) -> datetime | None:
    return None if microseconds is None else _moment(microseconds)


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
