"""Surveys: figures about many runs, taken from the index without making records of them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from agent_run_id.answers import Counts, Stats
from agent_run_id.finding import BELOW
from agent_run_id.index.layout import STATUSES
from agent_run_id.records import moment

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent_run_id.index import Index

__all__ = ["counts_below", "counts_of_trees", "is_frequent", "stats", "trees_of"]


_MANY: Final = 20_000  # runs
_ROOTS_LOOKED_AT: Final = 5_000


def trees_of(index: Index, tops: Sequence[int]) -> dict[int, int]:
    """The roots of the trees below some runs without a parent, by row, each with the one of these it is under.

    A bare id made elsewhere is a root as far as those below it know; where its start says more, its tree is part of
    another one.
    """
    under = {top: top for top in tops}
    waiting = list(tops)
    while waiting:
        rows = index.read(
            "SELECT r.pk, r.root FROM nested n CROSS JOIN runs r ON r.pk = n.run"
            " WHERE r.root IN (SELECT value FROM json_each(?)) AND r.pk <> r.root",
            [json.dumps(waiting)],
        )
        waiting = [row["pk"] for row in rows if row["pk"] not in under]
        under.update((row["pk"], under[row["root"]]) for row in rows if row["pk"] not in under)
    return under


def counts_of_trees(index: Index, tops: Sequence[int]) -> dict[int, Counts]:
    """How many runs the trees of some runs without a parent hold, by the rows of these."""
    under = trees_of(index, tops)
    found: dict[int, dict[str, int]] = {top: {} for top in tops}
    sql = "SELECT root, status, runs FROM trees WHERE runs > 0 AND root IN (SELECT value FROM json_each(?))"
    for row in index.read(sql, [json.dumps(list(under))]):
        counted = found[under[row["root"]]]
        code: int = row["status"]
        counted[STATUSES[code]] = counted.get(STATUSES[code], 0) + row["runs"]
    return {top: _counts(counted) for top, counted in found.items()}


def counts_below(index: Index, pk: int) -> Counts:
    """How many runs there are below a run, and the run itself."""
    rows = index.read(
        f"{BELOW} SELECT r.status, count(*) AS runs FROM below JOIN runs r ON r.pk = below.pk"
        " WHERE r.status IS NOT NULL GROUP BY r.status",
        [pk],
    )
    return _counts({STATUSES[row["status"]]: row["runs"] for row in rows})


def is_frequent(index: Index, column: str, value: str | None) -> bool:
    """Whether the trees whose roots have a value hold so many runs that it is not worth while to collect them."""
    if value is None:
        return False
    [found] = index.read(
        f"SELECT total(t.runs) AS n FROM (SELECT pk FROM runs WHERE {column} = ? AND parent IS NULL LIMIT ?) r"
        " JOIN trees t ON t.root = r.pk",
        [value, _ROOTS_LOOKED_AT],
    )
    return bool(found["n"] > _MANY)


def _counts(by_status: dict[str, int]) -> Counts:
    return Counts.model_validate({"runs": sum(by_status.values()), "by_status": by_status})


def stats(index: Index) -> Stats:
    """What a directory holds."""
    [span] = index.read(
        "SELECT min(started_at) AS first, max(started_at) AS last FROM runs WHERE started_at IS NOT NULL"
    )
    [files] = index.read("SELECT count(*) AS n, total(offset) AS size, total(unreadable) AS unreadable FROM journals")
    [sizes] = index.read("SELECT page_count * page_size AS size FROM pragma_page_count, pragma_page_size")
    [roots] = index.read(
        "SELECT (SELECT count(*) FROM runs WHERE parent IS NULL AND started_at IS NOT NULL) + (SELECT count(*)"
        " FROM runs WHERE parent IN (SELECT pk FROM runs WHERE started_at IS NULL) AND started_at IS NOT NULL) AS n"
    )
    [events] = index.read("SELECT total(last_seq - first_seq + 1) AS n FROM applied")
    statuses = index.read("SELECT status, sum(runs) AS n FROM trees GROUP BY status HAVING n > 0")
    by_status: dict[Any, int] = {STATUSES[row["status"]]: row["n"] for row in statuses}
    kinds = index.read("SELECT kind, count(*) AS n FROM runs WHERE kind IS NOT NULL GROUP BY kind ORDER BY n DESC")
    processes = index.read("SELECT state, count(*) AS n FROM processes GROUP BY state")
    return Stats(
        runs=sum(by_status.values()),
        roots=roots["n"],
        by_status=by_status,
        by_kind={row["kind"]: row["n"] for row in kinds},
        events=int(events["n"]),
        processes={row["state"]: row["n"] for row in processes},
        journals=files["n"],
        journal_bytes=int(files["size"]),
        unreadable=int(files["unreadable"]),
        index_bytes=sizes["size"],
        first_start=None if span["first"] is None else moment(span["first"]),
        last_start=None if span["last"] is None else moment(span["last"]),
    )
