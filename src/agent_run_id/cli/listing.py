"""``runid ls``: the latest runs, a line each."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Final

from cyclopts import Parameter

from agent_run_id.cli.documents import array
from agent_run_id.cli.options import AsJson, Directory, at_least_one, flag, nothing_in, opened
from agent_run_id.cli.output import Output, complain
from agent_run_id.cli.tables import Layout, fitted
from agent_run_id.rendering import Line, clean, clock, duration, label
from agent_run_id.schema import Status

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent_run_id.rendering import Role
    from agent_run_id.schema import RunRecord

__all__ = ["ls"]

_HEADINGS: Final = ("ID", "STATUS", "STARTED", "TOOK", "KIND", "USER", "NAME")
_ROLES: Final[tuple[Role | None, ...]] = ("id", None, "quiet", "plain", "plain", "plain", "name")
_TOOK: Final = 3
_MAY_SHRINK: Final = (4, 5, 6)
_MOST: Final = 2**62  # what is more than a database can count is all

# Fixed, so that in a pipe the line of a run does not depend on the runs beside it.
_WIDTHS_IN_A_PIPE: Final = (8, 11, 19, 14, 8, 8, 0)


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

    One line for each root, the latest first: its short id, status, start (local time), how long it took, kind, user and
    name. What still runs shows how long it has; what is lost shows when it was last heard of. In a pipe nothing is cut.

    With --json: an array of records, each as in `agent_run_id.RunRecord`.
    """
    with opened(directory) as registry:
        found = registry.find(status=status, kind=kind, root_only=not everything, limit=min(limit, _MOST))
        anything = bool(found) or bool(registry.find(limit=1))
    output = Output()
    if json:
        output.write(f"{array(found)}\n")
    else:
        _list(found, output)
    if not anything:
        complain(nothing_in(registry.directory, is_named=directory is not None))
    elif not found:
        complain("no run is like that" + ("" if everything else " among the roots; --all looks at the runs below too"))


def _list(found: Sequence[RunRecord], output: Output) -> None:
    now = datetime.now(UTC)
    rows = [_cells(record, now, short=output.width is not None) for record in found]
    layout = Layout(_WIDTHS_IN_A_PIPE, right=(_TOOK,))
    if output.width is not None and rows:
        layout = fitted([_HEADINGS, *rows], output.width, shrinking=_MAY_SHRINK, right=(_TOOK,))
        output.line(Line(("".join(layout.padded(_HEADINGS)), "quiet")))
    for record, row in zip(found, rows, strict=True):
        status = label(record.status)[1]
        roles: list[Role] = [role or status for role in _ROLES]
        output.line(Line(*zip(layout.padded(row), roles, strict=True)))


def _cells(record: RunRecord, now: datetime, *, short: bool) -> tuple[str, ...]:
    started = record.started_at or now
    begun = clock(started, now) if short else f"{started.astimezone():%Y-%m-%d %H:%M:%S}"
    if record.status == "lost":
        took = f"until {clock(record.last_event_at or started, started)}"
    else:
        took = duration(now - started if record.elapsed is None else record.elapsed)
    own = (record.kind or "-", record.user_id or "-", record.name or "-")
    return tuple(map(clean, (record.id[:8], label(record.status)[0], begun, took, *own)))
