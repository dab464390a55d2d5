"""Usage: what runs report of their calls to models, added up without counting anything twice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from agent_run_id.schema import UsageTotal

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from agent_run_id.schema import UsageRecord

__all__ = ["Ledger", "total"]

_SUMMED: Final = ("input_tokens", "output_tokens")


class Ledger:
    """The calls of a run and of the runs below it, each once.

    A report that includes the runs below counts only where these report nothing themselves. What no report knows
    stays unknown.
    """

    __slots__ = ("_calls", "_cost", "_sums")

    def __init__(self) -> None:
        self._calls: dict[str, UsageRecord] = {}
        self._sums: dict[str, int] = {}
        self._cost: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._calls)

    def total(self) -> UsageTotal:
        """The sums so far."""
        sums: dict[str, Any] = {"calls": len(self._calls), "cost": dict(self._cost), **self._sums}
        return UsageTotal.model_validate(sums)

    def close(self, run: str, reports: Sequence[UsageRecord], below: Iterable[Ledger]) -> Ledger:
        """The ledger of a run with these reports, given those of the runs directly below it, which are used up.

        The smaller ones are written into the largest, so that a chain of ten thousand runs costs no more than a row.
        """
        ledgers = sorted(below, key=len)
        ledger = ledgers.pop() if ledgers else self
        for smaller in ledgers:
            for call, report in smaller._calls.items():  # noqa: SLF001 - of the same class
                ledger._add(call, report)  # noqa: SLF001
        ledger._report(run, [report for report in reports if not report.inclusive])  # noqa: SLF001
        if not ledger._calls:  # noqa: SLF001
            ledger._report(run, reports)  # noqa: SLF001
        return ledger

    def _report(self, run: str, reports: Sequence[UsageRecord]) -> None:
        for number, report in enumerate(reports):
            self._add(f"{run} {number}" if report.call_id is None else f"call {report.call_id}", report)

    def _add(self, call: str, report: UsageRecord) -> None:
        if call in self._calls:
            return
        self._calls[call] = report
        for field in _SUMMED:
            value = getattr(report, field)
            if value is not None:
                self._sums[field] = self._sums.get(field, 0) + value
        if report.cost is not None and report.currency is not None:
            self._cost[report.currency] = self._cost.get(report.currency, 0) + report.cost


def total(reports: Sequence[UsageRecord]) -> UsageTotal:
    """The sum of some reports of one run."""
    return Ledger().close("", reports, ()).total()
