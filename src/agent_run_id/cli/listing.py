"""``runid ls``: the latest runs, a line each."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Final

from cyclopts import Parameter

from agent_run_id.cli.documents import array
from agent_run_id.cli.options import AsJson, Directory, at_least_one, flag, nothing_in, opened
from agent_run_id.cli.output import Output, complain
from agent_run_id.cli.tables import Layout, fitted
from agent_run_id.rendering import Line, clean, clock, duration, headline, label
from agent_run_id.schema import Status

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from agent_run_id.answers import Counts
    from agent_run_id.registry import RunRegistry
    from agent_run_id.rendering import Role
    from agent_run_id.schema import RunRecord

__all__ = ["counted", "list_runs", "ls"]

_HEADINGS: Final = ("ID", "STATUS", "STARTED", "TOOK", "RUNS", "KIND", "USER", "NAME")
_ROLES: Final[tuple[Role | None, ...]] = ("id", None, "quiet", "plain", "quiet", "plain", "plain", "name")
_TO_THE_RIGHT: Final = (3, 4)
_MAY_SHRINK: Final = (5, 6, 7)

# Fixed, so that in a pipe the line of a run does not depend on the runs beside it.
_WIDTHS_IN_A_PIPE: Final = (8, 11, 19, 14, 6, 8, 8, 0)


_Limit = Annotated[int, Parameter(validator=at_least_one, help="How many at the most.")]
_OfStatus = Annotated[Status | None, Parameter(name="--status", help="Only runs of this status.")]
_OfKind = Annotated[str | None, Parameter(name="--kind", help="Only runs of this kind: agent, tool, llm, task, …")]
_All = Annotated[bool, flag("--all", "List the runs below others too, not only roots.")]


def ls(
    *,
    limit: _Limit = 20,
    status: _OfStatus = None,
    kind: _OfKind = None,
    everything: _All = False,
    json: AsJson = False,
    directory: Directory = None,
) -> None:
    """List the latest runs.

    One line for each root, the latest first: its short id, status, start (local time), how long it took, how many runs
    its tree holds and how many below it went wrong (✗), kind, user and name; on a terminal also what went wrong. What
    still runs shows how long it has; what is lost shows when it was last heard of. In a pipe nothing is cut.

    With --json: an array of records, each as in `agent_run_id.RunRecord`.
    """
    with opened(directory) as registry:
        found = registry.find(status=status, kind=kind, root_only=not everything, limit=limit)
        rows = [] if json else counted(registry, found)
        anything = bool(found) or bool(registry.find(limit=1))
    output = Output()
    if json:
        output.write(f"{array(found)}\n")
    else:
        list_runs(rows, output)
    if not anything:
        complain(nothing_in(registry.directory, is_named=directory is not None))
    elif not found:
        complain("no run is like that" + ("" if everything else " among the roots; --all looks at the runs below too"))


def counted(registry: RunRegistry, found: Iterable[RunRecord]) -> list[tuple[RunRecord, Counts]]:
    """The runs, each with how many there are below it."""
    return [(record, registry.counts(record.id)) for record in found]


def list_runs(found: Sequence[tuple[RunRecord, Counts]], output: Output) -> None:
    """Print a line for each run."""
    now = datetime.now(UTC)
    rows = [_cells(record, counts, now, short=output.width is not None) for record, counts in found]
    layout = Layout(_WIDTHS_IN_A_PIPE, right=_TO_THE_RIGHT)
    if output.width is not None and rows:
        layout = fitted([_HEADINGS, *rows], output.width, shrinking=_MAY_SHRINK, right=_TO_THE_RIGHT)
        output.line(Line(("".join(layout.padded(_HEADINGS)), "quiet")))
    for (record, _), row in zip(found, rows, strict=True):
        status = label(record.status)[1]
        roles: list[Role] = [role or status for role in _ROLES]
        output.line(Line(*zip(layout.padded(row), roles, strict=True)))


def _cells(record: RunRecord, counts: Counts, now: datetime, *, short: bool) -> tuple[str, ...]:
    started = record.started_at or now
    begun = clock(started, now) if short else f"{started.astimezone():%Y-%m-%d %H:%M:%S}"
    if record.status == "lost":
        took = f"until {clock(record.last_event_at or started, started)}"
    else:
        took = duration(now - started if record.elapsed is None else record.elapsed)
    wrong = sum(counts.by_status.get(status, 0) - (record.status == status) for status in ("failed", "lost"))
    runs = f"{counts.runs:,}" + (f" ✗{wrong:,}" if wrong else "") if counts.runs > 1 else "-"
    name = record.name or "-"
    if short and record.status == "failed" and record.error is not None:
        name = f"{name} · {headline(record.error)}"
    own = (runs, record.kind or "-", record.user_id or "-", name)
    return tuple(map(clean, (record.id[:8], label(record.status)[0], begun, took, *own)))
