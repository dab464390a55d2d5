"""Applied: which events of each process are in the index, as ranges of their numbers.

Nearly always that is one range: a process numbers its events without a gap, over all its files. A gap is an event that
was dropped, or torn, or is still on its way.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

from agent_run_id.index.layout import in_groups, insert, look_up

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator, Sequence

__all__ = ["Applied", "Ranges"]


class Ranges:
    """Whole numbers, as ranges that neither touch nor overlap.

    Args:
        ranges: Such ranges, ascending, each with its first and its last number.
    """

    __slots__ = ("_firsts", "_lasts")

    def __init__(self, ranges: Iterable[Sequence[int]] = ()) -> None:
        self._firsts: list[int] = []
        self._lasts: list[int] = []
        for first, last in ranges:
            self._firsts.append(first)
            self._lasts.append(last)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return zip(self._firsts, self._lasts, strict=True)

    def __contains__(self, number: int) -> bool:
        place = bisect_right(self._firsts, number) - 1
        return place >= 0 and number <= self._lasts[place]

    def add(self, first: int, last: int) -> None:
        """Add all numbers from `first` to `last`."""
        low = bisect_right(self._lasts, first - 2)
        high = bisect_right(self._firsts, last + 1)
        if low < high:
            first, last = min(first, self._firsts[low]), max(last, self._lasts[high - 1])
        self._firsts[low:high] = [first]
        self._lasts[low:high] = [last]

    def remove(self, first: int, last: int) -> None:
        """Remove all numbers from `first` to `last`."""
        low = bisect_right(self._lasts, first - 1)
        high = bisect_right(self._firsts, last)
        kept: list[tuple[int, int]] = []
        if low < high:
            kept = [(self._firsts[low], first - 1), (last + 1, self._lasts[high - 1])]
        kept = [(a, b) for a, b in kept if a <= b]
        self._firsts[low:high] = [a for a, _ in kept]
        self._lasts[low:high] = [b for _, b in kept]

    def take(self, numbers: Sequence[int]) -> list[bool] | None:
        """Add some numbers, and say which of them are new; None where all are, which is quick to see without a gap."""
        first, last, count = min(numbers), max(numbers), len(numbers)
        if last - first == count - 1 and len(set(numbers)) == count and self._misses(first, last):
            self.add(first, last)
            return None
        new: list[bool] = []
        for number in numbers:
            new.append(number not in self)
            if new[-1]:
                self.add(number, number)
        return new

    def _misses(self, first: int, last: int) -> bool:
        """Whether no number from `first` to `last` is here."""
        return bisect_right(self._firsts, last) == bisect_right(self._lasts, first - 1)


class Applied:
    """What was applied of each process, kept in the database.

    Args:
        connection: To the database, in a transaction.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection
        self._known: dict[int, Ranges] = {}
        self._changed: set[int] = set()
        self._rows: dict[int, set[int]] = {}  # the first number of each range that the database has

    def load(self, processes: Iterable[int]) -> None:
        """Learn what was applied of these processes."""
        missing = [process for process in processes if process not in self._known]
        for group in in_groups(missing):
            found: dict[int, list[list[int]]] = {process: [] for process in group}
            marks = ",".join("?" * len(group))
            rows = "FROM (SELECT * FROM applied WHERE process IN (%s) ORDER BY process, first_seq)"
            for process, first, last in look_up(self._db, "process, first_seq, last_seq", rows % marks, group):
                found[process].append([first, last])
            self._known.update((process, Ranges(ranges)) for process, ranges in found.items())
            self._rows.update((process, {first for first, _ in ranges}) for process, ranges in found.items())

    def of(self, process: int) -> Ranges:
        """What was applied of a process, to be changed."""
        if process not in self._known:
            self.load([process])
        self._changed.add(process)
        return self._known[process]

    def write(self) -> None:
        """Put what changed into the database."""
        rows = [(process, first, last) for process in sorted(self._changed) for first, last in self._known[process]]
        before = {process: self._rows[process] for process in self._changed}
        self._rows.update((process, set[int]()) for process in before)
        for process, first, _ in rows:
            self._rows[process].add(first)
        # Nearly always none: a range that grows keeps its first number.
        merged = [(process, first) for process, firsts in before.items() for first in firsts - self._rows[process]]
        if merged:
            self._db.executemany("DELETE FROM applied WHERE process = ? AND first_seq = ?", merged)
        insert(self._db, "INSERT INTO applied", rows, "ON CONFLICT DO UPDATE SET last_seq = excluded.last_seq")
        self._changed.clear()
