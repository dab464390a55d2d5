"""Usage: what runs report of their calls to models, added up without counting anything twice.

Which reports of a run count: those that are its own, if there are any; else, where no run below counts any, the
totals that include the runs below. The same call, by its ``call_id``, counts once however many runs report it.
All this is the same in whatever order the runs and their reports come.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from agent_run_id.schema import UsageTotal

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Hashable, Iterable, Iterator, Sequence

    from agent_run_id.schema import UsageRecord

    Reports = Sequence[UsageRecord]

__all__ = ["NOTHING", "Grouped", "RolledUp", "by_group", "by_model", "roll_up", "total"]

K = TypeVar("K", bound="Hashable")
G = TypeVar("G", bound="Hashable")

_COUNTS: Final = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens")
# Costs are added exactly, as multiples of the smallest number a float can be: else the last digit of a sum would tell
# in which order the runs came, and what is taken away again would leave something behind.
_SHIFT: Final = 1074

NOTHING: Final = UsageTotal()
"""The total of no reports."""


class RolledUp(NamedTuple):
    """What one run used, and what it and all below it used."""

    own: UsageTotal
    subtree: UsageTotal


class Grouped(NamedTuple):
    """How many runs there are in a group, and what their calls come to."""

    runs: int
    total: UsageTotal


def total(reports: Reports) -> UsageTotal:
    """What some reports of one run come to."""
    return _ledger(_counted(reports, below=False)).total()


def roll_up(nodes: Iterable[tuple[K, K | None, Reports]]) -> dict[K, RolledUp]:
    """What each run used, alone and with all below it, from runs in any order.

    The total of a subtree is that of all reports that count in it, the same call once. So it is the sum of what its
    runs used on their own, but for calls that several of them report.

    Args:
        nodes: Of each run its key, that of its parent, and its reports. A parent that is not among them is none.
            Runs that claim to be above each other are below none of these.
    """
    rolled: dict[K, RolledUp] = {}
    below: dict[K, list[tuple[_Ledger, UsageTotal]]] = {}
    for key, parent, reports in _leaves_first(nodes):
        found = below.pop(key, [])
        counted = _counted(reports, below=bool(found))
        if not counted and not found:
            rolled[key] = _UNUSED
            continue
        own = _ledger(counted)
        used = own.total() if counted else NOTHING
        # Where only one of them used anything its total is that of all: chains of thousands of runs share it.
        if (counted and found) or len(found) > 1:
            ledger, subtree = _joined(own, found)
        else:
            ledger, subtree = found[0] if found else (own, used)
        rolled[key] = RolledUp(used, subtree)
        if parent is not None:
            below.setdefault(parent, []).append((ledger, subtree))
    return rolled


def by_model(nodes: Iterable[tuple[K, K | None, Reports]]) -> dict[str, UsageTotal]:
    """What all these runs used together, by model; see `roll_up` for what is given and what counts."""
    groups, _ = by_group(nodes, lambda _, model: model)
    return {model: groups[model].total for model in sorted(groups)}


def by_group(
    nodes: Iterable[tuple[K, K | None, Reports]],
    group_of: Callable[[K, str], G],
    *,
    rank: Callable[[K], Any] = lambda _: 0,
    aside: Container[K] = (),
) -> tuple[dict[G, Grouped], Grouped]:
    """What these runs used, in groups, and all of it.

    Args:
        nodes: As in `roll_up`.
        group_of: Which group a call belongs to, by the run it is of and its model.
        rank: Of several runs that report the same call, it is that of the one with the lowest.
        aside: Runs that only decide what counts above them, and are not counted themselves.
    """
    sums: dict[G, _Sums] = {}
    members: dict[G, set[K]] = {}
    named: dict[str, tuple[K, _Call]] = {}

    def add(run: K, call: _Call) -> None:
        group = group_of(run, call.model)
        sums.setdefault(group, _Sums()).add(call)
        members.setdefault(group, set()).add(run)

    for key, reports in _counting(nodes):
        for report in () if key in aside else reports:
            call = _call(report)
            if report.call_id is None:
                add(key, call)
                continue
            known = named.get(report.call_id)
            if known is not None:
                call = _merged(known[1], call)
            owner = key if known is None or rank(key) < rank(known[0]) else known[0]
            named[report.call_id] = (owner, call)
    for run, call in named.values():
        add(run, call)
    everything = _Sums()
    for part in sums.values():
        everything.join(part)
    groups = {group: Grouped(len(members[group]), part.total()) for group, part in sums.items()}
    return groups, Grouped(len(set[K]().union(*members.values())), everything.total())


def _counting(nodes: Iterable[tuple[K, K | None, Reports]]) -> Iterator[tuple[K, Reports]]:
    """The reports that count of each run that has any."""
    reported: set[K] = set()
    for key, parent, reports in _leaves_first(nodes):
        counted = _counted(reports, below=key in reported)
        if counted:
            yield key, counted
        if parent is not None and (counted or key in reported):
            reported.add(parent)


def _counted(reports: Reports, *, below: bool) -> Reports:
    """The reports of a run that count; `below` says whether any count of the runs below it."""
    if not reports:
        return reports
    own = [report for report in reports if not report.inclusive]
    return own or ([] if below else reports)


def _leaves_first(nodes: Iterable[tuple[K, K | None, Reports]]) -> Iterator[tuple[K, K | None, Reports]]:
    """Every run after all that are below it, with its parent, or None where that is not among them."""
    runs = {key: (parent, reports) for key, parent, reports in nodes}
    waiting = Counter(parent for parent, _ in runs.values() if parent is not None and parent in runs)
    ready = [key for key in runs if key not in waiting]
    while ready:
        key = ready.pop()
        parent, reports = runs[key]
        if parent is None or parent not in runs:
            yield key, None, reports
            continue
        yield key, parent, reports
        waiting[parent] -= 1
        if not waiting[parent]:
            ready.append(parent)
    for key, left in waiting.items():
        if left:  # it waits for itself: its parents go round in a ring
            yield key, None, runs[key][1]


# Sums -----------------------------------------------------------------------------------------------------------------


class _Call(NamedTuple):
    """What is known of one call: its counts as in `_COUNTS`, its cost as a currency and an amount."""

    model: str
    counts: tuple[int | None, ...]
    cost: tuple[str, int] | None


class _Sums:
    """Sums of calls; of each figure also how many of the calls knew it."""

    __slots__ = ("calls", "costs", "counts", "known")

    def __init__(self) -> None:
        self.calls = 0
        self.counts = [0] * len(_COUNTS)
        self.known = [0] * len(_COUNTS)
        self.costs: dict[str, tuple[int, int]] = {}

    def add(self, call: _Call, sign: int = 1) -> None:
        """Add a call, or take it away again."""
        self.calls += sign
        for place, count in enumerate(call.counts):
            if count is not None:
                self.counts[place] += sign * count
                self.known[place] += sign
        if call.cost is not None:
            currency, amount = call.cost
            self._pay(currency, sign * amount, sign)

    def join(self, other: _Sums) -> None:
        """Add all that another one has."""
        self.calls += other.calls
        self.counts = [one + more for one, more in zip(self.counts, other.counts, strict=True)]
        self.known = [one + more for one, more in zip(self.known, other.known, strict=True)]
        for currency, (amount, known) in other.costs.items():
            self._pay(currency, amount, known)

    def _pay(self, currency: str, amount: int, known: int) -> None:
        before, already = self.costs.get(currency, (0, 0))
        self.costs[currency] = (before + amount, already + known)

    def total(self) -> UsageTotal:
        calls = self.calls
        figures: dict[str, Any] = {}
        unknown: dict[str, int] = {}
        for name, count, known in zip(_COUNTS, self.counts, self.known, strict=True):
            if known:
                figures[name] = count
            if known < calls:
                unknown[name] = calls - known
        cost: dict[str, float] = {}
        for currency, (amount, known) in sorted(self.costs.items()):
            if known:
                cost[currency] = _float(amount)
                calls -= known
        if calls:
            unknown["cost"] = calls
        return UsageTotal(calls=self.calls, cost=cost, unknown=unknown, **figures)


class _Ledger:
    """The sums of some calls, and those of them that have an id."""

    __slots__ = ("named", "sums")

    def __init__(self) -> None:
        self.named: dict[str, _Call] = {}
        self.sums = _Sums()

    def add(self, call_id: str | None, call: _Call) -> None:
        """Add a report of a call; of one that was reported before, what is new in it."""
        if call_id is not None:
            known = self.named.get(call_id)
            if known is not None:
                self.sums.add(known, -1)
                call = _merged(known, call)
            self.named[call_id] = call
        self.sums.add(call)

    def join(self, other: _Ledger) -> None:
        """Add all that another one has, which is used up."""
        for call_id, call in other.named.items():
            if call_id in self.named:
                other.sums.add(call, -1)
                self.add(call_id, call)
            else:
                self.named[call_id] = call
        self.sums.join(other.sums)

    def total(self) -> UsageTotal:
        return self.sums.total()


def _joined(own: _Ledger, below: Iterable[tuple[_Ledger, UsageTotal]]) -> tuple[_Ledger, UsageTotal]:
    """The smaller are written into the largest, so that a chain of ten thousand runs costs no more than a row."""
    ledgers = sorted([own, *(ledger for ledger, _ in below)], key=lambda ledger: len(ledger.named))
    largest = ledgers.pop()
    for smaller in ledgers:
        largest.join(smaller)
    return largest, largest.total()


def _ledger(reports: Reports) -> _Ledger:
    ledger = _Ledger()
    for report in reports:
        ledger.add(report.call_id, _call(report))
    return ledger


def _call(report: UsageRecord) -> _Call:
    counts = (
        report.input_tokens,
        report.output_tokens,
        report.cache_read_tokens,
        report.cache_write_tokens,
        report.reasoning_tokens,
    )
    cost = report.cost
    if cost is None or report.currency is None or not math.isfinite(cost):
        return _Call(report.model, counts, None)
    return _Call(report.model, counts, (report.currency, _exact(cost)))


def _merged(one: _Call, other: _Call) -> _Call:
    """Two reports of the same call: of each figure the largest that is known, as reports of a stream grow."""
    pairs = zip(one.counts, other.counts, strict=True)
    counts = tuple(b if a is None else a if b is None else max(a, b) for a, b in pairs)
    costs = [cost for cost in (one.cost, other.cost) if cost is not None]
    return _Call(max(one.model, other.model), counts, max(costs, default=None))


def _exact(cost: float) -> int:
    numerator, denominator = cost.as_integer_ratio()  # the denominator is a power of two
    return numerator << (_SHIFT + 1 - denominator.bit_length())


def _float(amount: int) -> float:
    try:
        return amount / (1 << _SHIFT)
    except OverflowError:
        return math.inf if amount > 0 else -math.inf


_UNUSED: Final = RolledUp(NOTHING, NOTHING)
