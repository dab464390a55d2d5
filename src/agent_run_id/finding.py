"""Finding: a question about runs as SQL, in which everything that comes from outside is a parameter."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Literal

from agent_run_id.index.layout import STATUSES
from agent_run_id.records import RUN

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from agent_run_id.schema import Status

__all__ = ["BELOW", "BELOW_EACH", "Query", "codes", "microseconds"]

_BELOW: Final = (
    "WITH RECURSIVE below (pk) AS ({top}"
    " UNION SELECT r.pk FROM below b JOIN runs r ON r.parent = b.pk"
    " UNION SELECT r.pk FROM below b JOIN runs r ON r.root = b.pk WHERE r.parent IS NULL)"
)
BELOW: Final = _BELOW.format(top="SELECT ?")
"""A run and all below it, also by roots that are only roots as far as their bare ids say."""
BELOW_EACH: Final = _BELOW.format(top="SELECT value FROM json_each(?)")
"""Several runs, given as a JSON array, and all below any of them."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MOST: Final = 2**63 - 1  # what SQLite can count to
_ORDERS: Final = {"newest": "DESC", "oldest": "ASC"}
_MICROSECOND: Final = timedelta(microseconds=1)
_ROOTS: Final = (
    "r.parent IS NULL",
    "r.parent IN (SELECT pk FROM runs INDEXED BY unheard_runs WHERE started_at IS NULL)",
)


class Query:
    """A question about runs that have started.

    Args:
        order: Whether to begin with the latest or with the earliest.
        limit: How many at the most; None for all.

    Raises:
        ValueError: there is no such order, or the limit is below 0.
    """

    def __init__(self, *, order: Literal["newest", "oldest"] = "newest", limit: int | None = None) -> None:
        if order not in _ORDERS:
            raise ValueError(f"there is no order {order!r}; one of {', '.join(_ORDERS)}")
        if limit is not None and limit < 0:
            raise ValueError(f"a limit of {limit} finds nothing; None finds all")
        self._order = _ORDERS[order]
        self._limit = -1 if limit is None else min(limit, _MOST)
        self._conditions = ["r.started_at IS NOT NULL"]
        self._parameters: list[Any] = []
        self._alternatives: Sequence[str] = ("1",)

    def add(self, condition: str, parameters: Iterable[Any] = ()) -> None:
        """Add a condition about `r`."""
        self._conditions.append(condition)
        self._parameters += parameters

    def equal(self, column: str, value: Any) -> None:
        """The column has this value; None asks for nothing."""
        if value is not None:
            self.add(f"r.{column} = ?", [value])

    def has_status(self, status: Status | Iterable[Status] | None) -> None:
        """It has this status, or one of these.

        Raises:
            ValueError: there is no such status.
        """
        if status is not None:
            wanted = codes(status)
            self.add(f"r.status IN ({','.join('?' * len(wanted))})", wanted)
            if STATUSES.index("succeeded") not in wanted:
                self.add("r.status <> 1")  # of all others there is an index

    def inherits(self, column: str, value: str | None, *, often: bool = False) -> None:
        """The column has this value, in the run or in the nearest run above it that has any.

        Args:
            column: The column.
            value: The value; None asks for nothing.
            often: Whether many thousands of runs have it: then runs are looked at one by one, in the order in which
                they are wanted, since collecting all would take longer.
        """
        if value is not None and often:
            self.add(
                "(WITH RECURSIVE up (pk, above, value) AS ("
                f"SELECT r.pk, coalesce(r.parent, r.root), r.{column}"
                f" UNION SELECT a.pk, coalesce(a.parent, a.root), a.{column} FROM up JOIN runs a ON a.pk = up.above"
                " WHERE up.value IS NULL) SELECT value FROM up WHERE value IS NOT NULL) = ?",
                [value],
            )
        elif value is not None:
            self.add(
                "r.pk IN (WITH RECURSIVE mine (pk) AS ("
                f"SELECT pk FROM runs WHERE {column} = ?"
                f" UNION SELECT r.pk FROM mine m JOIN runs r ON r.parent = m.pk WHERE r.{column} IS NULL"
                f" UNION SELECT r.pk FROM mine m JOIN runs r ON r.root = m.pk"
                f" WHERE r.parent IS NULL AND r.{column} IS NULL) SELECT pk FROM mine)",
                [value],
            )

    def between(self, since: datetime | timedelta | None, until: datetime | timedelta | None) -> None:
        """It started at `since` or later, and before `until`.

        Raises:
            ValueError: a time has no time zone.
        """
        for moment, comparison in ((since, ">="), (until, "<")):
            if moment is not None:
                self.add(f"r.started_at {comparison} ?", [microseconds(moment)])

    def under(self, pk: int) -> None:
        """It is below the run of this row."""
        self.add(f"r.pk IN ({BELOW} SELECT pk FROM below) AND r.pk <> ?", [pk, pk])

    def roots_only(self) -> None:
        """Nothing that was recorded is above it."""
        # One index has each in its order; both at once would have to be sorted.
        self._alternatives = _ROOTS

    def sql(self) -> tuple[str, list[Any]]:
        """The query for what `records` needs, and its parameters."""
        where = " AND ".join(self._conditions)
        order = f"ORDER BY started_at {self._order}, id {self._order}"
        parts = [
            f"SELECT pk FROM (SELECT pk FROM runs r WHERE {each} AND {where} {order} LIMIT ?)"
            for each in self._alternatives
        ]
        parameters = [*self._parameters, self._limit] * len(parts)
        last = order.replace("started_at", "r.started_at").replace(" id ", " r.id ")
        return f"{RUN} WHERE r.pk IN ({' UNION ALL '.join(parts)}) {last} LIMIT ?", [*parameters, self._limit]


def codes(status: Status | Iterable[Status]) -> list[int]:
    """What statuses are stored as.

    Raises:
        ValueError: there is no such status.
    """
    wanted = [status] if isinstance(status, str) else list(status)
    for one in wanted:
        if one not in STATUSES:
            raise ValueError(f"there is no status {one!r}; one of {', '.join(STATUSES)}")
    return [STATUSES.index(one) for one in wanted]


def microseconds(moment: datetime | timedelta) -> int:
    """A time as it is stored; a timedelta is so long ago.

    Raises:
        ValueError: a time has no time zone.
    """
    if isinstance(moment, timedelta):
        # As a number: ten thousand years ago there was no `datetime`.
        ago = (datetime.now(UTC) - _EPOCH) // _MICROSECOND - moment // _MICROSECOND
        return max(-_MOST, min(ago, _MOST))
    if moment.tzinfo is None:
        raise ValueError(f"{moment} could be any time: give it a time zone, as datetime.now(UTC) has one")
    return (moment - _EPOCH) // _MICROSECOND
