"""``runid usage``: what runs used, in all and told apart by something."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Final

from cyclopts import Parameter

from agent_run_id.answers import By
from agent_run_id.cli.documents import array, encoded, object_of
from agent_run_id.cli.moments import MOMENTS, when
from agent_run_id.cli.options import AsJson, Directory, Ref, opened
from agent_run_id.cli.output import Output, complain
from agent_run_id.cli.tables import fitted, shortened
from agent_run_id.rendering import Line, clean, costed, counted, title, tokens
from agent_run_id.usage import NOTHING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent_run_id.answers import UsageBreakdown, UsageReport
    from agent_run_id.rendering import Role
    from agent_run_id.schema import RunRecord, UsageTotal

__all__ = ["usage"]

_By = Annotated[By, Parameter(name="--by", help="What to tell apart; the day is that on which a run started.")]
_Since = Annotated[datetime | None, when("--since", f"Only runs that started then or later: {MOMENTS}.")]
_Until = Annotated[datetime | None, when("--until", "Only runs that started before.")]
_HEADINGS: Final = ("RUNS", "CALLS", "INPUT", "OUTPUT")
_ALL: Final = "all"
_CURRENCY: Final = 12
"""Columns of the name of one on a terminal: anything may have been recorded as that."""


def usage(
    ref: Ref | None = None,
    /,
    *,
    by: _By = "model",
    since: _Since = None,
    until: _Until = None,
    json: AsJson = False,
    directory: Directory = None,
) -> None:
    """Tell what runs used: tokens and cost, by model, by user, by day.

    Of a run, what it used by itself and with all that is below it; without REF, of everything that is recorded. Then a
    table of what is told apart, what cost most first. A call that was reported twice counts once, in the run furthest
    down; a total that includes the runs below counts only where these report nothing. What is not known is "?", a sum
    to which not every call has added "310+". User and session are those of the nearest run above that says so.

    With --json: an object with "run" (its id), "own" and "subtree" (all three null without REF), "by", "groups", an
    array of objects with "value" (null where it is not known), "runs" and "total", and "runs" and "total" of all
    groups. Totals are as in `agent_run_id.schema.UsageTotal`; "unknown" in them says how many calls did not report a
    figure.
    """
    with opened(directory) as registry:
        record = None if ref is None else registry.get(ref)
        under = None if record is None else record.run_id
        report = None if under is None else registry.usage(under)
        found = registry.usage_by(by, since=since, until=until, under=under)
    output = Output()
    if json:
        output.write(f"{_document(record, report, found)}\n")
        return
    if record is not None and report is not None:
        _tell_run(record, report, output)
    if found.groups:
        if record is not None:
            output.line()
        _tell_groups(found, output)
    else:
        window = "" if since is None and until is None else " of that time"
        complain(f'no run{window} reported any usage; a program does with `run.usage(model="…", input_tokens=…)`')


def _document(record: RunRecord | None, report: UsageReport | None, found: UsageBreakdown) -> str:
    members = {
        "run": encoded(None if record is None else record.id),
        "own": encoded(None if report is None else report.own),
        "subtree": encoded(None if report is None else report.subtree),
        "by": encoded(found.by),
        "groups": array(found.groups),
        "runs": encoded(found.runs),
        "total": encoded(found.total),
    }
    return object_of(members)


def _tell_run(record: RunRecord, report: UsageReport, output: Output) -> None:
    output.line(title(record, NOTHING), rest="  ")
    for name, used in (("own", report.own), ("subtree", report.subtree)):
        output.line(Line((f"{name:<9}", "heading"), _told(used)), head="  ", rest=" " * 11)


def _told(used: UsageTotal) -> str:
    if not used.calls:
        return "nothing reported"
    return f"{tokens(used)} in {used.calls:,} {'call' if used.calls == 1 else 'calls'}"


def _tell_groups(found: UsageBreakdown, output: Output) -> None:
    currencies = list(found.total.cost)
    rows = [
        _cells("-" if group.value is None else group.value, group.runs, group.total, currencies)
        for group in found.groups
    ]
    most = None if output.width is None else _CURRENCY
    names = [str(shortened(Line(clean(currency)), most)) for currency in currencies]
    headings = [found.by.upper(), *_HEADINGS, *(names or ["COST"])]
    last = _cells(_ALL, found.runs, found.total, currencies)
    layout = fitted([headings, *rows, last], output.width, shrinking=(0,), right=range(1, len(headings)))
    output.line(shortened(Line(("".join(layout.padded(headings)), "quiet")), output.width))
    for row in rows:
        _tell_row(layout.padded(row), "name", output)
    _tell_row(layout.padded(last), "heading", output)


def _tell_row(cells: Sequence[str], role: Role, output: Output) -> None:
    first, *others = cells
    output.line(shortened(Line((first, role), *others), output.width))


def _cells(value: str, runs: int, used: UsageTotal, currencies: Sequence[str]) -> list[str]:
    counts = counted(used, "input_tokens"), counted(used, "output_tokens")
    costs = [costed(used, currency) for currency in currencies] or ["?"]
    return [clean(value), f"{runs:,}", f"{used.calls:,}", *counts, *costs]
