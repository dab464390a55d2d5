"""The registry: answers questions about runs, from any process, also while they run.

Every method first brings the index up to date, so what another process recorded a moment ago is there. Methods that
read never write; `start` and `finish` record like any other run, in the current directory of this process.
"""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from agent_run_id import settings
from agent_run_id.answers import Links, RootRecord
from agent_run_id.collector import collector_off
from agent_run_id.diffing import FACTOR, FLOOR, Diff, diff
from agent_run_id.errors import RunNotFound, StoreError
from agent_run_id.finding import BELOW, Query
from agent_run_id.folding import in_order
from agent_run_id.following import Watch
from agent_run_id.growing import sketch
from agent_run_id.handing import resume_seen
from agent_run_id.histories import history
from agent_run_id.holding import Seen
from agent_run_id.ids import RunId
from agent_run_id.index import Index
from agent_run_id.index.ids import id_bytes, id_text
from agent_run_id.journal import journal_in
from agent_run_id.records import RUN, Records, event_records
from agent_run_id.referring import find_one
from agent_run_id.runs import UNSET, Run
from agent_run_id.spending import usage, usage_by
from agent_run_id.starting import start_known_run
from agent_run_id.surveys import counts_below, counts_of_trees, is_frequent, stats, trees_of
from agent_run_id.tree import Tree, grow_sketched

if TYPE_CHECKING:
    import os
    import sqlite3
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime, timedelta
    from typing import Self

    from agent_run_id.answers import By, Counts, Stats, UsageBreakdown, UsageReport
    from agent_run_id.handing import Accepted
    from agent_run_id.index import Progress
    from agent_run_id.outcomes import Ending, Expected
    from agent_run_id.schema import EventRecord, RunRecord, Status

__all__ = ["RunRegistry"]

_GROUP: Final = 500


