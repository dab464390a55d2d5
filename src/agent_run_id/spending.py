"""Spending: what the runs of an index used, in all, or told apart by something.

Among a million runs few report anything. So only those are read, by an index of their own, and of the runs above them
no more than who they are below and whose they are.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, get_args

from agent_run_id.answers import By, UsageBreakdown, UsageGroup, UsageReport
from agent_run_id.events import RUN_USAGE
from agent_run_id.finding import BELOW, BELOW_EACH, microseconds
from agent_run_id.folding import FoldedRun, happened
from agent_run_id.index.layout import REPORTING
from agent_run_id.index.rows import between
from agent_run_id.reading import decode
from agent_run_id.records import moment
from agent_run_id.schema import UsageRecord
from agent_run_id.usage import NOTHING, RolledUp, by_group, by_model, roll_up

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import datetime, timedelta

    from agent_run_id.index import Index

    Node = tuple[int, int | None, Sequence[UsageRecord]]

__all__ = ["usage", "usage_by"]

_REPORTING: Final = (
    "r.pk, r.id, coalesce(r.parent, r.root) AS above, r.depth, r.started_at, r.name, r.kind, r.user_id, r.session_id,"
    " CASE WHEN r.details LIKE '{%' THEN json_extract(r.details, '$.usage') END AS usage,"
    f" CASE WHEN r.details LIKE '[%' AND instr(r.details, '{RUN_USAGE}') THEN r.details END AS inside"
)
_ALL: Final = f"SELECT {_REPORTING} FROM runs r WHERE {REPORTING}"
_UNDER: Final = f"{BELOW} SELECT {_REPORTING} FROM below CROSS JOIN runs r ON r.pk = below.pk WHERE {REPORTING}"
_UNDER_EACH: Final = (
    f"{BELOW_EACH} SELECT {_REPORTING} FROM below CROSS JOIN runs r ON r.pk = below.pk WHERE {REPORTING}"
)
_ABOVE: Final = (
    "WITH RECURSIVE up (pk) AS (SELECT value FROM json_each(?)"
    " UNION SELECT coalesce(r.parent, r.root) FROM up JOIN runs r ON r.pk = up.pk"
    " WHERE coalesce(r.parent, r.root) IS NOT NULL)"
    " SELECT r.pk, coalesce(r.parent, r.root) AS above, r.user_id, r.session_id FROM up JOIN runs r ON r.pk = up.pk"
)
_OWN: Final = {"user": "user_id", "session": "session_id", "kind": "kind", "name": "name"}
_INHERITED: Final = ("user", "session")


def usage(index: Index, pk: int) -> UsageReport:
    """What a run and all runs below it used."""
    rows = index.read(_UNDER, [pk])
    nodes = _nodes(rows, _above(index, rows), top=pk)
    rolled = roll_up(nodes).get(pk, RolledUp(NOTHING, NOTHING))
    return UsageReport(own=rolled.own, subtree=rolled.subtree, by_model=by_model(nodes))


def usage_by(
    index: Index,
    by: By,
    *,
    since: datetime | timedelta | None = None,
    until: datetime | timedelta | None = None,
    top: int | None = None,
) -> UsageBreakdown:
    """What runs used, in groups; see `RunRegistry.usage_by`.

    Args:
        index: Where they are.
        by: What they are told apart by.
        since: When they started at the earliest.
        until: When they had not started yet.
        top: The row of the run they are below, or are.

    Raises:
        ValueError: a time has no time zone, or `by` is something else.
    """
    if by not in get_args(By):
        raise ValueError(f"usage is told apart by {', '.join(get_args(By))}, not by {by!r}")
    conditions, parameters = [_ALL] if top is None else [_UNDER], [] if top is None else [top]
    for bound, comparison in ((since, ">="), (until, "<")):
        if bound is not None:
            conditions.append(f"r.started_at {comparison} ?")
            parameters.append(microseconds(bound))
    rows = {row["pk"]: row for row in index.read(" AND ".join(conditions), parameters)}
    reports = {pk: _reports(row) for pk, row in rows.items()}
    aside: dict[int, sqlite3.Row] = {}
    if len(conditions) > 1:
        aside = _below(index, [pk for pk, made in reports.items() if _are_totals(made)], rows)
    every = [*rows.values(), *aside.values()]
    totals = any(map(_are_totals, reports.values()))
    above = _above(index, every) if totals or by in _INHERITED else {}
    groups, everything = by_group(
        _nodes(every, above, top=top, reports=reports),
        _grouping(by, rows, above),
        rank=lambda pk: _rank(rows[pk]),
        aside=aside,
    )
    found = [UsageGroup(value=value, runs=group.runs, total=group.total) for value, group in groups.items()]
    return UsageBreakdown(by=by, groups=tuple(_sorted(found, by)), runs=everything.runs, total=everything.total)


# Runs -----------------------------------------------------------------------------------------------------------------


def _below(index: Index, tops: Sequence[int], known: Mapping[int, Any]) -> dict[int, sqlite3.Row]:
    """The runs below any of these that report something, but for those that are known already."""
    if not tops:
        return {}
    found = index.read(_UNDER_EACH, [json.dumps(tops)])
    return {row["pk"]: row for row in found if row["pk"] not in known}


def _above(index: Index, rows: Iterable[sqlite3.Row]) -> dict[int, sqlite3.Row]:
    """All runs above some runs."""
    nearest = {row["above"] for row in rows} - {None}
    return {row["pk"]: row for row in index.read(_ABOVE, [json.dumps(list(nearest))])} if nearest else {}


def _nodes(
    rows: Iterable[sqlite3.Row],
    above: Mapping[int, sqlite3.Row],
    *,
    top: int | None,
    reports: Mapping[int, Sequence[UsageRecord]] | None = None,
) -> list[Node]:
    """Runs with their parents and what they report; nothing is above the top."""
    reports = reports or {}
    nodes: dict[int, Node] = {pk: (pk, row["above"], ()) for pk, row in above.items()}
    for row in rows:
        pk: int = row["pk"]
        nodes[pk] = (pk, row["above"], reports[pk] if pk in reports else _reports(row))
    if top in nodes:
        nodes[top] = (top, None, nodes[top][2])
    return list(nodes.values())


def _reports(row: sqlite3.Row) -> Sequence[UsageRecord]:
    run = FoldedRun()
    if row["usage"] is not None:
        run.details = decode(f'{{"usage":{row["usage"]}}}')
    elif row["inside"] is not None:
        happened(run, [event for event in between(row["inside"]) or () if event[0] == RUN_USAGE])
    return [UsageRecord.model_validate(report) for report in run.details.get("usage", ())]


def _are_totals(reports: Sequence[UsageRecord]) -> bool:
    """Whether what counts of these depends on the runs below."""
    return bool(reports) and all(report.inclusive for report in reports)


def _rank(row: sqlite3.Row) -> tuple[Any, ...]:
    started = row["started_at"]
    return (-row["depth"], started is None, started, row["id"])


# Groups ---------------------------------------------------------------------------------------------------------------


def _grouping(
    by: By, rows: Mapping[int, sqlite3.Row], above: Mapping[int, sqlite3.Row]
) -> Callable[[int, str], str | None]:
    if by == "model":
        return lambda _, model: model
    if by == "day":
        return lambda pk, _: _day(rows[pk]["started_at"])
    column = _OWN[by]
    if by not in _INHERITED:
        return lambda pk, _: rows[pk][column]
    every, known = {**above, **rows}, dict[int, str | None]()
    return lambda pk, _: _inherited(pk, column, every, known)


def _inherited(pk: int, column: str, rows: Mapping[int, sqlite3.Row], known: dict[int, str | None]) -> str | None:
    """What a run or the nearest above it says; `known` is what was found before."""
    path: list[int] = []
    place: int | None = pk
    while place is not None and place not in known:
        row = rows.get(place)
        known[place] = None if row is None else row[column]  # so a ring ends where it began
        path.append(place)
        place = None if row is None or row[column] is not None else row["above"]
    found = known[path[-1]] if path and known[path[-1]] is not None else None if place is None else known[place]
    for each in path:
        known[each] = found
    return found


def _day(started_at: int | None) -> str | None:
    if started_at is None:
        return None
    started = moment(started_at)
    try:
        return f"{started.astimezone():%Y-%m-%d}"
    except (OverflowError, ValueError):  # a clock that was far ahead, at the end of the year 9999
        return f"{started:%Y-%m-%d}"


def _sorted(groups: Iterable[UsageGroup], by: By) -> list[UsageGroup]:
    found = sorted(groups, key=lambda group: (group.value is None, group.value or ""))
    if by == "day":
        return sorted(found, key=lambda group: group.value or "", reverse=True)
    paid: dict[str, float] = {}
    for group in found:
        for currency, amount in group.total.cost.items():
            paid[currency] = paid.get(currency, 0) + amount
    # Amounts in two currencies cannot be compared: the one in which most was paid decides, then the next.
    currencies = sorted(paid, key=lambda currency: (-paid[currency], currency))

    def weight(group: UsageGroup) -> tuple[float, ...]:
        used = group.total
        amounts = (-used.cost.get(currency, 0) for currency in currencies)
        return (*amounts, -(used.input_tokens or 0) - (used.output_tokens or 0))

    return sorted(found, key=weight)
