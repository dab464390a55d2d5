"""The registry: answers questions about runs, from any process, also while they run.

Every method first brings the index up to date, so what another process recorded a moment ago is there. Methods that
read never write; `start` and `finish` record like any other run, in the current directory of this process.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from agent_run_id import settings
from agent_run_id.errors import InvalidRunIdError, RunNotFound, StoreError
from agent_run_id.folding import in_order
from agent_run_id.ids import RunId
from agent_run_id.index import Index
from agent_run_id.index.ids import id_text
from agent_run_id.index.layout import status_code
from agent_run_id.journal import journal_in
from agent_run_id.records import RUN, Records, event_records
from agent_run_id.runs import UNSET, Run
from agent_run_id.starting import start_known_run
from agent_run_id.tree import Tree, grow

if TYPE_CHECKING:
    import os
    import sqlite3
    from collections.abc import Mapping
    from typing import Self

    from agent_run_id.outcomes import Ending
    from agent_run_id.schema import EventRecord, RunRecord, Status

__all__ = ["RunRegistry"]

_BELOW: Final = (
    "WITH RECURSIVE below (pk) AS (SELECT ?"
    " UNION SELECT r.pk FROM below b JOIN runs r ON r.parent = b.pk"
    " UNION SELECT r.pk FROM below b JOIN runs r ON r.root = b.pk WHERE r.parent IS NULL) "
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
        return self._records().placed(self._find_one(ref))

    def children(self, ref: RunId | str) -> list[RunRecord]:
        """The runs directly under one, in the order they started.

        Raises:
            RunNotFound: as in `get`.
        """
        self._index.update()
        row = self._find_one(ref)
        records = self._records()
        rows = self._index.read(f"{RUN} WHERE r.parent = ?", [row["pk"]])
        return [node.record for node in grow(records.placed(row), [records.own(child) for child in rows]).children]

    def ancestors(self, ref: RunId | str) -> list[RunRecord]:
        """The runs above one: its parent first, the root last; as many as are known.

        Raises:
            RunNotFound: as in `get`.
        """
        self._index.update()
        return self._records().above(self._find_one(ref))

    def tree(self, ref: RunId | str) -> Tree:
        """One run with everything below it.

        Raises:
            RunNotFound: as in `get`.
        """
        self._index.update()
        row = self._find_one(ref)
        records = self._records()
        below = self._index.read(f"{_BELOW}{RUN} JOIN below ON below.pk = r.pk", [row["pk"]])
        return grow(records.placed(row), [records.own(r) for r in below if r["pk"] != row["pk"]])

    def events(self, ref: RunId | str) -> list[EventRecord]:
        """Everything recorded of one run, in order.

        Raises:
            RunNotFound: as in `get`.
        """
        self._index.update()
        row = self._find_one(ref)
        return event_records(id_text(row["id"]), in_order(self._records().events(row)))

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
        equal = {"r.status": status_code(status), "r.kind": kind, "r.name": name, "r.key": key}
        conditions = [f"{column} = ?" for column, value in equal.items() if value is not None]
        parameters: list[Any] = [value for value in equal.values() if value is not None]
        if tag is not None:
            conditions.append("r.pk IN (SELECT run FROM tags WHERE tag = ?)")
            parameters.append(tag)
        if root_only:
            conditions.append("(r.parent IS NULL OR parent.started_at IS NULL)")
        where = " AND ".join(["r.started_at IS NOT NULL", *conditions])
        direction = "DESC" if order == "newest" else "ASC"
        sql = f"{RUN} WHERE {where} ORDER BY r.started_at {direction}, r.id {direction}"
        inherited = user_id is not None or session_id is not None
        if limit is not None and not inherited:
            sql += " LIMIT ?"
            parameters.append(limit)
        found: list[RunRecord] = []
        records = self._records()
        for row in self._index.read(sql, parameters):
            if limit is not None and len(found) >= limit:
                break
            record = records.placed(row)
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
                f"{RUN} WHERE r.started_at IS NOT NULL AND (r.parent IS NULL OR parent.started_at IS NULL)"
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
            found = self._index.read(f"{RUN} WHERE r.id BETWEEN ? AND ? ORDER BY r.id LIMIT 100", bounds)
        if len(found) != 1:
            raise RunNotFound(text, tuple(id_text(row["id"]) for row in found))
        return found[0]

    def _records(self) -> Records:
        return Records(self._index)


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