class RunRegistry:
    """Look-up of runs: by id, by the first characters of an id, by an alias, or ``@last`` for the latest root.

    ``@last:failed`` is the latest root that failed, and likewise with any other status.

    Args:
        directory: Where the journals are; by default where this process records.
        progress: Is told about every second how far it is, in bytes, while there is much to read.

    Raises:
        StoreError: (an `OSError`) no directory is given and recording is off, or the user has no home directory.
    """

    directory: str

    def __init__(
        self,
        directory: str | os.PathLike[str] | None = None,
        *,
        progress: Callable[[Progress], None] | None = None,
    ) -> None:
        where = settings.directory() if directory is None else _absolute(directory)
        if where is None:
            raise StoreError("recording is off, so there is nothing to read: give RunRegistry a directory")
        self.directory = where
        self._index = Index(where, progress)

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
            ref: A `RunId`, the text of one, its first characters, an alias of the run, ``@last`` or ``@last:failed``.

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
        return [node.record for node in grow_sketched(sketch(records.placed(row)), records.sketches(rows)).children]

    def ancestors(self, ref: RunId | str) -> list[RunRecord]:
        """The runs above one: its parent first, the root last; as many as are known.

        Where it is not known what is between one of them and the root, the root comes next.

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
        with collector_off():
            return self._tree(row)

    def _tree(self, row: sqlite3.Row) -> Tree:
        records = self._records()
        if row["root"] is None:
            roots = trees_of(self._index, [row["pk"]])
            inside = "r.root IN (SELECT value FROM json_each(?))"
            below = self._index.read(f"{RUN} WHERE {inside}", [json.dumps(list(roots))])
        else:
            below = self._index.read(f"{BELOW} {RUN} JOIN below ON below.pk = r.pk", [row["pk"]])
        return grow_sketched(sketch(records.placed(row)), records.sketches([r for r in below if r["pk"] != row["pk"]]))

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
        return event_records(id_text(row["id"]), in_order(self._records().events(row)))

    def events_of(self, ids: Iterable[str]) -> Iterator[list[EventRecord]]:
        """What `events` gives, of each of any number of runs, while only some hundred are held at a time.

        Args:
            ids: Their full ids; one that is not known has no events.
        """
        self._index.update()
        waiting, records = iter(ids), self._records()
        while group := [id_bytes(one) for one in islice(waiting, _GROUP)]:
            named = f"SELECT run FROM every_id WHERE id IN ({','.join('?' * len(group))})"
            rows = self._index.read(f"{RUN} WHERE r.pk IN ({named})", group)
            found = records.events_of(rows)
            keyed = {row["id"]: found[row["pk"]] for row in rows}
            for key in group:
                yield event_records(id_text(key), in_order(keyed.get(key, ())))

    def events_below(self, ref: RunId | str, *, types: Iterable[str] = ()) -> Iterator[EventRecord]:
        """Everything recorded of a run and all runs below it, in order, read as it is asked for.

        By time, process and number; but those of one process always in the order in which it recorded them.

        Args:
            ref: The run at the top.
            types: Only events of these types, such as ``run.step``; none gives all.

        Raises:
            RunNotFound: as in `get`.
        """
        self._index.update()
        return history(self._index, self._find_one(ref)["pk"], types)

    def watch(
        self,
        ref: RunId | str | None = None,
        *,
        after: str | None = None,
        poll: float = 0.1,
        timeout: float | None = None,
    ) -> Watch:
        """Events as they are recorded, by any process, from now on.

        What is asked of the registry after the watch was made, and what the watch then hands out, leave no gap.

        Args:
            ref: The run they are about, with everything below it, also what has not started yet; by default all runs.
                An id that you made yourself need not have started either.
            after: The `Watch.cursor` to go on from, instead of now.
            poll: How often to look, in seconds.
            timeout: How long to wait for an event before iteration ends, in seconds; None waits for ever.

        Raises:
            RunNotFound: as in `get`.
            InvalidCursorError: (a `ValueError`) `after` is not the cursor of a watch.
            ValueError: `poll` or `timeout` is not a length of time.
        """
        ids = None if ref is None else lambda: self._ids_below(ref)
        return Watch(self.directory, ids=ids, after=after, poll=poll, timeout=timeout)

    def find(
        self,
        *,
        status: Status | Iterable[Status] | None = None,
        kind: str | None = None,
        name: str | None = None,
        key: str | None = None,
        user_id: str | None = None,
        session_id: str | None = None,
        tag: str | None = None,
        text: str | None = None,
        since: datetime | timedelta | None = None,
        until: datetime | timedelta | None = None,
        under: RunId | str | None = None,
        root_only: bool = False,
        limit: int | None = 100,
        order: Literal["newest", "oldest"] = "newest",
    ) -> list[RunRecord]:
        """The runs that meet every condition given.

        Args:
            status: Their status, or several.
            kind: Their kind.
            name: Their exact name.
            key: Their key.
            user_id: Whose they are, by themselves or by the nearest run above that says so.
            session_id: Likewise.
            tag: A tag of theirs.
            text: Words that all occur in what they were told or said: names, summaries, keys, tags, attributes, inputs,
                outputs, errors, steps, decisions. Case and accents do not matter; ``refund*`` is any word that begins
                so; a word with signs in it, such as ``order-4711``, is its parts one behind the other.
            since: They started then or later; a timedelta is so long ago.
            until: They started before.
            under: A run they are below, at any depth.
            root_only: Whether to leave out runs whose parent was recorded.
            limit: How many at the most; None for all.
            order: Whether to begin with the latest or with the earliest.

        Raises:
            RunNotFound: no run answers to `under`, or more than one.
            StoreError: (an `OSError`) the SQLite of this Python cannot search texts.
            ValueError: there is no such status or order, a time has no time zone, or the limit is below 0.
        """
        self._index.update(texts=text is not None)
        query = Query(order=order, limit=limit)
        query.has_status(status)
        for column, value in (("kind", kind), ("name", name), ("key", key)):
            query.equal(column, value)
        for column, value in (("user_id", user_id), ("session_id", session_id)):
            often = limit is not None and is_frequent(self._index, column, value)
            query.inherits(column, value, often=often)
        query.between(since, until)
        if tag is not None:
            query.add("r.pk IN (SELECT run FROM tags WHERE tag = ?)", [tag])
        if under is not None:
            query.under(self._find_one(under)["pk"])
        if text is not None:
            query.add(*self._index.search(text))
        if root_only:
            query.roots_only()
        return self._records_of(*query.sql())

    def roots(
        self,
        *,
        since: datetime | timedelta | None = None,
        until: datetime | timedelta | None = None,
        limit: int | None = 50,
    ) -> list[RootRecord]:
        """The runs whose parent was not recorded, the latest first, each with how many runs its tree holds.

        Args:
            since: Only those that started then or later; a timedelta is so long ago.
            until: Only those that started before.
            limit: How many at the most; None for all.

        Raises:
            ValueError: a time has no time zone, or the limit is below 0.
        """
        self._index.update()
        query = Query(limit=limit)
        query.between(since, until)
        query.roots_only()
        rows = self._index.read(*query.sql())
        records = self._records()
        counted = counts_of_trees(self._index, [row["pk"] for row in rows if row["root"] is None])
        return [
            RootRecord(
                record=records.placed(row),
                counts=counted[row["pk"]] if row["root"] is None else counts_below(self._index, row["pk"]),
            )
            for row in rows
        ]

    def counts(self, ref: RunId | str) -> Counts:
        """How many runs of which status there are below a run, and the run itself.

        Raises:
            RunNotFound: as in `get`.
        """
        self._index.update()
        row = self._find_one(ref)
        if row["root"] is None:
            return counts_of_trees(self._index, [row["pk"]])[row["pk"]]
        return counts_below(self._index, row["pk"])

    def usage(self, ref: RunId | str) -> UsageReport:
        """What a run used, alone and with all that is below it, and by model.

        Raises:
            RunNotFound: as in `get`.
        """
        self._index.update()
        return usage(self._index, self._find_one(ref)["pk"])

    def usage_by(
        self,
        by: By = "model",
        *,
        since: datetime | timedelta | None = None,
        until: datetime | timedelta | None = None,
        under: RunId | str | None = None,
    ) -> UsageBreakdown:
        """What runs used, by model, by whose they are, by what they are, or by the day they started.

        Each call counts once within what is asked about. One that several runs report is that of the run furthest down
        in its tree, and among those of the one that started first.

        Args:
            by: What to tell apart; the day is that of the local clock.
            since: Only runs that started then or later; a timedelta is so long ago.
            until: Only runs that started before.
            under: Only this run and those below it.

        Raises:
            RunNotFound: as in `get`.
            ValueError: a time has no time zone, or `by` is something else.
        """
        self._index.update()
        top = None if under is None else self._find_one(under)["pk"]
        return usage_by(self._index, by, since=since, until=until, top=top)

    def links(self, ref: RunId | str) -> Links:
        """The runs that one links to, and those that link to it.

        Raises:
            RunNotFound: as in `get`.
        """
        self._index.update()
        row = self._find_one(ref)
        linked = "SELECT run FROM every_id WHERE id IN (SELECT target FROM links WHERE run = ?)"
        outgoing = f"{RUN} WHERE r.pk IN ({linked}) ORDER BY r.started_at, r.id"
        incoming = f"{RUN} WHERE r.pk IN (SELECT run FROM links WHERE target = ?) ORDER BY r.started_at, r.id"
        return Links(
            outgoing=tuple(self._records_of(outgoing, [row["pk"]])),
            incoming=tuple(self._records_of(incoming, [row["id"]])),
        )

    def stats(self) -> Stats:
        """What the directory holds: runs, processes, journals and what of them could not be read."""
        self._index.update()
        return stats(self._index)

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

    def resume(
        self, ref: RunId | str, *, name: str = "run", kind: str = "task", expected: Expected | type[BaseException] = ()
    ) -> Accepted[None]:
        """Go on in this process with a run that waits, or whose process has died.

        As `agent_run_id.resume`, but what became of its owner is looked up, so that also a run goes on that neither
        waited nor changed hands before it was lost. It is recorded in this registry's directory.

        Raises:
            RunNotFound: as in `get`.
            TypeError: `expected` is no exception class.
        """
        record = self.get(ref)
        owner = None if record.process is None else record.process.id
        seen = None if record.status is None else Seen(record.status, record.attempt, owner)
        return resume_seen(
            record.run_id, seen, journal=journal_in(self.directory), name=name, kind=kind, expected=expected
        )

    def _ids_below(self, ref: RunId | str) -> set[str]:
        try:
            return {node.record.id for node in self.tree(ref)}
        except RunNotFound as error:
            if isinstance(ref, RunId) and not error.candidates:
                return {ref.value}
            raise

    def alias(self, ref: RunId | str, *aliases: str) -> None:
        """Record names that a run has elsewhere, such as a ticket's number; `get` and all others find it by each.

        Raises:
            RunNotFound: as in `get`.
        """
        run_id = ref if isinstance(ref, RunId) else self.get(ref).run_id
        Run(run_id, journal=journal_in(self.directory)).update(aliases=aliases)

    def _find_one(self, ref: RunId | str) -> sqlite3.Row:
        return find_one(self._index, ref)

    def _records_of(self, sql: str, parameters: Sequence[Any]) -> list[RunRecord]:
        records = self._records()
        return [records.placed(row) for row in self._index.read(sql, parameters)]

    def _records(self) -> Records:
        return Records(self._index)


def _absolute(directory: str | os.PathLike[str]) -> str:
    return str(Path(directory).absolute())
